"""What may leave: results narrowed to what a tool declares, and never a credential's own text.

Gets an opaque matcher, not the secret.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from broker.connector import WHOLE
from broker.errors import LeakBlocked, ResultTooLarge, UpstreamMalformed
from broker.redact.bounds import UNBOUNDED, Bounds, bounded

# Shapes of credentials that are not ours: they are taken out wherever they stand.
_SHAPES = (
    r"00D[A-Za-z0-9]{12,15}![A-Za-z0-9._]{80,}"  # Salesforce session ids and access tokens
    # JSON Web Tokens, with what stands before them in one word: looked for once in a word, in time that grows with it
    r"|(?<![A-Za-z0-9_-])(?=[A-Za-z0-9_-]*eyJ)[A-Za-z0-9_-]{11,}+\.eyJ[A-Za-z0-9_-]{8,}+\.[A-Za-z0-9_-]{8,}"
    r"|aamk_[a-z2-7]{12}_[A-Za-z0-9]{43}|aamt_[A-Za-z0-9_-]{43}"  # our own access keys and tokens
    r"|ya29\.[A-Za-z0-9_-]{20,}|xox[abp]-[A-Za-z0-9-]{10,}|gh[opsu]_[A-Za-z0-9]{20,}"  # Google, Slack, GitHub
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----"
)
_IN_BYTES = re.compile(_SHAPES.encode())
_IN_TEXT = re.compile(_SHAPES + r"(?:.*?-----END [A-Z ]*PRIVATE KEY-----|.*)", re.DOTALL)  # a key, to its end
_PLACEHOLDER = "[credential removed]"
_BRANCHES = frozenset({"allOf", "anyOf", "oneOf"})
_FURTHER = _BRANCHES | {"$ref"}


class Matcher(Protocol):
    """Finds the credentials of one attempt, in any usual encoding, without giving them away."""

    def hits(self, data: bytes) -> bool:
        """Tell whether the data holds any of them."""
        ...


@dataclass(frozen=True, slots=True)
class Released:
    """A result that may leave: its JSON text, and how many credential shapes were taken out of it."""

    text: bytes
    removed: int


def release(
    result: Any,
    schema: Mapping[str, Any],
    matcher: Matcher,
    longest: int,
    bounds: Bounds = UNBOUNDED,
    place: str | None = None,
) -> Released:
    """Narrow a result to the schema and to what a decision binds it to, and let it go.

    `place` is the member of the result that holds its records; where no tool says, the whole result is one.

    Raises `LeakBlocked`, `ResultTooLarge`, or `UpstreamMalformed` for what JSON has no words for.
    """
    try:
        narrowed = bounded(narrow(result, schema), place or "", bounds)
        text = msgspec.json.encode(narrowed)
    except (UnicodeEncodeError, RecursionError):
        raise UpstreamMalformed(detail="the result has a lone surrogate, or is nested too deeply") from None
    longest = min(longest, bounds.max_bytes or longest)
    if len(text) > longest:
        raise ResultTooLarge(f"The result has {len(text)} bytes, over the {longest} that are released.")
    if matcher.hits(text):
        raise LeakBlocked(detail="the result held the credential of this call")
    return scrub(narrowed, text)


def scrub(value: Any, text: bytes) -> Released:
    """Take the shapes of credentials out of a value of plain JSON values, whose text is given."""
    if not _IN_BYTES.search(text):
        return Released(text, 0)
    cleaned, removed = _clean(value)
    return Released(msgspec.json.encode(cleaned), removed)


def narrow(value: Any, schema: Any) -> Any:
    """Return the value as plain JSON values, with every object member taken off that the schema does not declare.

    Where a schema refers to one of its `$defs`, or has branches (`allOf`, `anyOf`, `oneOf`), a member is declared if
    any of them declares it.
    """
    definitions = schema.get("$defs", {}) if isinstance(schema, Mapping) else {}
    return _narrowed(value, (schema,), definitions)


def _narrowed(value: Any, schemas: Sequence[Any], definitions: Mapping[str, Any]) -> Any:
    if value is None or isinstance(value, str | int | float):
        return value
    if any(schema is WHOLE for schema in schemas):
        return msgspec.to_builtins(value)
    if isinstance(value, Mapping):
        plain = _plain(schemas, definitions)
        members = {name: _declaring(name, plain) for name in value}
        return {name: _narrowed(value[name], inner, definitions) for name, inner in members.items() if inner}
    if isinstance(value, list | tuple):
        items = [one["items"] for one in _plain(schemas, definitions) if "items" in one]
        return [_narrowed(member, items, definitions) for member in value]
    # What else JSON has a form for (dataclasses, sets, moments) takes that form first, so that none passes whole
    return _narrowed(msgspec.to_builtins(value), schemas, definitions)


def _declaring(name: str, schemas: Sequence[Mapping[str, Any]]) -> list[Any]:
    """Return what the schemas declare a member to be: by its name, or as one of others that there may be."""
    found = []
    for schema in schemas:
        declared, others = schema.get("properties", {}), schema.get("additionalProperties")
        if name in declared:
            found.append(declared[name])
        elif isinstance(others, Mapping):
            found.append(others)
    return found


def _plain(schemas: Sequence[Any], definitions: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Return the schemas with what they refer to and branch into; `true` declares no members."""
    if len(schemas) == 1 and isinstance(schemas[0], Mapping) and not schemas[0].keys() & _FURTHER:
        return schemas
    found: list[Mapping[str, Any]] = []
    waiting, seen = list(schemas), set[int]()
    while waiting:
        schema = waiting.pop()
        if not isinstance(schema, Mapping) or id(schema) in seen:
            continue
        seen.add(id(schema))
        found.append(schema)
        if "$ref" in schema:
            waiting.append(definitions.get(str(schema["$ref"]).removeprefix("#/$defs/")))
        for branch in _BRANCHES & schema.keys():
            waiting += schema[branch]
    return found


def _clean(value: Any) -> tuple[Any, int]:
    """Take the shapes of credentials out of every text; in texts and not in the JSON, which must stay JSON."""
    if isinstance(value, str):
        text, removed = _IN_TEXT.subn(_PLACEHOLDER, value)
        while _IN_TEXT.search(text):  # what was glued to what has been taken out
            text, more = _IN_TEXT.subn(_PLACEHOLDER, text)
            removed += more
        return text, removed
    if isinstance(value, dict):
        names, members = _clean(list(value)), _clean(list(value.values()))
        return dict(zip(names[0], members[0], strict=True)), names[1] + members[1]
    if isinstance(value, list):
        cleaned = [_clean(member) for member in value]
        return [member for member, _ in cleaned], sum(removed for _, removed in cleaned)
    return value, 0
