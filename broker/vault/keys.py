"""The key-encryption key: 32 random bytes from one configured source, never in the store that it seals.

A serving process never prompts, and never takes a key from a keyring that keeps it in plain text.
"""

import base64
import binascii
import os
import stat
from pathlib import Path
from typing import Literal

import keyring
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from keyring.backend import KeyringBackend
from keyring.errors import KeyringError

from broker.errors import KeyUnavailable

KEY_BYTES = 32
_SERVICE = "envision-aam"
# Backends that keep secrets in the clear, keep nothing, or ask at the terminal; and the one that only fails.
_REFUSED_BACKENDS = ("plaintext", "null", "fail", "cryptfile", "encryptedkeyring", "envkeyring")


Source = Literal["file", "keyring", "environment"]


class KeyEncryptionKey:
    """The key itself, held by the vault; it has an id that may be shown."""

    __slots__ = ("_key", "key_id")

    def __init__(self, key: bytes) -> None:
        self._key = key
        self.key_id = self.derive("key id")[:8].hex()

    def derive(self, purpose: str) -> bytes:
        """Return 32 bytes for one purpose (HKDF, RFC 5869)."""
        return HKDF(hashes.SHA256(), KEY_BYTES, None, f"agent-access-manager/{purpose}/v1".encode()).derive(self._key)

    def __repr__(self) -> str:
        return f"KeyEncryptionKey({self.key_id})"


def read_key(source: Source, where: str) -> KeyEncryptionKey:
    """Read the key from a file's path, a keyring's user name or an environment variable's name.

    Raises `KeyUnavailable`, saying what to do.
    """
    if source == "file":
        return _decode(_read_file(Path(where)), f"the file {where}")
    if source == "environment":
        return _decode(os.environ.get(where, ""), f"the environment variable {where}")
    try:
        text = _checked_keyring().get_password(_SERVICE, where)
    except (KeyringError, EOFError, OSError) as error:
        raise KeyUnavailable(f"The keyring did not give the vault's key: {type(error).__name__}.") from None
    return _decode(text or "", f"the keyring under {_SERVICE}, {where}")


def create_key(source: Literal["file", "keyring"], where: str) -> None:
    """Make a new key at its source; a key that is there already stays."""
    text = base64.b64encode(os.urandom(KEY_BYTES)).decode()
    if source == "keyring":
        backend = _checked_keyring()
        if backend.get_password(_SERVICE, where) is None:
            backend.set_password(_SERVICE, where, text)
        return
    path = Path(where)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return
    with os.fdopen(descriptor, "w") as file:
        file.write(text + "\n")


def _read_file(path: Path) -> str:
    try:
        with path.open() as file:
            mode = os.fstat(file.fileno()).st_mode
            if mode & (stat.S_IRWXG | stat.S_IRWXO):
                raise KeyUnavailable(f"Others may read or change the key file {path}; run: chmod 600 {path}")
            return file.read(1024)
    except (OSError, UnicodeDecodeError) as error:
        raise KeyUnavailable(f"The key file {path} cannot be read: {error}.") from None


def _decode(text: str, where: str) -> KeyEncryptionKey:
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise KeyUnavailable(f"There is no key of {KEY_BYTES} bytes in base64 in {where}.")
    return KeyEncryptionKey(key)


def _checked_keyring() -> KeyringBackend:
    backend = keyring.get_keyring()
    for candidate in (backend, *getattr(backend, "backends", ())):
        kind = f"{type(candidate).__module__}.{type(candidate).__qualname__}".lower()
        if any(refused in kind for refused in _REFUSED_BACKENDS):
            raise KeyUnavailable(
                f"The keyring backend {kind} keeps keys in the clear, not at all, or asks at the terminal. "
                "Use the system's keyring, or 'source: file'."
            )
    return backend
