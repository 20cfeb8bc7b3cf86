"""Trust domains that sign X.509-SVIDs, honest or not: any extension can be left out, changed or doubled."""

import base64
import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.support.low_issuer import DOMAIN, NOW, WORKLOAD

Key = ec.EllipticCurvePrivateKey
_USES = (
    "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
    "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Svid:
    """A private key and its certificates, leaf first."""

    certificates: tuple[x509.Certificate, ...]
    key: Key

    @property
    def chain(self) -> tuple[bytes, ...]:
        """The certificates in DER form."""
        return tuple(certificate.public_bytes(Encoding.DER) for certificate in self.certificates)

    @property
    def pem(self) -> str:
        """The certificates in PEM form."""
        return "".join(certificate.public_bytes(Encoding.PEM).decode() for certificate in self.certificates)

    def write(self, directory: Path, name: str = "svid") -> tuple[Path, Path]:
        """Write chain and key as PEM files."""
        directory.mkdir(parents=True, exist_ok=True)
        chain, key = directory / f"{name}.pem", directory / f"{name}.key"
        chain.write_text(self.pem)
        key.write_bytes(self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return chain, key


class Authority:
    """One that signs certificates of a trust domain: a root, or an intermediate below another."""

    def __init__(self, domain: str = DOMAIN, above: Self | None = None) -> None:
        self.domain = domain
        self.above = above
        self.key = ec.generate_private_key(ec.SECP256R1())

    @cached_property
    def certificate(self) -> x509.Certificate:
        """Its own certificate."""
        return certificate(
            self.key, self.above, f"authority {id(self)}", [f"spiffe://{self.domain}"], own=self,
            ca=True, use=("key_cert_sign", "crl_sign"), purposes=None, until=NOW + 86400,
        )  # fmt: skip

    @property
    def entry(self) -> dict[str, Any]:
        """Its entry in a trust bundle."""
        der = base64.b64encode(self.certificate.public_bytes(Encoding.DER)).decode()
        return {"kty": "EC", "use": "x509-svid", "x5c": [der]}

    def issue(self, *names: str, **changes: Any) -> Svid:
        """Return an X.509-SVID, of the analyst unless URIs are named; `changes` as `certificate` takes them."""
        key = ec.generate_private_key(ec.SECP256R1())
        leaf = certificate(key, self, "workload", names or (WORKLOAD,), **changes)
        above = () if self.above is None else (self.certificate,)
        return Svid((leaf, *above), key)


def certificate(
    key: Key,
    issuer: Authority | None,
    name: str,
    uris: Sequence[str],
    *,
    own: Authority | None = None,
    ca: bool = False,
    use: Sequence[str] | None = ("digital_signature",),
    use_critical: bool = True,
    purposes: Sequence[x509.ObjectIdentifier] | None = (
        ExtendedKeyUsageOID.SERVER_AUTH,
        ExtendedKeyUsageOID.CLIENT_AUTH,
    ),
    dns: Sequence[str] = (),
    names_critical: bool = False,
    names: bool = True,
    subject: bool = True,
    since: float = NOW - 10,
    until: float = NOW + 36_000,
) -> x509.Certificate:
    """Sign a certificate, by the issuer or itself."""
    signer = issuer.key if issuer else key
    above = issuer.certificate.subject if issuer else _name(name)
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(name) if subject else x509.Name([]))
        .issuer_name(above)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.datetime.fromtimestamp(since, datetime.UTC))
        .not_valid_after(datetime.datetime.fromtimestamp(until, datetime.UTC))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )
    if own is not None:
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    if use is not None:
        usage = x509.KeyUsage(**{one: one in use for one in _USES})
        builder = builder.add_extension(usage, critical=use_critical)
    if purposes is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage(list(purposes)), critical=False)
    if names:
        found: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri) for uri in uris]
        found += [x509.DNSName(one) for one in dns]
        builder = builder.add_extension(x509.SubjectAlternativeName(found), critical=names_critical)
    return builder.sign(signer, hashes.SHA256())


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, text)])
