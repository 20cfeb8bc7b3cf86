"""Whether a file holds a private key: what does is digested like every file of a set, and never kept."""

import json
import re
from typing import Any

_NAMED_KEYS = re.compile(rb"-----BEGIN [A-Z0-9 ]*PRIVATE KEY|PuTTY-User-Key-File-|AGE-SECRET-KEY-1")
_PRIVATE_PARTS = frozenset({"d", "k"})  # RFC 7518 §6: of an asymmetric JSON Web Key, and a symmetric one itself
# The same in YAML, or in JSON that is quoted in either
_KEY_TYPE = re.compile(rb"(?<![\w-])kty(?![\w-])")
_KEY_PART = re.compile(rb"""(?<![\w-])[dk][\\"']*+\s*+:\s*+(?:[&!]\S*+\s++)*+[\\"'>|-]*+\s*+[A-Za-z0-9_-]{16}""")


def holds_private_key(content: bytes) -> bool:
    """Tell whether there is a private key in PEM form (RFC 7468), a private or symmetric JSON Web Key, or the like."""
    text = content.replace(b"\0", b"")  # without the NULs, UTF-16 can be searched too
    if _NAMED_KEYS.search(text) or (_KEY_TYPE.search(text) and _KEY_PART.search(text)):
        return True
    try:
        return _has_private_part(json.loads(content))
    except (ValueError, RecursionError):
        return False


def _has_private_part(value: Any) -> bool:
    if isinstance(value, dict):
        if "kty" in value and not _PRIVATE_PARTS.isdisjoint(value):
            return True
        return any(map(_has_private_part, value.values()))
    return isinstance(value, list) and any(map(_has_private_part, value))
