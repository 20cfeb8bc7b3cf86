"""Certificate authorities of X.509-SVIDs: from a trust bundle's entries, and from DER as the Workload API sends it."""

import base64
import re
from collections.abc import Iterator
from typing import Any

from cryptography import x509

_BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}")  # RFC 7517 §4.7: base64, not base64url
_SEQUENCE = 0x30
_LONG_FORM = 0x80
_MOST_LENGTH_BYTES = 4


def parse_authority(entry: Any) -> x509.Certificate | None:
    """Return the authority of a bundle's entry; None for an entry that is none, which never discards the rest.

    Only the first value of `x5c` counts, and an entry with a `kid` is no X.509 authority (X509-SVID §6.2).
    """
    if not isinstance(entry, dict) or entry.get("use") != "x509-svid" or "kid" in entry:
        return None
    chain = entry.get("x5c")
    first = chain[0] if isinstance(chain, list) and chain else None
    if not isinstance(first, str) or not _BASE64.fullmatch(first):
        return None
    try:
        return load_certificate(base64.b64decode(first))
    except ValueError:
        return None


def load_certificate(der: bytes) -> x509.Certificate:
    """Parse one certificate, its extensions included; raise `ValueError` for anything else."""
    try:
        certificate = x509.load_der_x509_certificate(der)
        _ = certificate.extensions, certificate.subject, certificate.issuer, certificate.public_key()
        _ = certificate.not_valid_before_utc, certificate.not_valid_after_utc, certificate.serial_number
    except Exception as error:  # noqa: BLE001 - of many kinds, one of them for each way of being wrong
        raise ValueError(f"a certificate that cannot be read: {type(error).__name__}") from None
    return certificate


def split_certificates(joined: bytes) -> Iterator[bytes]:
    """Yield each of the DER certificates that follow one another without a gap (Workload API §5.1).

    Raises `ValueError` where that is not what they do.
    """
    while joined:
        length = _length(joined)
        if length > len(joined):
            raise ValueError("a certificate that is cut off")
        yield joined[:length]
        joined = joined[length:]


def _length(der: bytes) -> int:
    """Return how long the ASN.1 SEQUENCE is that begins here, its own head included (X.690 §8.1.3)."""
    if len(der) < 2 or der[0] != _SEQUENCE:  # noqa: PLR2004 - a tag and a length
        raise ValueError("not a certificate in DER form")
    if der[1] < _LONG_FORM:
        return 2 + der[1]
    count = der[1] - _LONG_FORM
    if not 1 <= count <= _MOST_LENGTH_BYTES or len(der) < 2 + count:
        raise ValueError("not a certificate in DER form")
    return 2 + count + int.from_bytes(der[2 : 2 + count], "big")
