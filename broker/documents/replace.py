"""The hands of a rollback: files are put in place at once or not at all, and what is not kept is put back.

The watcher takes what two reads a moment apart agree on, so everything is written under hidden names, then renamed.
Folders are opened one by one and no link is followed: nothing outside the directory is written, whoever swaps what.
"""

import hashlib
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from broker.documents.files import digests
from broker.documents.restore import CannotRestore, Plan

_HIDDEN = ".aam-rollback-"
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(slots=True)
class _Change:
    """One name in a folder: the hidden names of what is to stand there and of a copy of what stood there."""

    shown: str
    folder: int
    name: str
    was: str | None
    will_be: str | None
    new: str | None = None
    old: str | None = None
    made: bool = False


class Restoration:
    """Puts a plan's files in place; what is not kept by the end of the `with` is put back. Raises `CannotRestore`."""

    def __init__(self, planned: Plan) -> None:
        self._plan = planned
        self._changes: list[_Change] = []
        self._open = ExitStack()
        self.left: list[str] = []
        """Names that could not be put back, or that somebody else has changed meanwhile."""

    def __enter__(self) -> Self:
        """Write everything under hidden names, what is there included."""
        try:
            with _explained():
                self._stage()
        except BaseException:
            self._clear()
            raise
        return self

    def apply(self) -> None:
        """Put every file in place, at once, and see that the set is now the wanted one."""
        with _explained():
            for change in self._changes:
                _expect(change, change.was)
            for change in self._changes:
                change.made = True
                if change.new is None:
                    os.unlink(change.name, dir_fd=change.folder)
                else:
                    os.replace(change.new, change.name, src_dir_fd=change.folder, dst_dir_fd=change.folder)
                    change.new = None
            for folder in {change.folder for change in self._changes}:
                os.fsync(folder)
        wanted = self._plan.wanted.files
        if digests(self._plan.directory, wanted) != wanted:
            raise CannotRestore("Somebody else has changed the documents meanwhile.")

    def keep(self) -> None:
        """Leave everything as it is now."""
        for change in self._changes:
            change.made = False

    def put_back(self) -> None:
        """Make everything as it was, but for what is then in `left`."""
        for change in reversed(self._changes):
            if change.made:
                change.made = False
                try:
                    self._put_back(change)
                except OSError:
                    self.left.append(change.shown)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self.put_back()
        finally:
            self._clear()

    def _stage(self) -> None:
        plan = self._plan
        root = self._opened(os.open(plan.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        folders: dict[Path, int] = {Path(): root}
        for name in (*plan.write, *plan.remove):
            content = plan.write.get(name)
            folder = self._folder(folders, Path(name).parent, make=name not in plan.replaced)
            change = _Change(name, folder, Path(name).name, plan.replaced.get(name), _sha256(content))
            self._changes.append(change)
            status, current = _current(change)
            if current is not None and status is not None:
                change.old = self._hidden(change, current, status)
            if content is not None:
                change.new = self._hidden(change, content, status)

    def _folder(self, folders: dict[Path, int], path: Path, *, make: bool) -> int:
        if path not in folders:
            above = self._folder(folders, path.parent, make=make)
            with suppress(FileExistsError):
                if make:
                    os.mkdir(path.name, dir_fd=above)
            folders[path] = self._opened(os.open(path.name, _FOLDER, dir_fd=above))
        return folders[path]

    def _opened(self, descriptor: int) -> int:
        self._open.callback(os.close, descriptor)
        return descriptor

    def _hidden(self, change: _Change, content: bytes, like: os.stat_result | None) -> str:
        """Write a content beside its name, with the mode and the owner of what stands there, and return where."""
        name = _HIDDEN + secrets.token_hex(8)
        with os.fdopen(os.open(name, _NEW, 0o666, dir_fd=change.folder), "wb") as file:
            self._open.callback(_remove, name, change.folder)
            owner = like or os.fstat(change.folder)
            with suppress(PermissionError):  # somebody else's; whoever may not give it away keeps it
                os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
            if like is not None:
                os.fchmod(file.fileno(), stat.S_IMODE(like.st_mode))
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        return name

    def _put_back(self, change: _Change) -> None:
        _, current = _current(change)
        if _sha256(current) == change.was:
            return
        if _sha256(current) != change.will_be:
            self.left.append(change.shown)
        elif change.old is None:
            os.unlink(change.name, dir_fd=change.folder)
        else:
            os.replace(change.old, change.name, src_dir_fd=change.folder, dst_dir_fd=change.folder)

    def _clear(self) -> None:
        self._open.close()


def _current(change: _Change) -> tuple[os.stat_result | None, bytes | None]:
    """Return what stands under a name now: its status and content, if there is a file. A link is not followed."""
    try:
        descriptor = os.open(change.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=change.folder)
    except FileNotFoundError:
        return None, None
    with os.fdopen(descriptor, "rb") as file:
        return os.fstat(descriptor), file.read()


def _expect(change: _Change, digest: str | None) -> None:
    if _sha256(_current(change)[1]) != digest:
        raise CannotRestore(f"{change.shown} has changed meanwhile; look at it, and try again.")


def _sha256(content: bytes | None) -> str | None:
    return None if content is None else hashlib.sha256(content).hexdigest()


def _remove(name: str, folder: int) -> None:
    with suppress(OSError):
        os.unlink(name, dir_fd=folder)


@contextmanager
def _explained() -> Iterator[None]:
    """Say in one sentence what the system refused."""
    try:
        yield
    except OSError as error:
        raise CannotRestore(f"The files cannot be put in place: {error.filename or ''} {error.strerror}.") from None
