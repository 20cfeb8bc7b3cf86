"""Envelope encryption of one field: AES-256-GCM under a key of its own, which is wrapped under the key-encryption key.

The associated data binds connector, principal, field and version: a row that is moved, or an old one that is put back
under a new version, does not open.
"""

import base64
import binascii
import contextlib
import os
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

from broker.errors import VaultUnreadable
from broker.vault.keys import KeyEncryptionKey

_NONCE_BYTES = 12
_WRAPPED_BYTES = 40  # RFC 3394: a 256-bit key and its check


@dataclass(frozen=True, slots=True)
class Place:
    """Where a sealed value belongs."""

    connector: str
    principal: str
    field: str
    version: int

    def associated_data(self, key_id: str) -> bytes:
        """Return what the seal is bound to. No part can hold the separator."""
        parts = ("v1", self.connector, self.principal, self.field, str(self.version), key_id)
        if any("|" in part for part in parts):
            raise ValueError("'|' separates what a seal is bound to and cannot stand in it")
        return "|".join(parts).encode()


def seal(key: KeyEncryptionKey, place: Place, plain: bytes) -> str:
    """Return the value sealed for its place, as base64 text."""
    return base64.b64encode(seal_bytes(key, place, plain)).decode()


def seal_bytes(key: KeyEncryptionKey, place: Place, plain: bytes) -> bytes:
    """Return the value sealed for its place: wrapped key, nonce, ciphertext and tag."""
    data_key, nonce = os.urandom(32), os.urandom(_NONCE_BYTES)
    wrapped = aes_key_wrap(key.derive("wrap"), data_key)
    return wrapped + nonce + AESGCM(data_key).encrypt(nonce, plain, place.associated_data(key.key_id))


def unseal(key: KeyEncryptionKey, place: Place, sealed: str) -> bytes:
    """Return the value; raise `VaultUnreadable` if it was sealed for another place or under another key."""
    try:
        raw = base64.b64decode(sealed, validate=True)
    except (binascii.Error, ValueError):
        raise _unreadable(place) from None
    return unseal_bytes(key, place, raw)


def unseal_bytes(key: KeyEncryptionKey, place: Place, sealed: bytes) -> bytes:
    """Return the value; raise `VaultUnreadable` if it was sealed for another place or under another key."""
    for candidate in (key, *key.others):
        with contextlib.suppress(InvalidTag, InvalidUnwrap, ValueError):
            return _opened(candidate, place, sealed)
    raise _unreadable(place)


def _opened(key: KeyEncryptionKey, place: Place, sealed: bytes) -> bytes:
    wrapped, nonce = sealed[:_WRAPPED_BYTES], sealed[_WRAPPED_BYTES : _WRAPPED_BYTES + _NONCE_BYTES]
    ciphertext = sealed[_WRAPPED_BYTES + _NONCE_BYTES :]
    data_key = aes_key_unwrap(key.derive("wrap"), wrapped)
    return AESGCM(data_key).decrypt(nonce, ciphertext, place.associated_data(key.key_id))


def reseal_bytes(key: KeyEncryptionKey, place: Place, sealed: bytes) -> bytes | None:
    """Return the value sealed with the key, if only one of the others opens it; None if it is sealed so already."""
    with contextlib.suppress(InvalidTag, InvalidUnwrap, ValueError):
        _opened(key, place, sealed)
        return None
    return seal_bytes(key, place, unseal_bytes(key, place, sealed))


def _unreadable(place: Place) -> VaultUnreadable:
    return VaultUnreadable(detail=f"{place.field} of {place.connector} does not open with this key")
