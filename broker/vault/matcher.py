"""Finds secrets in bytes that are about to leave, in every encoding in which a service might echo them.

No eight bytes in a row of a token or key pass: each such window is looked for in each encoding, in one pass, and again
in what the text says once its escapes are undone.
"""

import base64
import html
import json
import re
from collections.abc import Callable, Iterable, Iterator
from typing import NoReturn, Self
from urllib.parse import quote, unquote_to_bytes

from ahocorasick_rs import BytesAhoCorasick, Implementation

from broker.egress import Secret

_SHORTEST = 8  # bytes: what is shorter says nothing
_FEWEST = 5  # different bytes in a window: a run of zeros is in many results, and in few secrets
_ESCAPE = re.compile("%[0-9A-F]{2}")
_LEFT_ALONE = ("", "/", "!'()*")  # what encoders of URLs do not escape: none, Python's default, JavaScript's
_PUBLIC = re.compile(r"00D[A-Za-z0-9]{12,15}!|eyJ[A-Za-z0-9_-]+\.(?=[A-Za-z0-9_-]+\.)")  # an org's id; a JWT's header
_JSON_ESCAPE = re.compile(rb"\\(?:u00([0-7][0-9a-fA-F])|x([0-7][0-9a-fA-F])|([\"'/\\]))")
_SPACE = re.compile(rb"\s+|\\[nrtbf]|\\u00(?:0[9aAdD]|20)|=\r?\n")
_BREAKS = (b"\\", b"=\n", b"=\r\n")
"""What breaks lines with more than blanks: where it stands nowhere, leaving out the blanks is ten times as quick."""
_BLANK = b" \t\n\r\f\v"
_ROUNDS = 3  # of escapes within escapes


class Needles:
    """What one secret may look like, compiled once: as dangerous as the secret itself."""

    __slots__ = ("_automaton", "shortest")

    def __init__(self, patterns: Iterable[bytes]) -> None:
        kept = {pattern for pattern in patterns if len(pattern) >= _SHORTEST}
        self.shortest = min(map(len, kept), default=0)
        self._automaton = BytesAhoCorasick(sorted(kept), implementation=Implementation.ContiguousNFA) if kept else None

    @classmethod
    def of(cls, secret: Secret) -> Self:
        """Return what to look for: the whole of a secret, and any eight bytes of it."""
        value = secret.reveal()
        return cls({*_whole(value), *_windows(value)})

    def found_in(self, data: bytes) -> bool:
        """Tell whether the data holds any of it, as it stands."""
        return self._automaton is not None and bool(self._automaton.find_matches_as_indexes(data))

    def __repr__(self) -> str:
        return "Needles(***)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("needles are secrets and are not pickled")


class SecretMatcher:
    """Knows the encodings of the secrets that one attempt used; satisfies `redact.Matcher`."""

    __slots__ = ("_needles",)

    def __init__(self) -> None:
        self._needles: tuple[Needles, ...] = ()

    def add(self, needles: Needles) -> None:
        """Look for these too, from now on."""
        self._needles += (needles,)

    def hits(self, data: bytes) -> bool:
        """Tell whether the data holds any of the secrets in any of the encodings."""
        return bool(self._needles) and any(
            needles.found_in(reading) for reading in _readings(data) for needles in self._needles
        )

    def __repr__(self) -> str:
        return "SecretMatcher(***)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a matcher holds secrets and is not pickled")


def _readings(data: bytes) -> Iterator[bytes]:
    """Yield the data as it stands, with its escapes undone, and without what breaks long lines."""
    yield data
    for _ in range(_ROUNDS):
        undone = _undone(data)
        if undone == data:
            break
        yield (data := undone)
    plain = not any(one in data for one in _BREAKS)
    squeezed = data.translate(None, _BLANK) if plain else _SPACE.sub(b"", data)
    if len(squeezed) != len(data):
        yield squeezed


def _undone(data: bytes) -> bytes:
    if b"\\" in data:
        data = _JSON_ESCAPE.sub(lambda found: found[3] or bytes.fromhex((found[1] or found[2]).decode()), data)
    if b"%" in data:
        data = unquote_to_bytes(data)
    return html.unescape(data.decode("latin-1")).encode("utf-8", "replace") if b"&" in data else data


def _whole(value: str) -> set[bytes]:
    """Return the encodings of the whole of a secret."""
    raw, quoted = value.encode(), json.dumps(value)[1:-1]
    found = {raw, raw.hex().encode(), raw.hex().upper().encode()}
    found |= {quoted.encode(), quoted.replace("/", r"\/").encode(), html.escape(value).encode()}
    for safe in _LEFT_ALONE:
        escaped = quote(value, safe=safe)
        found |= {escaped.encode(), _ESCAPE.sub(lambda escape: escape[0].lower(), escaped).encode()}
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        found |= {_middle(encode, raw, shift) for shift in range(3)}
    return found | {part.encode() for part in value.split(".") if len(part) >= 4 * _SHORTEST}  # a JWT's segments


def _windows(value: str) -> Iterator[bytes]:
    """Yield every eight bytes of a secret, where not all of them are public: raw, in hex and in base64."""
    raw = value.encode()
    public = max((found.end() for found in _PUBLIC.finditer(value) if found.start() == 0), default=0)
    for start in range(public, len(raw) - _SHORTEST + 1):
        window = raw[start : start + _SHORTEST]
        if len(set(window)) < _FEWEST:
            continue
        yield from (window, window.hex().encode(), window.hex().upper().encode())
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            yield from (_middle(encode, window, shift) for shift in range(3))


def _middle(encode: Callable[[bytes], bytes], raw: bytes, shift: int) -> bytes:
    """Return what base64 of any text makes of the bytes in its midst, where they begin `shift` bytes into a group.

    The characters at both ends, which depend on the neighbours too, are left off.
    """
    return encode(b"\0" * shift + raw)[(0, 2, 3)[shift] : (shift + len(raw)) * 8 // 6]
