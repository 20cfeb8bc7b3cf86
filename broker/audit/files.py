"""The files of a bundle, in a zip or in a directory. Nothing is ever unpacked, and no link is followed."""

import contextlib
import hashlib
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Protocol

_LARGEST = 1 << 24  # bytes of anything but the records
_PIECE = 1 << 20
_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
_DAMAGED = (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError, zlib.error, struct.error)


class Files(Protocol):
    """Files by their names, as `proofs/41.tlog-proof`."""

    def names(self) -> set[str]:
        """Return the names of all; raise `ValueError` if one stands there twice."""

    def open(self, name: str) -> IO[bytes]:
        """Open a file; raises `ValueError` or `OSError`."""


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Files]:
    """Open a zip or a directory. What turns out damaged meanwhile, or is encrypted, raises `ValueError`."""
    if path.is_dir():
        yield _Directory(path)
        return
    try:
        with zipfile.ZipFile(path) as archive:
            yield _Zip(archive)
    except _DAMAGED as error:
        raise ValueError(f"the archive is damaged, or cannot be read: {error}") from None


def read(files: Files, name: str) -> bytes:
    """Return a file's bytes; raise `ValueError` if it is not there, or too large."""
    with files.open(name) as file:
        content = file.read(_LARGEST + 1)
    if len(content) > _LARGEST:
        raise ValueError(f"{name} is larger than {_LARGEST} bytes")
    return content


def text(files: Files, name: str) -> str:
    """Return a file's text; raise `ValueError` as `read` does, and if it is not UTF-8."""
    try:
        return read(files, name).decode()
    except UnicodeDecodeError:
        raise ValueError(f"{name} is not UTF-8") from None


def digest(files: Files, name: str) -> tuple[str, int]:
    """Return the SHA-256 of a file, in hexadecimal, and its length."""
    found, length = hashlib.sha256(), 0
    with files.open(name) as file:
        while piece := file.read(_PIECE):
            found.update(piece)
            length += len(piece)
    return found.hexdigest(), length


class _Zip:
    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive

    def names(self) -> set[str]:
        names = [one.filename for one in self._archive.infolist() if not one.is_dir()]
        if len(set(names)) != len(names):
            raise ValueError("a name stands in the archive twice")
        return set(names)

    def open(self, name: str) -> IO[bytes]:
        try:
            about = self._archive.getinfo(name)
        except KeyError:
            raise ValueError(f"{name} is not in the bundle") from None
        if about.compress_type not in _METHODS:
            raise ValueError(f"{name} is compressed in a way that bundles are not")
        return self._archive.open(about)


class _Directory:
    def __init__(self, path: Path) -> None:
        self._path = path

    def names(self) -> set[str]:
        found = (one for one in self._path.rglob("*") if one.is_symlink() or not one.is_dir())
        return {one.relative_to(self._path).as_posix() for one in found}

    def open(self, name: str) -> IO[bytes]:
        path = self._path / name
        if path.is_symlink() or not path.is_file():
            raise ValueError(f"{name} is not in the bundle, or is no regular file")
        return path.open("rb")
