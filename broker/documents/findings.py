"""What the check of a set has to go on: the documents that are right in themselves, and all that is wrong so far."""

import re
from collections.abc import Iterable
from typing import Any

from broker.documents.files import SetFiles
from broker.documents.memory import Memory
from broker.documents.models import KINDS
from broker.documents.parse import Document
from broker.documents.source import Place, Problem, Source, key_of


class Findings:
    """Collects documents and problems; one mistake is reported once, not again by everything that depends on it."""

    def __init__(self, files: SetFiles, memory: Memory | None = None) -> None:
        self.files = files
        self._memory = Memory() if memory is None else memory
        self.problems: list[Problem] = []
        self.documents: list[Document] = []
        self._sources: list[Source] = []
        self._broken: list[tuple[Source, frozenset[str]]] = []  # with the keys of what is wrong
        self._unread: list[str | None] = []  # the text of what could not be read, if that is known
        for found in files.documents():
            if isinstance(found, Problem):
                self.problems.append(found)
                self._unread.append(None)
            else:
                self._read(*found)
        self._names_are_unique()

    @property
    def errors(self) -> list[Problem]:
        """What keeps the set from being loaded."""
        return sorted({problem for problem in self.problems if problem.severity == "error"})

    @property
    def warnings(self) -> list[Problem]:
        """What somebody should look at."""
        return sorted({problem for problem in self.problems if problem.severity == "warning"})

    def of(self, kind: str) -> list[Document]:
        """Return the documents of one kind."""
        return [document for document in self.documents if document.kind == kind]

    def with_mistakes(self, kind: str) -> list[Source]:
        """Return what says that it is of this kind and has mistakes of its own: the rest of it is still looked at."""
        return [source for source, _ in self._broken if value_at(source.value, ("kind",)) == kind]

    def right(self, document: Document | Source, place: Place) -> Any:
        """Return what stands at a place of a document; None if nothing does, or if there is a mistake in it."""
        source = _source(document)
        wrong = next((wrong for broken, wrong in self._broken if broken is source), frozenset[str]())
        key = key_of(place)
        if any(one == key or one.startswith((f"{key}.", f"{key}[")) for one in wrong):
            return None
        return value_at(source.value, place)

    def wrong(self, document: Document | Source, place: Place, message: str) -> None:
        """Note a mistake."""
        self.problems.append(_source(document).problem(place, message))

    def warn(self, document: Document | Source, place: Place, message: str) -> None:
        """Note a warning."""
        self.problems.append(_source(document).problem(place, message, "warning"))

    def report(self, problems: Iterable[Problem]) -> None:
        """Note problems that somebody else found."""
        self.problems += problems

    def mistaken(self, kind: str, *place: str, value: Any = None) -> bool:
        """Tell whether what is missing may be among the documents that have mistakes of their own.

        Such a document says that it is of this kind and has this value at a place; or the value is mentioned in what
        could not be read.
        """
        return any(text is None or _mentions(text, str(value or kind)) for text in self._unread) or any(
            _may_be_of(kind, source)
            and (not place or ".".join(place) in wrong or value_at(source.value, place) in (value, None))
            for source, wrong in self._broken
        )

    def break_off(self, document: Document) -> None:
        """Count a document among those with mistakes: what depends on it is not wrong for that."""
        self._broken.append((document.source, frozenset()))

    def named(self, document: Document | Source, place: Place, name: str) -> bytes | None:
        """Read a file that a document names; None, and a mistake, if it cannot be read."""
        try:
            return self.files.named(_source(document).file, name)
        except OSError as error:
            self.wrong(document, place, f"{name} cannot be read: {error.strerror}")
            return None

    def _read(self, name: str, text: bytes) -> None:
        results = self._memory.read(name, text)
        found = [one for one, _ in results]
        if isinstance(found[-1], Problem):  # what keeps a file from being read any further comes last
            read = max((line for one in found if isinstance(one, Source) for line in one.lines.values()), default=0)
            # without the NULs, UTF-16 can be searched too
            self._unread.append("\n".join(text.replace(b"\0", b"").decode(errors="replace").split("\n")[read:]))
        for source, result in results:
            if isinstance(source, Problem) or result is None:
                self.problems += [source] if isinstance(source, Problem) else []
                continue
            self._sources.append(source)
            if isinstance(result, Document):
                self.documents.append(result)
            else:
                self.problems += result
                self._broken.append((source, frozenset(problem.key for problem in result)))

    def _names_are_unique(self) -> None:
        seen: dict[tuple[str, str], Source] = {}
        for source in self._sources:
            kind, name = value_at(source.value, ("kind",)), value_at(source.value, ("metadata", "name"))
            if not isinstance(kind, str) or not isinstance(name, str):
                continue
            first = seen.setdefault((kind, name), source)
            if first is not source:
                place = f"{first.file}:{first.line(('metadata', 'name'))}"
                self.problems.append(source.problem(("metadata", "name"), f"another {kind} has this name, at {place}"))


def _source(document: Document | Source) -> Source:
    return document.source if isinstance(document, Document) else document


def _may_be_of(kind: str, source: Source) -> bool:
    stated = value_at(source.value, ("kind",))
    return stated == kind or not isinstance(stated, str) or stated not in KINDS


def _mentions(text: str, word: str) -> bool:
    return re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", text) is not None


def value_at(value: Any, place: Place) -> Any:
    """Return what stands at a place of a value of any shape, or None."""
    for part in place:
        if isinstance(value, list) and isinstance(part, int) and part < len(value):
            value = value[part]
        else:
            value = value.get(part) if isinstance(value, dict) else None
    return value
