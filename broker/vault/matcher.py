"""Finds secrets in bytes that are about to leave, in every encoding in which a service might echo them."""

import base64
import json
import re
from urllib.parse import quote

from broker.egress import Secret

_SHORTEST = 8  # bytes: what is shorter says nothing


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


def needles(secret: Secret) -> frozenset[bytes]:
    """Return the encodings of a secret to look for: as dangerous as the secret itself."""
    value = secret.reveal()
    raw = value.encode()
    found = {raw, raw.hex().encode(), raw.hex().upper().encode()}
    quoted = quote(value, safe="")
    found |= {quoted.encode(), re.sub("%[0-9A-F]{2}", lambda escape: escape[0].lower(), quoted).encode()}
    found |= {json.dumps(value)[1:-1].encode(), json.dumps(value)[1:-1].replace("/", r"\/").encode()}
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        for shift in range(3):  # base64 of a text that holds the secret: its middle stands at one of three offsets
            encoded = encode(b"\0" * shift + raw)
            found.add(encoded[(0, 2, 3)[shift] : len(encoded) - (0, 4)[len(encoded) > _SHORTEST * 2]])
    found |= {part.encode() for part in value.split(".") if len(part) >= 4 * _SHORTEST}  # a JWT's segments
    return frozenset(needle for needle in found if len(needle) >= _SHORTEST)
