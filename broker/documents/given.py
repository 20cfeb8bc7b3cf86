"""A set that is not in its directory yet, to be checked as if it were."""

import errno
import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from broker.documents.files import SetFiles, inside, is_document


class GivenFiles(SetFiles):
    """A set as it would lie in a directory: what is given stands in for what is there; names are normal paths.

    Names that lead out of the directory are read where they lead. `scratch` is an empty directory for `on_disk`.
    """

    def __init__(self, directory: Path, given: Mapping[str, bytes], scratch: Path) -> None:
        super().__init__(directory)
        self._given = given
        self._scratch = scratch

    def is_there(self, document: str, name: str) -> bool:
        """Tell whether the set has a file of the name that stands in a document."""
        place = inside(self.place(document, name))
        return super().is_there(document, name) if place is None else place in self._given

    def on_disk(self, name: str) -> Path:
        """Return a path at which the given content can be found."""
        if inside(name) is None:
            return super().on_disk(name)
        copy = self._scratch / hashlib.sha256(name.encode()).hexdigest()
        copy.write_bytes(self.contents[name])
        return copy

    def _names(self) -> Iterator[str]:
        return iter(sorted(name for name in self._given if is_document(name)))

    def _content(self, name: str, most: int) -> bytes:
        place = inside(name)
        if place is None:
            return super()._content(name, most)
        if place not in self._given:
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
        return self._given[place]
