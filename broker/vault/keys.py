"""The key-encryption key: 32 random bytes from one configured source, never in the store that it seals.

A serving process never prompts, and never takes a key from a keyring that keeps it in plain text.
"""

import base64
import binascii
import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NoReturn

import keyring
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from keyring.backend import KeyringBackend
from keyring.backends.chainer import ChainerBackend

from broker.errors import KeyUnavailable

KEY_BYTES = 32
_SERVICE = "envision-aam"
# The operating systems' own. Others may keep secrets in the clear, keep nothing, or ask at the terminal.
_BACKENDS = {f"keyring.backends.{name}" for name in ("SecretService", "libsecret", "kwallet", "macOS", "Windows")}

Source = Literal["file", "keyring", "environment"]


class KeyEncryptionKey:
    """The key itself, held by the vault; it has an id that may be shown.

    `others` open what this one has not sealed, while one key takes another's place.
    """

    __slots__ = ("_key", "key_id", "others")

    def __init__(self, key: bytes) -> None:
        self._key = key
        self.key_id = self.derive("key id")[:8].hex()
        self.others: tuple[KeyEncryptionKey, ...] = ()

    def give_way_to(self, other: "KeyEncryptionKey") -> None:
        """Become the other key, for all who hold this one; the one that was here still opens what it has sealed."""
        before = KeyEncryptionKey(self._key)
        self._key, self.key_id, self.others = other._key, other.key_id, (before,)  # noqa: SLF001 - its own kind

    def exported(self) -> bytes:
        """Return the key itself, to be sealed with the one that takes its place."""
        return self._key

    def retire_others(self) -> None:
        """Open nothing any more with the keys from before."""
        self.others = ()

    def derive(self, purpose: str) -> bytes:
        """Return 32 bytes for one purpose (HKDF, RFC 5869)."""
        return HKDF(hashes.SHA256(), KEY_BYTES, None, f"agent-access-manager/{purpose}/v1".encode()).derive(self._key)

    def __repr__(self) -> str:
        return f"KeyEncryptionKey({self.key_id})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a key is not pickled")


def read_key(source: Source, where: str) -> KeyEncryptionKey:
    """Read the key from a file's path, a keyring's user name or an environment variable's name.

    Raises `KeyUnavailable`, saying what to do.
    """
    if source == "file":
        return _decode(_read_file(Path(where)), f"the file {where}")
    if source == "environment":
        return _decode(os.environ.get(where, ""), f"the environment variable {where}")
    with _keyring() as backend:
        text = backend.get_password(_SERVICE, where)
    return _decode(text or "", f"the keyring under {_SERVICE}, {where}")


def read_next_key(source: Source, where: str) -> KeyEncryptionKey | None:
    """Return the key that is to take this one's place, if a rotation has begun."""
    if source == "environment":
        return None
    if source == "file":
        return read_key(source, _next(where)) if Path(_next(where)).exists() else None
    with _keyring() as backend:
        text = backend.get_password(_SERVICE, _next(where))
    return _decode(text, f"the keyring under {_SERVICE}, {_next(where)}") if text else None


def make_next_key(source: Source, where: str) -> KeyEncryptionKey:
    """Return the key that is to take this one's place, made if there is none yet; raise `KeyUnavailable`."""
    if source == "environment":
        raise KeyUnavailable(
            "A key in an environment variable cannot be replaced by the broker; move it into a file or the keyring."
        )
    create_key(source, _next(where))
    return read_key(source, _next(where))


def put_next_key_in_place(source: Source, where: str, retired_id: str) -> str:
    """Have the next key be the key from now on; the one before is kept beside it, for backups; return where."""
    kept = f"{where}.retired-{retired_id}"
    if source == "file":
        with contextlib.suppress(FileExistsError):  # a crash came between this and the next line
            Path(kept).hardlink_to(where)
        Path(_next(where)).replace(where)
        _sync_directory(Path(where).parent)
        return kept
    with _keyring() as backend:
        backend.set_password(_SERVICE, kept, backend.get_password(_SERVICE, where) or "")
        backend.set_password(_SERVICE, where, backend.get_password(_SERVICE, _next(where)) or "")
        backend.delete_password(_SERVICE, _next(where))
    return kept


def _next(where: str) -> str:
    return f"{where}.next"


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def create_key(source: Literal["file", "keyring"], where: str) -> None:
    """Make a new key at its source; a key that is there already stays."""
    text = base64.b64encode(os.urandom(KEY_BYTES)).decode()
    if source == "keyring":
        with _keyring() as backend:
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
        file.flush()
        os.fsync(file.fileno())  # what is sealed with it may be on disk sooner than it


def _read_file(path: Path) -> str:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a pipe or a terminal would make us wait
        with os.fdopen(descriptor, "rb") as file:
            mode = os.fstat(descriptor).st_mode
            if not stat.S_ISREG(mode):
                raise KeyUnavailable(f"The key file {path} is not a regular file.")
            if mode & (stat.S_IRWXG | stat.S_IRWXO):
                raise KeyUnavailable(f"Others may read or change the key file {path}; run: chmod 600 {path}")
            return file.read(1024).decode("ascii", "replace")
    except OSError as error:
        raise KeyUnavailable(f"The key file {path} cannot be read: {error.strerror}.") from None


def _decode(text: str, where: str) -> KeyEncryptionKey:
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise KeyUnavailable(f"There is no key of {KEY_BYTES} bytes in base64 in {where}.")
    return KeyEncryptionKey(key)


@contextlib.contextmanager
def _keyring() -> Iterator[KeyringBackend]:
    """Yield the system's keyring, or raise `KeyUnavailable`: also for whatever goes wrong in a backend."""
    try:
        backend = keyring.get_keyring()
        for member in backend.backends if isinstance(backend, ChainerBackend) else (backend,):
            if type(member).__module__ not in _BACKENDS:
                raise KeyUnavailable(
                    f"The keyring backend {type(member).__module__} is not an operating system's own; others may keep "
                    "keys in the clear or ask at the terminal. Use the system's keyring, or 'source: file'."
                )
        yield backend
    except KeyUnavailable:
        raise
    except Exception as error:  # noqa: BLE001 - each backend raises what its own libraries raise
        raise KeyUnavailable(f"The keyring did not give or take the vault's key: {type(error).__name__}.") from None
