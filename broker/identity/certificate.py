"""X.509-SVIDs (SPIFFE X509-SVID standard): path validation by cryptography, and by hand what it does not ask."""

import datetime
import hashlib
from collections.abc import Mapping, Sequence
from typing import TypeVar

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from broker.errors import ProofExpired, ProofMalformed, ProofNotYetValid, ProofUntrusted
from broker.identity.authorities import load_certificate
from broker.identity.registry import TrustDomain
from broker.identity.remembered import Remembered, Verified
from broker.identity.store import TrustStore
from broker.identity.workload import Assurance, SpiffeId, WorkloadIdentity

T = TypeVar("T", bound=x509.ExtensionType)

MOST_CERTIFICATES = 8
LARGEST_CHAIN = 64 << 10  # bytes; SPIRE's are about 1,000 for each certificate


class CertificateVerifier:
    """Verifies chains of X.509-SVIDs that callers presented in a TLS handshake, remembering those it has verified.

    Whoever hands a chain in vouches for the handshake: that the caller holds the private key of its first certificate.
    """

    def __init__(self, store: TrustStore) -> None:
        self._store = store
        self._remembered = Remembered(store)

    def verify(self, chain: Sequence[bytes], domains: Mapping[str, TrustDomain], now: float) -> WorkloadIdentity:
        """Return the identity that a chain (DER, leaf first) proves at `now`, or raise `Unauthenticated`."""
        if not 0 < len(chain) <= MOST_CERTIFICATES or sum(map(len, chain)) > LARGEST_CHAIN:
            raise _malformed("no certificate, too many of them, or too large ones")
        digest = hashlib.sha256(b"".join(chain)).digest()
        try:
            remembered = self._remembered.find(digest, domains, now)
        except ProofExpired:
            raise _expired() from None
        return remembered or self._remembered.keep(digest, self._verify(chain, domains, now))

    def _verify(self, chain: Sequence[bytes], domains: Mapping[str, TrustDomain], now: float) -> Verified:
        # 1. The form: certificates, the first of which is an X.509-SVID of a workload.
        try:
            leaf, *intermediates = map(load_certificate, chain)
            subject = subject_of(leaf)
        except ValueError as error:
            raise _malformed(str(error)) from None

        # 2. The workload's trust domain, which is configured here and has authorities.
        domain = domains.get(subject.trust_domain)
        if domain is None:
            raise _untrusted(f"trust domain {subject.trust_domain} is not configured")
        bundle = self._store.bundle(subject.trust_domain, now)
        if not bundle.authorities:
            raise _untrusted(f"the trust bundle of {domain.name} has no X.509 authority")

        # 3. When: said apart, so that a caller knows whether a new certificate would help.
        moment = datetime.datetime.fromtimestamp(now, datetime.UTC)
        if leaf.not_valid_after_utc <= moment:
            raise _expired()
        if leaf.not_valid_before_utc > moment:
            raise ProofNotYetValid("The certificate is not valid yet; compare the clocks.")

        # 4. The path (RFC 5280), to an authority of the workload's own trust domain and no other.
        builder = PolicyBuilder().store(Store(list(bundle.authorities))).time(moment)
        try:
            path = builder.build_client_verifier().verify(leaf, intermediates).chain
        except VerificationError as error:
            raise _untrusted(f"no path to an authority of {domain.name}: {_words(error)}") from None
        expires_at = min(certificate.not_valid_after_utc for certificate in path).timestamp()
        identity = WorkloadIdentity(
            spiffe_id=str(subject),
            trust_domain=subject.trust_domain,
            method="x509-svid",
            assurance="development" if domain.development else "attested",
            proof=f"sha256:{leaf.fingerprint(hashes.SHA256()).hex()}",
            key_id=f"sha256:{path[-1].fingerprint(hashes.SHA256()).hex()}",
            token_id=f"{leaf.serial_number:x}",
            expires_at=expires_at,
        )
        return Verified(identity, expires_at, domain, bundle)


def vouched_for(uri: str, store: TrustStore, domains: Mapping[str, TrustDomain], now: float) -> WorkloadIdentity:
    """Return the workload that a trusted proxy says it saw. The proxy's word is all there is, so assurance is lower.

    Its trust domain must be configured and have X.509 authorities, so that revoking them ends this too.
    """
    subject = SpiffeId.parse(uri)
    domain = domains.get(subject.trust_domain)
    if domain is None or not store.bundle(subject.trust_domain, now).authorities:
        raise _untrusted(f"trust domain {subject.trust_domain} is not configured, or has no X.509 authority")
    assurance: Assurance = "development" if domain.development else "proxied"
    return WorkloadIdentity(str(subject), subject.trust_domain, "x509-svid", assurance, "forwarded")


def subject_of(leaf: x509.Certificate, *, server: bool = False) -> SpiffeId:
    """Return the workload that a leaf names; raise `ValueError` if it is no X.509-SVID (X509-SVID §2 to §5).

    It says nothing yet about who signed it.
    """
    names = _extension(leaf, x509.SubjectAlternativeName)
    uris = names.value.get_values_for_type(x509.UniformResourceIdentifier) if names else []
    if names is None or len(uris) != 1:
        raise ValueError(f"{len(uris)} URI names, where exactly one is expected")
    if not leaf.subject.rdns and not names.critical:
        raise ValueError("an empty subject, and names that are not critical")
    constraints = _extension(leaf, x509.BasicConstraints)
    if constraints is not None and constraints.value.ca:
        raise ValueError("a certificate authority, which must not authenticate")
    usage = _extension(leaf, x509.KeyUsage)
    if usage is None or not usage.critical or not usage.value.digital_signature:
        raise ValueError("no critical key usage with digitalSignature")
    if usage.value.key_cert_sign or usage.value.crl_sign:
        raise ValueError("a key that signs certificates or revocation lists, which must not authenticate")
    purposes = _extension(leaf, x509.ExtendedKeyUsage)
    wanted = ExtendedKeyUsageOID.SERVER_AUTH if server else ExtendedKeyUsageOID.CLIENT_AUTH
    if purposes is not None and wanted not in purposes.value:
        raise ValueError("an extended key usage without the authentication that it is used for")
    return SpiffeId.parse(uris[0])


def _extension(certificate: x509.Certificate, kind: type[T]) -> x509.Extension[T] | None:
    try:
        return certificate.extensions.get_extension_for_class(kind)
    except x509.ExtensionNotFound:
        return None


def _words(error: Exception) -> str:
    """Keep of the library's words what fits into a record."""
    return " ".join(str(error).split())[:120]


def _malformed(detail: str) -> ProofMalformed:
    return ProofMalformed("The certificate is not an X.509-SVID as the SPIFFE standard writes it.", detail=detail)


def _untrusted(detail: str) -> ProofUntrusted:
    return ProofUntrusted("No authority that this broker trusts vouches for the certificate.", detail=detail)


def _expired() -> ProofExpired:
    return ProofExpired("The certificate has expired; connect again with a new one.")
