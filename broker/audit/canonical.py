"""Canonical JSON (RFC 8785), for the values that records hold: no floats, no integers that JavaScript would round."""

from typing import Any

import msgspec

_ENCODER = msgspec.json.Encoder(order="deterministic")
_LARGEST = 2**53 - 1  # RFC 7493 §2.2: beyond it, readers disagree


def canonical(value: Any) -> bytes:
    """Return the value's one encoding; raise `ValueError` for a value that has none.

    Object keys are printable ASCII, for which the order of RFC 8785 (by UTF-16 unit) and of the encoder (by code point)
    are the same.
    """
    _check(value)
    try:
        return _ENCODER.encode(value)
    except UnicodeEncodeError:
        raise ValueError("a lone surrogate has no encoding") from None


def _check(value: Any) -> None:
    kind = type(value)
    if kind is dict:
        for key, member in value.items():
            if type(key) is not str or not (key.isascii() and key.isprintable()):
                raise ValueError("object keys are printable ASCII")
            if type(member) is not str:
                _check(member)
    elif kind is int:
        if not -_LARGEST <= value <= _LARGEST:
            raise ValueError("an integer beyond 2^53 - 1 is not exact everywhere")
    elif kind is list or kind is tuple:
        for member in value:
            _check(member)
    elif value is not None and kind is not str and kind is not bool:
        raise ValueError(f"a {kind.__name__} has no place in a record")
