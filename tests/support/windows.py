"""Finds pieces of secrets in bytes, by means of its own: it shares nothing with the broker's scanner but the promise.

The promise is credentials.md B6 and issue 5: no eight bytes in a row of a secret, raw, in hex, in base64 or base64url,
behind URL, JSON or HTML escapes.
"""

import base64
import html
import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote_to_bytes

from ahocorasick_rs import BytesAhoCorasick

_WINDOW = 8


class Pieces:
    """What may stand nowhere."""

    def __init__(self, *secrets: str) -> None:
        windows = (
            secret.encode()[start : start + _WINDOW]
            for secret in secrets
            for start in range(len(secret.encode()) - _WINDOW + 1)
        )
        self._pieces = sorted({piece for window in windows for piece in _written(window)})
        self._search = BytesAhoCorasick(self._pieces)

    def in_(self, data: bytes) -> set[bytes]:
        """Return the pieces that stand in some bytes, under whatever escapes."""
        return {piece for reading in set(_readings(data)) for piece in self._plainly_in(reading)}

    def _plainly_in(self, data: bytes) -> set[bytes]:
        return {self._pieces[number] for number, _, _ in self._search.find_matches_as_indexes(data)}


def _written(window: bytes) -> Iterator[bytes]:
    yield window
    yield window.hex().encode()
    yield window.hex().upper().encode()
    for before in (b"", b"\x00", b"\x00\x00"):
        first, last = (8 * len(before) + 5) // 6, 8 * (len(before) + _WINDOW) // 6
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            yield encode(before + window + b"\x00" * 3)[first:last]


def _readings(data: bytes) -> Iterator[bytes]:
    yield data
    if b"%" in data:
        yield unquote_to_bytes(data)
    if b"&" in data:
        yield html.unescape(data.decode("utf-8", "replace")).encode()
    if b"\\" in data:
        unescaped = re.sub(rb"\\u00([0-9a-fA-F]{2})", lambda found: bytes.fromhex(found[1].decode()), data)
        yield unescaped
        yield unescaped.replace(b"\\\\", b"\\").replace(b'\\"', b'"').replace(b"\\/", b"/")
    yield from (text.encode("utf-8", "replace") for text in _texts(data))


def _texts(data: bytes) -> Iterator[str]:
    """Yield every text inside a JSON message, decoded once more where it is JSON itself."""
    try:
        value = json.loads(data)
    except ValueError:
        return
    pending = [value]
    while pending:
        one: Any = pending.pop()
        if isinstance(one, dict):
            pending += [*one, *one.values()]
        elif isinstance(one, list):
            pending += one
        elif isinstance(one, str):
            yield one
            yield unquote_to_bytes(one).decode("utf-8", "replace")
            yield html.unescape(one)
