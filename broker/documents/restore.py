"""An earlier set, to be put back: what that takes, and whether it would be right."""

import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from broker.connector.installed import find_connector
from broker.documents.check import load
from broker.documents.files import Digests, SetFiles, inside, is_document
from broker.documents.given import GivenFiles
from broker.documents.snapshot import FindConnector, Snapshot
from broker.documents.source import Problem


class CannotRestore(Exception):  # noqa: N818 - it says what stands in the way
    """The set cannot be put back; nothing has been changed, or everything is as it was."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A set as the history has it: digests by name (None: not there), and contents by SHA-256, if they are kept."""

    digest: str
    files: Digests
    contents: Mapping[str, bytes] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Plan:
    """What must be written and removed; `replaced` are the digests of what is there now, by name."""

    directory: Path
    wanted: Wanted
    write: Mapping[str, bytes] = field(repr=False)
    remove: tuple[str, ...]
    replaced: Mapping[str, str]
    stays: Mapping[str, bytes] = field(repr=False)

    def check(self, find: FindConnector = find_connector) -> Snapshot:
        """Return the set as it will be, checked as `aam check` does; raise `Invalid`, or `CannotRestore`."""
        with tempfile.TemporaryDirectory() as scratch:
            given = GivenFiles(self.directory, {**self.stays, **self.write}, Path(scratch))
            snapshot = load(self.directory, find, files=given)
        if snapshot.digest != self.wanted.digest:
            raise CannotRestore("These documents are another set than they were: files that they name have changed.")
        return snapshot


def plan(directory: Path, wanted: Wanted) -> Plan:
    """Compare a set with what lies in the directory; raise `CannotRestore` for what this user's hands cannot mend."""
    files = _read(directory, wanted.files)
    there = files.digests
    write: dict[str, bytes] = {}
    stays: dict[str, bytes] = {}
    for name, digest in wanted.files.items():
        place = inside(name)
        if there.get(name) == digest:
            if place is not None and digest is not None:
                stays[place] = files.contents[name]
        elif place is None:
            raise CannotRestore(f"{name} is outside the directory and is not what it was; put it back yourself.")
        elif digest is not None and digest not in wanted.contents:
            raise CannotRestore(f"{name} is not what it was, and its content is not kept; put it back yourself.")
        elif digest is not None:
            write[place] = wanted.contents[digest]
    remove = _too_many(directory, wanted.files, there)
    replaced = {one: digest for one in (*write, *remove) if (digest := _there(directory, one, there)) is not None}
    return Plan(directory, wanted, write, remove, replaced, stays)


def _read(directory: Path, names: Digests) -> SetFiles:
    files = SetFiles(directory)
    for found in files.documents():
        if isinstance(found, Problem) and found.file not in files.digests:  # in the way of every set
            raise CannotRestore(f"{found}; mend it first.")
    for name in {*names, *filter(None, map(inside, names))}:
        if name not in files.digests:
            files.digests[name] = None
            with suppress(OSError):
                files.named("", name)
    return files


def _too_many(directory: Path, wanted: Digests, there: Digests) -> tuple[str, ...]:
    """Return what must go: documents that the set did not have, and what it named when it was not there."""
    kept = {inside(name) for name, digest in wanted.items() if digest is not None}
    absent = {inside(name) for name, digest in wanted.items() if digest is None}
    documents = {name for name in there if is_document(name) and inside(name) == name}
    names = {name for name in documents | absent if name is not None} - kept
    return tuple(sorted(name for name in names if os.path.lexists(directory / name)))


def _there(directory: Path, name: str, there: Digests) -> str | None:
    """Return the digest of a file that is to be replaced; None if there is none. Raises `CannotRestore`."""
    path = directory / name
    if path.is_symlink():
        raise CannotRestore(f"{name} is a link; change what it leads to yourself.")
    digest = there.get(name)
    if digest is None and path.exists():
        raise CannotRestore(f"{name} is there and cannot be read; move it away yourself.")
    return digest
