"""What a description says of values, as JSON Schema 2020-12: of arguments in full, of results what there may be."""

import hashlib
import re
from collections.abc import Callable, Mapping
from typing import Any

import jsonschema_rs

from connectors.openapi.description import Description, listed, mapping, text, word

Schema = dict[str, Any]

ANY = "any"
"""The name of the shape of what may be anything: all its members leave."""
_MOST = 300_000  # schemas that one description may make
_DEEPEST = 40
_MOST_VALUES = 1000  # of an enumeration
_LONGEST_WORDS = 300
_LONGEST_PATTERN = 300
_TYPES = frozenset({"string", "number", "integer", "boolean", "object", "array", "null"})
_NUMBERS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
_COUNTS = ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties")
_BRANCHES = ("allOf", "anyOf", "oneOf")
_NO_WORD = re.compile(r"[^A-Za-z0-9._-]+")


class Schemas:
    """Makes schemas of a description's, and keeps those that are referred to under names of their own."""

    def __init__(self, description: Description, *, free_form: bool) -> None:
        self.inputs: dict[str, Schema] = {}
        self.results: dict[str, Schema] = {ANY: {"additionalProperties": _named(ANY), "items": _named(ANY)}}
        self._description = description
        self._free_form = free_form
        self._names: dict[str, str] = {}
        self._made = 0

    def of_argument(self, node: Any, depth: int = 0) -> Schema:
        """Return the schema of what is sent."""
        self._count(depth)
        if not isinstance(node, Mapping):
            return {}
        if "$ref" in node:
            return self._referred(node["$ref"], self.inputs, self.of_argument)
        below = depth + 1
        found = _stated(node)
        members = {
            name: self.of_argument(member, below)
            for name, member in mapping(node.get("properties")).items()
            if isinstance(name, str) and not self._is(member, "readOnly")
        }
        if members:
            found["properties"] = members
        required = [name for name in listed(node.get("required")) if isinstance(name, str) and name in members]
        if required:
            found["required"] = sorted(set(required))
        others = node.get("additionalProperties")
        if others is False or isinstance(others, Mapping):
            found["additionalProperties"] = others and self.of_argument(others, below)
        if isinstance(node.get("items"), Mapping):
            found["items"] = self.of_argument(node["items"], below)
        for branch in _BRANCHES:
            if several := [self.of_argument(one, below) for one in listed(node.get(branch))]:
                found[branch] = several
        return self._or_null(node, found)

    def of_result(self, node: Any, depth: int = 0) -> Schema:
        """Return which members what comes back may have: no more of it than that is kept."""
        self._count(depth)
        if not isinstance(node, Mapping):
            return _named(ANY) if node is True else {}
        if "$ref" in node:
            return self._referred(node["$ref"], self.results, self.of_result)
        below = depth + 1
        found: Schema = {}
        members = {
            name: self.of_result(member, below)
            for name, member in mapping(node.get("properties")).items()
            if isinstance(name, str) and not self._is(member, "writeOnly")
        }
        if members:
            found["properties"] = members
        if (others := node.get("additionalProperties")) is True or isinstance(others, Mapping):
            found["additionalProperties"] = self._open(others, below)
        if isinstance(node.get("items"), Mapping):
            found["items"] = self._open(node["items"], below)
        for branch in _BRANCHES:
            if several := [one for one in (self.of_result(each, below) for each in listed(node.get(branch))) if one]:
                found[branch] = several
        free = not found and self._free_form and node.get("type") in ("object", None)
        return _named(ANY) if free else found

    def _open(self, node: Any, depth: int) -> Schema:
        """Return what further members, or items, may be; anything, where the description says so in as many words."""
        return _named(ANY) if node in (True, {}) else self.of_result(node, depth)

    def _referred(self, reference: Any, kept: dict[str, Schema], make: Callable[[Any], Schema]) -> Schema:
        """Return a reference to what another leads to; to nothing at all where it leads out of the description."""
        target = self._description.at(reference)
        if not isinstance(target, Mapping):
            return {}
        name = self._name(reference)
        if name not in kept:
            kept[name] = {}  # for what refers to itself
            kept[name] = make(target)
        return _named(name)

    def _name(self, reference: str) -> str:
        if reference not in self._names:
            short = _NO_WORD.sub("_", reference.rpartition("/")[2])[:80] or "_"
            if short == ANY or short in self._names.values():
                short += "-" + hashlib.sha256(reference.encode()).hexdigest()[:8]
            self._names[reference] = short
        return self._names[reference]

    def _is(self, node: Any, flag: str) -> bool:
        found = self._description.resolved(node)
        return found is not None and found.get(flag) is True

    def _count(self, depth: int) -> None:
        self._made += 1
        if self._made > _MOST or depth > _DEEPEST:
            raise ValueError(f"its schemas are nested more than {_DEEPEST} deep, or are more than {_MOST:,}; map less")

    def _or_null(self, node: Mapping[str, Any], found: Schema) -> Schema:
        """Let null be where OpenAPI 3.0 says so."""
        if not (self._description.nullable and (node.get("nullable") is True or node.get("x-nullable") is True)):
            return found
        if isinstance(found.get("type"), str):
            found["type"] = [found["type"], "null"]
        if "enum" in found and None not in found["enum"]:
            found["enum"] = [*found["enum"], None]
        return {"anyOf": [found, {"type": "null"}]} if any(branch in found for branch in _BRANCHES) else found


def _stated(node: Mapping[str, Any]) -> Schema:
    """Return what a schema says by itself, in the words of 2020-12."""
    stated = node.get("type")
    kinds = [one for one in ([stated] if isinstance(stated, str) else listed(stated)) if word(one) in _TYPES]
    found: Schema = {"type": kinds[0] if len(kinds) == 1 else kinds} if kinds else {}
    found |= _bounds(node)
    if values := [one for one in listed(node.get("enum")) if _is_plain(one)][:_MOST_VALUES]:
        found["enum"] = values
    if "const" in node and _is_plain(node["const"]):
        found["const"] = node["const"]
    if isinstance(node.get("format"), str) and kinds:
        found["format"] = text(node["format"], 30)
    if (pattern := usable_pattern(node.get("pattern"))) is not None:
        found["pattern"] = pattern
    if words := text(node.get("description"), _LONGEST_WORDS):
        found["description"] = words
    if isinstance(node.get("default"), str | int | float | bool):
        found["default"] = node["default"]
    return found


def _bounds(node: Mapping[str, Any]) -> Schema:
    found: Schema = {name: node[name] for name in _NUMBERS if type(node.get(name)) in {int, float}}
    for bound in ("minimum", "maximum"):  # OpenAPI 3.0: a flag beside the bound
        if node.get(strict := "exclusive" + bound.capitalize()) is True and bound in found:
            found[strict] = found.pop(bound)
    if found.get("multipleOf", 1) <= 0:
        del found["multipleOf"]
    found |= {name: node[name] for name in _COUNTS if type(node.get(name)) is int and node[name] >= 0}
    if isinstance(node.get("uniqueItems"), bool):
        found["uniqueItems"] = node["uniqueItems"]
    return found


def usable_pattern(pattern: Any) -> str | None:
    """Return a pattern that can be checked in time that grows with the text; others are the service's own to check."""
    if not isinstance(pattern, str) or len(pattern) > _LONGEST_PATTERN or re.search(r"\(\?(?!:)|\\[1-9k]", pattern):
        return None
    if any(int(count) > 1000 for count in re.findall(r"\d{1,9}", pattern)):  # noqa: PLR2004 - repetitions
        return None
    try:
        jsonschema_rs.validator_for({"pattern": pattern})
    except ValueError:
        return None
    return pattern


def _is_plain(value: Any) -> bool:
    """Tell whether a value is one of JSON's own: YAML has others."""
    return value is None or isinstance(value, str | int | float | bool)


def _named(name: str) -> Schema:
    return {"$ref": f"#/$defs/{name}"}
