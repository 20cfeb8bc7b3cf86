"""From a YAML document to a checked one, reporting every mistake with its line and the nearest right word."""

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

from broker.documents.models import API_VERSION, KINDS, schema
from broker.documents.source import Place, Problem, Source
from broker.documents.words import nearest, sentence


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
    kind, version = source.value.get("kind"), source.value.get("apiVersion", API_VERSION)
    problems = []
    if version != API_VERSION:
        problems.append(source.problem(("apiVersion",), f"must be {API_VERSION}"))
    if "kind" not in source.value:
        return [*problems, source.problem((), f"'kind' is missing{nearest('', KINDS)}")]
    if not isinstance(kind, str) or kind not in KINDS:
        return [*problems, source.problem(("kind",), f"there is no kind {kind!r}{nearest(str(kind), KINDS)}")]
    model: Any = KINDS[kind]
    try:
        document = model.model_validate({**source.value, "apiVersion": API_VERSION}, strict=True)
    except ValidationError as error:
        return problems + mistakes(source, error, nodes=functools.partial(_nodes_at, kind))
    if "apiVersion" not in source.value:
        problems.append(source.problem((), "'apiVersion' is missing"))
    return problems or Document(kind, document.metadata.name, document.spec, source)


def check_settings(document: Document, model: type[BaseModel], settings: Mapping[str, Any]) -> list[Problem]:
    """Check the part of a document that only its type of connector knows; return everything that is wrong with it."""
    try:
        model.model_validate(settings, strict=True)
    except ValidationError as error:
        whole = model.model_json_schema()
        return mistakes(
            document.source,
            error,
            ("spec", "settings"),
            nodes=lambda place: _below(whole, place[len(("spec", "settings")) :]),
        )
    return []


def mistakes(source: Source, error: ValidationError, start: Place = (), *, nodes: Any) -> list[Problem]:
    """Return a problem for each of pydantic's errors. `nodes(place)` gives the JSON Schemas that hold at a place."""
    found = []
    for details in error.errors(include_url=False, include_input=False):
        place = _place(source.value, (*start, *details["loc"]))
        if details["type"] == "missing":
            found.append(source.problem(place[:-1], f"{str(place[-1])!r} is missing"))
        elif details["type"] == "extra_forbidden":
            known = {key for node in nodes(place[:-1]) for key in node.get("properties", {})}
            found.append(source.problem(place, f"unknown key{nearest(str(place[-1]), known)}"))
        else:
            of_key = details["loc"][-1:] == ("[key]",)
            given = place[-1] if of_key else _at(source.value, place)
            holding = _of_keys(nodes(place[:-1])) if of_key else nodes(place)
            examples = [str(one) for node in holding for one in node.get("examples", ())]
            found.append(source.problem(place, sentence(details, given, examples)))
    return found


def _place(value: Any, location: tuple[str | int, ...]) -> Place:
    """Keep of pydantic's location what stands in the document: it also names branches of unions and key checks."""
    place: list[str | int] = []
    for position, part in enumerate(location):
        last = position == len(location) - 1
        if isinstance(value, dict) and (part in value or last):
            place.append(part)
            value = value.get(part)
        elif isinstance(value, list) and isinstance(part, int) and part < len(value):
            place.append(part)
            value = value[part]
    return tuple(place)


def _at(value: Any, place: Place) -> Any:
    for part in place:
        value = value.get(part) if isinstance(value, dict) else value[part]
    return value


@functools.cache
def _whole(kind: str) -> Mapping[str, Any]:
    return schema(kind)


def _nodes_at(kind: str, place: Place) -> list[Mapping[str, Any]]:
    return _below(_whole(kind), place)


def _below(whole: Mapping[str, Any], place: Place) -> list[Mapping[str, Any]]:
    """Return every JSON Schema that holds at a place of what `whole` describes."""
    nodes: Iterable[Any] = [whole]
    for part in place:
        nodes = [
            below
            for node in _resolved(nodes, whole)
            for below in (
                [node.get("items")]
                if isinstance(part, int)
                else [
                    node.get("properties", {}).get(part) or node.get("additionalProperties"),
                    *node.get("patternProperties", {}).values(),
                ]
            )
            if isinstance(below, dict)
        ]
    return list(_resolved(nodes, whole))


def _of_keys(nodes: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [node["propertyNames"] for node in nodes if "propertyNames" in node]


def _resolved(nodes: Iterable[Mapping[str, Any]], whole: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    for node in nodes:
        if "$ref" in node:
            yield from _resolved([whole["$defs"][node["$ref"].rsplit("/", 1)[-1]]], whole)
        for branch in ("anyOf", "oneOf", "allOf"):
            yield from _resolved(node.get(branch, ()), whole)
        yield node
