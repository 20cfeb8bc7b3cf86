"""Documents that a command writes or takes away: the whole set as it will be is checked before anything is touched."""

import hashlib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from broker.connector.installed import find_connector
from broker.documents.check import load
from broker.documents.files import SetFiles, is_document
from broker.documents.replace import Restoration
from broker.documents.restore import Plan, Wanted, plan
from broker.documents.snapshot import FindConnector, Snapshot
from broker.documents.source import Problem


class ChangedFiles(SetFiles):
    """A set as it lies in its directory, but for what is put there or gone; names are those of files in the set."""

    def __init__(self, directory: Path, put: Mapping[str, bytes], gone: Collection[str] = ()) -> None:
        super().__init__(directory)
        self._put = put
        self._gone = gone

    def is_there(self, document: str, name: str) -> bool:
        """Tell whether the set has a file of the name that stands in a document."""
        return self.place(document, name) in self._put or super().is_there(document, name)

    def _names(self) -> Iterator[str | Problem]:
        there = [one for one in super()._names() if isinstance(one, Problem) or one not in self._gone]
        known = {one for one in there if isinstance(one, str)}
        yield from there
        yield from sorted(name for name in self._put if is_document(name) and name not in known)

    def _content(self, name: str, most: int) -> bytes:
        return self._put[name] if name in self._put else super()._content(name, most)


def checked_change(
    directory: Path,
    put: Mapping[str, bytes],
    gone: Collection[str] = (),
    find: FindConnector = find_connector,
) -> tuple[Plan, Snapshot]:
    """Return what makes the change, and the set as it will be; raise `Invalid`, or `CannotRestore`."""
    snapshot = load(directory, find, files=ChangedFiles(directory, put, gone))
    contents = {hashlib.sha256(text).hexdigest(): text for text in put.values()}
    return plan(directory, Wanted(snapshot.digest, snapshot.digests, contents)), snapshot


def make_change(planned: Plan) -> None:
    """Put every file in place, or none; raise `CannotRestore` if it cannot be, or somebody else was faster."""
    with Restoration(planned) as restoration:
        restoration.apply()
        restoration.keep()
