"""`X-Forwarded-Client-Cert`, as Envoy writes it: what a proxy that ended mutual TLS says of the caller's certificate.

    Hash=…;Cert="-----BEGIN%20CERTIFICATE…";Chain="…";Subject="";URI=spiffe://prod.example.com/agent/analyst

It proves nothing by itself: only what comes through the proxy's own listener is believed. There is one element; a
second one means that the proxy passed on what its caller had written.
"""

import base64
import hashlib
import re
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from cryptography import x509

from broker.errors import ProofMalformed
from broker.identity.authorities import load_certificate
from broker.identity.workload import SpiffeId

LONGEST_HEADER = 60 << 10  # characters
_PAIR = re.compile(r'([A-Za-z]+)=(?:"((?:[^"\\]|\\.)*)"|([^",;=\\]*))(;|\Z)')
_KEYS = frozenset({"by", "hash", "cert", "chain", "subject", "uri", "dns"})
_BLOCK = rb"-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----\s*"
_PEM = re.compile(rb"(?:" + _BLOCK + rb"){1,8}")


@dataclass(frozen=True, slots=True)
class Forwarded:
    """The caller's certificates (DER, leaf first) if the proxy passed them on, and the SPIFFE ID that it saw."""

    chain: tuple[bytes, ...]
    uri: str | None


def parse_forwarded(header: str) -> Forwarded:
    """Parse the header strictly, and check that all of it speaks of one certificate; raise `ProofMalformed`."""
    try:
        return _consistent(_pairs(header))
    except ValueError as error:
        raise ProofMalformed(
            "The proxy's X-Forwarded-Client-Cert header is not what Envoy writes for one caller.", detail=str(error)
        ) from None


def _pairs(header: str) -> dict[str, list[str]]:
    if not header or len(header) > LONGEST_HEADER or not header.isascii() or not header.isprintable():
        raise ValueError("empty, too long, or with characters that do not belong in a header")
    found: dict[str, list[str]] = {}
    place = 0
    while place < len(header):
        pair = _PAIR.match(header, place)
        if pair is None:
            raise ValueError("not one element of key=value pairs")  # a comma begins another element
        key, quoted, plain, _ = pair.groups()
        if key.lower() not in _KEYS:
            raise ValueError("a key that Envoy does not write")
        found.setdefault(key.lower(), []).append(plain if quoted is None else re.sub(r"\\(.)", r"\1", quoted))
        place = pair.end()
    return found


def _consistent(pairs: dict[str, list[str]]) -> Forwarded:
    if any(len(values) > 1 for key, values in pairs.items() if key != "dns"):
        raise ValueError("a key that stands twice: two identities, or two certificates")
    cert, chain = (_certificates(pairs[key][0]) if key in pairs else () for key in ("cert", "chain"))
    if len(cert) > 1 or (cert and chain and chain[0] != cert[0]):
        raise ValueError("Cert and Chain do not begin with the same certificate")
    whole = chain or cert
    uri = pairs["uri"][0] if "uri" in pairs else None
    if uri is not None:
        SpiffeId.parse(uri)
    if whole and "hash" in pairs and pairs["hash"][0].lower() != hashlib.sha256(whole[0]).hexdigest():
        raise ValueError("Hash is of another certificate")
    if whole and uri is not None and uri not in _uris(whole[0]):
        raise ValueError("URI is not the certificate's")
    if not whole and uri is None:
        raise ValueError("neither a certificate nor a URI")
    return Forwarded(whole, uri)


def _certificates(text: str) -> tuple[bytes, ...]:
    pem = unquote_to_bytes(text)
    if not _PEM.fullmatch(pem):
        raise ValueError("not certificates in PEM form")
    found = tuple(base64.b64decode(b"".join(body.split()), validate=True) for body in re.findall(_BLOCK, pem))
    for der in found:
        load_certificate(der)
    return found


def _uris(der: bytes) -> list[str]:
    try:
        names = load_certificate(der).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return names.get_values_for_type(x509.UniformResourceIdentifier)
