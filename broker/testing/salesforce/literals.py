r"""The literals of SOQL: quoted strings with their escapes, LIKE patterns, dates and datetimes.

Source: SOQL and SOSL Reference, Quoted String Escape Sequences. `\_` and `\%` belong to LIKE alone, and a
backslash before anything that is not listed is an error.
"""

import re
from collections.abc import Iterator
from datetime import date, datetime
from types import MappingProxyType
from typing import Final

_PIECE: Final = re.compile(r"\\u[0-9A-Fa-f]{4}|\\.|[^\\]", re.DOTALL)
_ESCAPES: Final = MappingProxyType(
    {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f", '"': '"', "'": "'", "\\": "\\"},
)
_LIKE_ESCAPES: Final = frozenset("%_")


def read_text(source: str) -> str:
    """Read a quoted string; an unknown escape is a ValueError whose text is the service's message."""
    return "".join(_plain(source, piece) for piece in _pieces(source))


def read_pattern(source: str) -> re.Pattern[str]:
    """Read a quoted LIKE pattern, for case-folded text: `%` is any run, `_` exactly one character."""
    parts = []
    for piece in _pieces(source):
        if piece == "%":
            parts.append(".*")
        elif piece == "_":
            parts.append(".")
        elif piece[0] == "\\" and piece[1:] in _LIKE_ESCAPES:
            parts.append(re.escape(piece[1]))
        else:
            parts.append(re.escape(_plain(source, piece).casefold()))
    return re.compile("".join(parts), re.DOTALL)


def read_date(source: str) -> date:
    """Read a `YYYY-MM-DD` literal; a day that no calendar has is a ValueError."""
    try:
        return date.fromisoformat(source)
    except ValueError:
        raise ValueError(f"Invalid date: {source}") from None


def read_datetime(source: str) -> datetime:
    """Read a datetime with an offset, as a literal has it (`Z`, `+01:00`) or as a record has it (`+0000`)."""
    try:
        return datetime.fromisoformat(source)
    except ValueError:
        raise ValueError(f"Invalid datetime: {source}") from None


def _pieces(source: str) -> Iterator[str]:
    return (match[0] for match in _PIECE.finditer(source[1:-1]))


def _plain(source: str, piece: str) -> str:
    if piece[0] != "\\":
        return piece
    if len(piece) > len("\\n"):
        return chr(int(piece.removeprefix("\\u"), base=16))
    character = _ESCAPES.get(piece[1].lower())
    if character is None:
        raise ValueError(
            f"Invalid string literal {source}. Illegal character sequence '{piece}' in string literal.",
        )
    return character
