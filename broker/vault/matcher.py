"""Finds secrets in bytes that are about to leave, in every encoding in which a service might echo them."""

import base64
import html
import json
import re
from collections.abc import Callable
from typing import NoReturn
from urllib.parse import quote

from broker.egress import Secret

_SHORTEST = 8  # bytes: what is shorter says nothing
_ESCAPE = re.compile("%[0-9A-F]{2}")
_LEFT_ALONE = ("", "/", "!'()*")  # what encoders of URLs do not escape: none, Python's default, JavaScript's


class SecretMatcher:
    """Knows the encodings of the secrets that one attempt used; satisfies `redact.Matcher`."""

    __slots__ = ("_needles",)

    def __init__(self) -> None:
        self._needles: frozenset[bytes] = frozenset()

    def add(self, needles: frozenset[bytes]) -> None:
        """Look for these too, from now on."""
        self._needles |= needles

    def hits(self, data: bytes) -> bool:
        """Tell whether the data holds any of the secrets in any of the encodings."""
        return any(needle in data for needle in self._needles)

    def __repr__(self) -> str:
        return "SecretMatcher(***)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a matcher holds secrets and is not pickled")


def needles(secret: Secret) -> frozenset[bytes]:
    """Return the encodings of a secret to look for: as dangerous as the secret itself."""
    value = secret.reveal()
    raw, quoted = value.encode(), json.dumps(value)[1:-1]
    found = {raw, raw.hex().encode(), raw.hex().upper().encode()}
    found |= {quoted.encode(), quoted.replace("/", r"\/").encode(), html.escape(value).encode()}
    for safe in _LEFT_ALONE:
        escaped = quote(value, safe=safe)
        found |= {escaped.encode(), _ESCAPE.sub(lambda escape: escape[0].lower(), escaped).encode()}
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        found |= {_middle(encode, raw, shift) for shift in range(3)}
    found |= {part.encode() for part in value.split(".") if len(part) >= 4 * _SHORTEST}  # a JWT's segments
    return frozenset(needle for needle in found if len(needle) >= _SHORTEST)


def _middle(encode: Callable[[bytes], bytes], raw: bytes, shift: int) -> bytes:
    """Return what base64 of any text makes of the bytes in its midst, where they begin `shift` bytes into a group.

    The characters at both ends, which depend on the neighbours too, are left off.
    """
    return encode(b"\0" * shift + raw)[(0, 2, 3)[shift] : (shift + len(raw)) * 8 // 6]
