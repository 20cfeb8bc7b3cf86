"""Canonical JSON (RFC 8785), for the values that records hold: no floats, no integers that JavaScript would round."""

from typing import Any

import msgspec

_ENCODER = msgspec.json.Encoder(order="deterministic")
_LARGEST = 2**53 - 1  # RFC 7493 §2.2: beyond it, readers disagree
_DEEPEST = 64  # fixed, so that what one process could write any other can read, however little stack is left


def canonical(value: Any) -> bytes:
    """Return the value's one encoding; raise `ValueError` for a value that has none.

    Object keys are printable ASCII, for which the order of RFC 8785 (by UTF-16 unit) and of the encoder (by code point)
    are the same.
    """
    _check(value, _DEEPEST)
    try:
        return _ENCODER.encode(value)
    except UnicodeEncodeError:
        raise ValueError("a lone surrogate has no encoding") from None


def _check(value: Any, levels: int) -> None:
    kind = type(value)
    if kind is dict or kind is list or kind is tuple:
        _check_members(value, levels)
    elif kind is int:
        if not -_LARGEST <= value <= _LARGEST:
            raise ValueError("an integer beyond 2^53 - 1 is not exact everywhere")
    elif value is not None and kind is not str and kind is not bool:
        raise ValueError(f"a {kind.__name__} has no place in a record")


def _check_members(value: Any, levels: int) -> None:
    if not levels:
        raise ValueError(f"a record is nested more than {_DEEPEST} deep")
    members = value
    if type(value) is dict:
        members = value.values()
        for key in value:
            if type(key) is not str or not (key.isascii() and key.isprintable()):
                raise ValueError("object keys are printable ASCII")
    for member in members:
        if type(member) is not str:
            _check(member, levels - 1)
