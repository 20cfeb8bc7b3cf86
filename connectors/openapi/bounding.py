"""Input schemas of a size that a long listing can bear: what is deep inside is left to the service to check."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

Schema = Mapping[str, Any]
_PREFIX = "#/$defs/"
_LOOSE = ("type", "description")


class Definitions:
    """The schemas that others refer to, with what each weighs and refers to itself: computed once."""

    def __init__(self, definitions: Mapping[str, Schema]) -> None:
        self._definitions = definitions
        self._weights = {name: len(json.dumps(schema)) for name, schema in definitions.items()}
        self._named = {name: sorted(set(_names(schema))) for name, schema in definitions.items()}

    def closed(self, schema: Schema, most: int) -> dict[str, Any]:
        """Return a schema with all that it refers to, of about `most` bytes: beyond that, definitions become loose."""
        kept: list[str] = []
        loose: list[str] = []
        waiting = sorted(set(_names(schema)))
        seen = set(waiting)
        left = most - len(json.dumps(schema))
        for name in waiting:  # grows while it is gone through: the nearest first
            left -= self._weights.get(name, 0)
            if left < 0 or name not in self._definitions:
                loose.append(name)
                left += self._weights.get(name, 0)
                continue
            kept.append(name)
            further = [one for one in self._named[name] if one not in seen]
            seen.update(further)
            waiting += further
        if not kept and not loose:
            return dict(schema)
        definitions = {name: self._definitions[name] for name in kept}
        definitions |= {name: _loose(self._definitions.get(name, {})) for name in loose}
        return {**schema, "$defs": dict(sorted(definitions.items()))}


def _loose(schema: Schema) -> dict[str, Any]:
    return {name: schema[name] for name in _LOOSE if name in schema}


def _names(node: Any) -> Iterator[str]:
    """Yield the names that a schema refers to."""
    waiting = [node]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            name = one.get("$ref")
            if isinstance(name, str) and name.startswith(_PREFIX):
                yield name.removeprefix(_PREFIX)
            waiting += one.values()
        elif isinstance(one, list):
            waiting += one
