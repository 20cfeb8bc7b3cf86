"""Values that a JSON Schema allows, made up: the plainest of each."""

from collections.abc import Mapping
from typing import Any

_TEXTS = {
    "date": "2026-01-31",
    "date-time": "2026-01-31T09:00:00Z",
    "email": "jane@example.com",
    "uri": "https://example.com/",
    "uuid": "6d1c1f0e-6a3a-4f1e-9a86-0d2f5d8f0c11",
}


def sample(schema: Any, *, everything: bool = False) -> Any:
    """Return a value of a schema: of objects the required members, or `everything`."""
    if not isinstance(schema, Mapping):
        return "x"
    for word in ("const", "default"):
        if word in schema:
            return schema[word]
    for word in ("enum", "examples"):
        if schema.get(word):
            return schema[word][0]
    for word in ("anyOf", "oneOf", "allOf"):
        if schema.get(word):
            return sample(schema[word][0], everything=everything)
    return _of_type(schema, everything=everything)


def _of_type(schema: Mapping[str, Any], *, everything: bool) -> Any:
    kind = schema.get("type", "object" if "properties" in schema else "string")
    match kind[0] if isinstance(kind, list) else kind:
        case "object":
            members = schema.get("properties", {})
            names = members if everything else schema.get("required", ())
            return {name: sample(members.get(name), everything=everything) for name in names}
        case "array":
            number = max(1 if everything else 0, schema.get("minItems", 0))
            return [sample(schema.get("items"), everything=everything) for _ in range(number)]
        case "integer" | "number":
            return schema.get("minimum", schema.get("exclusiveMinimum", 0) + 1)
        case "boolean":
            return True
        case "null":
            return None
    text = _TEXTS.get(schema.get("format", ""), "x1")
    return text.ljust(schema.get("minLength", 0), "x")[: schema.get("maxLength")]
