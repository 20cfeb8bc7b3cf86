"""From a YAML document to a checked one, reporting every mistake with its line and the nearest right word."""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from broker.documents.models import API_VERSION, KINDS, schema
from broker.documents.source import Path_, Problem, Source


@dataclass(frozen=True, slots=True)
class Document:
    """A document that is right in itself, and where it came from."""

    kind: str
    name: str
    spec: Any
    source: Source


def parse(source: Source) -> Document | list[Problem]:
    """Return the document, or everything that is wrong with it."""
    if not isinstance(source.value, dict):
        return [source.problem((), "a document with apiVersion, kind, metadata and spec is expected here")]
    kind = source.value.get("kind")
    if kind not in KINDS:
        return [source.problem(("kind",), f"there is no kind {kind!r}{nearest(str(kind), KINDS)}")]
    if source.value.get("apiVersion") != API_VERSION:
        return [source.problem(("apiVersion",), f"must be {API_VERSION}, not {source.value.get('apiVersion')!r}")]
    try:
        document: Any = KINDS[kind].model_validate(source.value)
    except ValidationError as error:
        return [_problem(source, kind, details) for details in error.errors(include_url=False, include_input=False)]
    return Document(kind, document.metadata.name, document.spec, source)


def nearest(word: str, words: Iterable[str]) -> str:
    """Return "; did you mean …?" for the nearest right word, or the right words if none is near and they are few."""
    known = sorted(words)
    if close := difflib.get_close_matches(word, known, n=1, cutoff=0.6):
        return f"; did you mean {close[0]!r}?"
    return f"; there is {', '.join(known)}" if 0 < len(known) <= 8 else ""  # noqa: PLR2004 - as many as a line takes


def _problem(source: Source, kind: str, details: Any) -> Problem:
    path = _path(source.value, details["loc"])
    message = str(details["msg"]).removeprefix("Value error, ")
    match details["type"]:
        case "extra_forbidden":
            message = f"unknown key{nearest(str(path[-1]), _keys_at(kind, path[:-1]))}"
        case "missing":
            message, path = f"{details['loc'][-1]!r} is missing", path[:-1]
        case "literal_error" | "enum" | "union_tag_invalid":
            given = _at(source.value, path)
            given = given.get("source") if isinstance(given, dict) else given
            words = details["ctx"].get("expected") or details["ctx"].get("expected_tags", "")
            message = f"{given!r} is not allowed here{nearest(str(given), _words(words))}"
        case "string_pattern_mismatch":
            message = f"{_at(source.value, path)!r} does not have the form {details['ctx']['pattern']}"
    return source.problem(path, message)


def _path(value: Any, location: tuple[str | int, ...]) -> Path_:
    """Keep of pydantic's location what stands in the document: it also names branches of unions and key checks."""
    path: list[str | int] = []
    for position, part in enumerate(location):
        last = position == len(location) - 1
        if isinstance(value, dict) and (part in value or last):
            path.append(part)
            value = value.get(part)
        elif isinstance(value, list) and isinstance(part, int) and part < len(value):
            path.append(part)
            value = value[part]
    return tuple(path)


def _at(value: Any, path: Path_) -> Any:
    for part in path:
        value = value[part]
    return value


def _words(expected: str) -> list[str]:
    return [word.strip(" '") for word in expected.replace(" or ", ",").split(",")]


def _keys_at(kind: str, path: Path_) -> set[str]:
    """Return the keys that may stand at a path of a kind, read off its JSON Schema."""
    whole = schema(kind)
    nodes = [whole]
    for part in path:
        nodes = [
            below
            for node in _resolved(nodes, whole)
            for below in (
                [node.get("items")]
                if isinstance(part, int)
                else [node.get("properties", {}).get(part) or node.get("additionalProperties")]
            )
            if isinstance(below, dict)
        ]
    return {key for node in _resolved(nodes, whole) for key in node.get("properties", {})}


def _resolved(nodes: Iterable[Mapping[str, Any]], whole: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    for node in nodes:
        if "$ref" in node:
            yield from _resolved([whole["$defs"][node["$ref"].rsplit("/", 1)[-1]]], whole)
        for branch in ("anyOf", "oneOf", "allOf"):
            yield from _resolved(node.get(branch, ()), whole)
        yield node
