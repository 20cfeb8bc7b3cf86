"""Cursors: where an agent is in the results of a query, sealed so that nobody can read, forge or lend one.

base64url(nonce | AES-256-GCM(expiry and place)), with agent, tool and query as associated data
"""

import base64
import binascii
import hashlib
import os
import time
from typing import Any

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from broker.errors import CursorInvalid

_NONCE = 12
_LIFETIME = 24 * 3600.0  # seconds
_LONGEST = 4096  # characters


class CursorSealer:
    """Holds the key of cursors."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def of(self, agent: str, tool: str) -> "AgentCursors":
        """Return what makes and opens the cursors of one agent and tool."""
        return AgentCursors(self._cipher, f"{agent}\n{tool}\n")


class AgentCursors:
    """The cursors of one agent and tool, each bound to its query."""

    def __init__(self, cipher: AESGCM, whose: str) -> None:
        self._cipher = cipher
        self._whose = whose

    def seal(self, query: str, place: Any) -> str:
        """Return a cursor for a place in the results of a query."""
        nonce = os.urandom(_NONCE)
        plain = msgspec.json.encode([time.time() + _LIFETIME, place])
        return base64.urlsafe_b64encode(nonce + self._cipher.encrypt(nonce, plain, self._bound(query))).decode()

    def open(self, query: str, cursor: str) -> Any:
        """Return the place; raise `CursorInvalid` if the cursor is not one of this agent, tool and query."""
        try:
            sealed = base64.b64decode(cursor[:_LONGEST].encode("ascii"), altchars=b"-_", validate=True)
            plain = self._cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], self._bound(query))
        except (binascii.Error, UnicodeEncodeError, ValueError, InvalidTag):
            raise CursorInvalid from None
        end, place = msgspec.json.decode(plain)
        if time.time() >= end:
            raise CursorInvalid
        return place

    def _bound(self, query: str) -> bytes:
        return hashlib.sha256((self._whose + query).encode("utf-8", "surrogatepass")).digest()
