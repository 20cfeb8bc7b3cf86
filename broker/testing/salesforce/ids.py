"""Record Ids: fifteen case-sensitive characters, and three more that carry the case.

001Qy000004GmCKIA0
---                key prefix: the object
   ------------    instance, reserved digit, record number in base 62
               --- which of the fifteen are capitals, five to a character
"""

from string import ascii_lowercase, ascii_uppercase, digits
from typing import Final

ALPHABET: Final = digits + ascii_uppercase + ascii_lowercase
_SUFFIX_ALPHABET: Final = ascii_uppercase + "012345"
_INSTANCE: Final = "Qy0"
_NUMBER_LENGTH: Final = 9


def record_id(key_prefix: str, number: int) -> str:
    """Make the 18-character Id of the `number`-th record under a key prefix."""
    return full_id(f"{key_prefix}{_INSTANCE}{_base62(number)}")


def full_id(short: str) -> str:
    """Complete a 15-character Id to its 18-character form.

    Salesforce Help, "How to convert 15 digit Ids to 18 digit Ids": each block of five is read backwards as a
    binary number, one for a capital, and that number picks the character.
    """
    return short + "".join(_suffix(short[start : start + 5]) for start in (0, 5, 10))


def parse_id(text: str) -> str | None:
    """Complete an Id that a client wrote; None if it is none, by its length, a character or its suffix."""
    if len(text) not in (15, 18) or any(character not in ALPHABET for character in text):
        return None
    proper = full_id(text[:15])
    return proper if proper.startswith(text) else None


def _suffix(block: str) -> str:
    return _SUFFIX_ALPHABET[sum(1 << place for place, character in enumerate(block) if character in ascii_uppercase)]


def _base62(number: int) -> str:
    digits_backwards = []
    for _ in range(_NUMBER_LENGTH):
        number, digit = divmod(number, len(ALPHABET))
        digits_backwards.append(ALPHABET[digit])
    return "".join(reversed(digits_backwards))
