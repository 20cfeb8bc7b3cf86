"""YAML text with its places: plain values, and the line on which each of them stands.

Read by nodes, not by objects, so that every mistake of a file is found at once and each has its line.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ruamel.yaml import YAML
from ruamel.yaml.composer import MaxDepthExceededError
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError

Place = tuple[str | int, ...]
"""Where something stands in a document, as ('spec', 'tools', 0)."""

Severity = Literal["error", "warning"]

_MOST_VALUES = 50_000  # aliases may make a small file enormous
DEEPEST = 50
_TAG = "tag:yaml.org,2002:"
_SCALARS = frozenset(_TAG + name for name in ("str", "int", "float", "bool", "null", "timestamp"))
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing that is wrong: where, what, and what to write instead."""

    file: str
    line: int
    key: str
    message: str
    severity: Severity = "error"

    def __str__(self) -> str:
        key = f" {self.key}:" if self.key else ""
        return f"{self.file}:{self.line}:{key} {self.message}"


@dataclass(frozen=True, slots=True)
class Source:
    """One YAML document as it stands in its file.

    `lines` maps places to lines, from 1; `digest` is the SHA-256 of the whole file, as `sha256sum` prints it.
    """

    file: str
    value: Any
    lines: Mapping[Place, int]
    digest: str

    def line(self, place: Place) -> int:
        """Return the line of a place, or of the nearest thing around it that is there."""
        while place not in self.lines and place:
            place = place[:-1]
        return self.lines.get(place, 1)

    def problem(self, place: Place, message: str, severity: Severity = "error") -> Problem:
        """Return a problem at a place of this document."""
        return Problem(self.file, self.line(place), key_of(place), message, severity)


def read_sources(text: bytes, file: str) -> Iterator[Source | Problem]:
    """Yield every document of a YAML file, and every mistake in how it is written."""
    try:
        decoded = text.decode()
    except UnicodeDecodeError as error:
        encoding = "UTF-16" if text.startswith(_UTF_16) else "not UTF-8"
        yield Problem(file, text.count(b"\n", 0, error.start) + 1, "", f"the text is {encoding}; save it as UTF-8")
        return
    reader = YAML(typ="safe", pure=True)
    reader.max_depth = DEEPEST
    reader.composer.warn_double_anchors = False  # YAML 1.2 §3.2.2.2 lets a later anchor take an earlier one's name
    found = False
    try:
        for node in reader.compose_all(decoded):
            if node.tag != _TAG + "null":  # nothing between two '---'
                found = True
                yield from _document(node, reader, file, hashlib.sha256(text).hexdigest())
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        yield Problem(file, mark.line + 1 if mark else 1, "", _not_yaml(error))
        return
    except ReaderError as error:
        line = decoded.count("\n", 0, error.position) + 1
        yield Problem(file, line, "", f"this is not YAML: the character {error.character:#x} is not allowed in it")
        return
    except YAMLError as error:
        yield Problem(file, 1, "", f"this is not YAML: {error}")
        return
    if not found:
        # half-written, or emptied by a full disk: what it used to deny must not be permitted now
        yield Problem(file, 1, "", "there is no document in this file; write one, or delete the file")


def _document(node: Node, reader: YAML, file: str, digest: str) -> Iterator[Source | Problem]:
    plain = _Plain(reader, file)
    try:
        value = plain.value(node, ())
    except _Unreadable as error:
        yield error.problem
        return
    yield from plain.problems
    yield Source(file, value, plain.lines, digest)


class _Unreadable(Exception):  # noqa: N818 - it is a finding
    """The document cannot be read any further."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


@dataclass(slots=True)
class _Plain:
    """Turns nodes into plain values, and notes where each stands and what is wrong."""

    reader: YAML
    file: str
    lines: dict[Place, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    _within: set[int] = field(default_factory=set)

    def value(self, node: Node, place: Place) -> Any:
        self.lines.setdefault(place, node.start_mark.line + 1)
        if id(node) in self._within:
            raise _Unreadable(self._problem(node, place, "this alias stands inside what it refers to"))
        if len(place) > DEEPEST:  # aliases of aliases
            raise _Unreadable(self._problem(node, (), f"the document is nested more than {DEEPEST} deep"))
        if len(self.lines) > _MOST_VALUES:
            raise _Unreadable(self._problem(node, (), f"the document has more than {_MOST_VALUES} values"))
        self._within.add(id(node))
        try:
            if isinstance(node, MappingNode) and node.tag == _TAG + "map":
                return self._mapping(node, place)
            if isinstance(node, SequenceNode) and node.tag == _TAG + "seq":
                return [self.value(member, (*place, number)) for number, member in enumerate(node.value)]
            if isinstance(node, ScalarNode) and node.tag in _SCALARS:
                return self._scalar(node, place)
        finally:
            self._within.discard(id(node))
        self._wrong(node, place, f"the tag {str(node.tag).replace(_TAG, '!!')} is not used in documents")
        return None

    def _mapping(self, node: MappingNode, place: Place) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = key_node.value
            if key_node.tag == _TAG + "merge":
                self._wrong(
                    key_node, place, "'<<' is not used in documents: write the keys out, where readers see them"
                )
            elif key_node.tag != _TAG + "str":
                shown = repr(key) if isinstance(key, str) else "of this mapping"
                self._wrong(key_node, place, f"the key {shown} is not text; put it in quotes")
            elif key in found:
                first = self.lines[*place, key]
                self._wrong(key_node, (*place, key), f"this key stands twice; the first is on line {first}")
            else:
                self.lines[*place, key] = key_node.start_mark.line + 1
                found[key] = self.value(value_node, (*place, key))
        return found

    def _scalar(self, node: ScalarNode, place: Place) -> Any:
        if node.tag == _TAG + "str":
            return node.value
        try:
            return self.reader.constructor.construct_object(node)
        except (YAMLError, ValueError, KeyError, OverflowError):
            self._wrong(node, place, f"{node.value[:40]!r} is no {str(node.tag).removeprefix(_TAG)}")
            return None

    def _wrong(self, node: Node, place: Place, message: str) -> None:
        self.problems.append(self._problem(node, place, message))

    def _problem(self, node: Node, place: Place, message: str) -> Problem:
        return Problem(self.file, node.start_mark.line + 1, key_of(place), message)


def key_of(place: Place) -> str:
    """Return a place as people write it, as `spec.tools[0].deny`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).lstrip(".")


def _not_yaml(error: MarkedYAMLError) -> str:
    problem = str(error.problem or error.context)
    if isinstance(error, MaxDepthExceededError):
        return f"the document is nested more than {DEEPEST} deep"
    if "'\\t'" in problem:
        return "this is not YAML: a tab stands where only spaces may; indent with spaces"
    context = f"{error.context}, " if error.problem and error.context else ""
    return f"this is not YAML: {context}{problem}"
