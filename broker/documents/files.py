"""The files of a set of documents: which there are, each read whole and within bounds, and their digests.

A set is everything below its directory that is named *.yaml or *.yml, except what is hidden (a name that begins with a
dot), and the files that its documents name. Those names are the administrator's: they are relative to the document
that names them, and may be absolute or lead elsewhere. Whatever looks like a document and cannot be read is a mistake,
never passed over: it may be the one that denies.
"""

import errno
import hashlib
import json
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

from broker.documents.source import Problem

LARGEST_DOCUMENT = 1 << 20  # bytes
LARGEST_NAMED = 16 << 20  # bytes of a file that a document names
_MOST_ENTRIES = 20_000  # a directory of more is not a set of documents
_SUFFIXES = (".yaml", ".yml")

Digests = Mapping[str, str | None]
"""The SHA-256 of each file by its name, as `sha256sum` prints it; None for what could not be read."""

NO_DIGESTS: Digests = MappingProxyType({})

Contents = Mapping[str, bytes]
"""What stood in each file that could be read, by its name: the very bytes that were checked."""

NO_CONTENTS: Contents = MappingProxyType({})


class SetFiles:
    """Reads the files of one set, each once, and remembers the digest of each that it was asked for."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.digests: dict[str, str | None] = {}
        self.contents: dict[str, bytes] = {}
        """What has been read, by its name in the set."""

    def documents(self) -> Iterator[tuple[str, bytes] | Problem]:
        """Yield the name and content of each file of documents, or what keeps it from being read."""
        for found in self._names():
            if isinstance(found, Problem):
                yield found
                continue
            try:
                yield found, self._read(found, LARGEST_DOCUMENT)
            except OSError as error:
                yield Problem(found, 1, "", f"cannot be read: {error.strerror}")

    def named(self, document: str, name: str) -> bytes:
        """Read a file that a document names. Raises `OSError`."""
        return self._read(self.place(document, name), LARGEST_NAMED)

    def is_there(self, document: str, name: str) -> bool:
        """Tell whether anything has the name that stands in a document, be it a link that leads nowhere."""
        path = self.directory / self.place(document, name)
        return path.is_symlink() or path.exists()

    def on_disk(self, name: str) -> Path:
        """Return a path at which the content of a file that has been read can be found."""
        return self.directory / name

    def place(self, document: str, name: str) -> str:
        """Return where a name leads that stands in a document: relative to the set, or absolute."""
        return str(Path(document).parent / name)

    def _read(self, name: str, most: int) -> bytes:
        if name not in self.contents:  # several documents may name one file, and must find the same in it
            self.digests[name] = None
            text = self.contents[name] = self._content(name, most)
            self.digests[name] = hashlib.sha256(text).hexdigest()
        return self.contents[name]

    def _names(self) -> Iterator[str | Problem]:
        return _named_as_documents(self.directory)

    def _content(self, name: str, most: int) -> bytes:
        return read_whole(self.directory / name, most)


def inside(name: str) -> str | None:
    """Return a name in its normal form if it stays below the set's directory by its letters; None if it leads out."""
    normal = os.path.normpath(name)
    return None if normal.startswith(("/", "../")) or normal in {".", ".."} or "\0" in normal else normal


def is_document(name: str) -> bool:
    """Tell whether a file below the set's directory is one of documents, by its name."""
    parts = Path(name).parts
    return name.lower().endswith(_SUFFIXES) and not any(part.startswith(".") for part in parts)


def set_digest(digests: Digests) -> str:
    """Return the digest of a whole set: that of all names with their digests."""
    return hashlib.sha256(json.dumps(digests, sort_keys=True).encode()).hexdigest()


def digests(directory: Path, names: Iterable[str]) -> Digests:
    """Read a set once more, and the files that it named before; return every digest."""
    files = SetFiles(directory)
    for _ in files.documents():
        pass
    for name in names:
        if name not in files.digests:
            try:
                files.named("", name)
            except OSError:
                files.digests[name] = None
    return files.digests


def look(directory: Path, names: Iterable[str]) -> Mapping[str, tuple[int, ...]]:
    """Note what tells of a change without reading: cheap, and different when any file may be."""
    found: dict[str, tuple[int, ...]] = {}
    documents = (str(one) if isinstance(one, str) else f"{one.file}\0" for one in _named_as_documents(directory))
    for name in {*documents, *names}:
        try:
            status = (directory / name).stat()
            found[name] = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
        except (OSError, ValueError):
            found[name] = ()
    return found


def read_whole(path: Path, most: int) -> bytes:
    """Read a regular file of at most so many bytes. Raises `OSError`, for anything else too."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe must not hold us up
    except ValueError:  # a name with a NUL, or with half a character
        raise OSError(errno.EINVAL, "this is no name of a file") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is not a regular file")
    with os.fdopen(descriptor, "rb") as file:
        text = file.read(most + 1)
    if len(text) > most:
        raise OSError(errno.EFBIG, f"it is larger than {most} bytes")
    return text


def _named_as_documents(directory: Path) -> Iterator[str | Problem]:
    """Yield the names of the files of documents, in a fixed order, and what is in the way of finding them all."""
    waiting = [""]
    seen = 0
    while waiting:
        folder = waiting.pop()
        try:
            with os.scandir(directory / folder) as entries:
                listed = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            yield Problem(folder or str(directory), 1, "", f"cannot be read: {error.strerror}")
            continue
        seen += len(listed)
        if seen > _MOST_ENTRIES:
            yield Problem(
                folder or str(directory), 1, "", f"there are over {_MOST_ENTRIES} files: is this the right directory?"
            )
            return
        for entry in listed:
            name = str(Path(folder) / entry.name)
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                waiting.append(name)
            elif _leads_to_directory(entry):
                yield Problem(name, 1, "", "is a link to a directory, and is not followed; link the files instead")
            elif not entry.name.lower().endswith(_SUFFIXES):
                continue
            elif not _is_text(name):
                yield Problem(repr(name), 1, "", "the file's name is not UTF-8; rename it")
            else:
                yield name


def _leads_to_directory(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a loop of links, or one into a closed directory; reading it says so
        return False


def _is_text(name: str) -> bool:
    try:
        return bool(name.encode())
    except UnicodeEncodeError:
        return False
