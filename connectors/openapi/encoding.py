"""From arguments to a request: each parameter in its place and style (OpenAPI 3.1 §4.8.12), and never beyond it.

A value fills what it is meant for and nothing beside it: it cannot climb a path or add a segment to it, add a parameter
or a header, or end one.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, unquote

from broker.connector import errors
from connectors.openapi.exploding import check_members
from connectors.openapi.snapshot import Body, Operation, Parameter

_PLACE = re.compile(r"\{([^{}]*)\}")
_RESERVED = "!$'()*,/:;@?[]"  # not '&', '=', '#', '+' and '%': by those, one value would become others
_MOST_DECODINGS = 6
_SEPARATORS = {"spaceDelimited": "%20", "pipeDelimited": "%7C", "form": ","}
_DEEPEST = 10


@dataclass(slots=True)
class Prepared:
    """A request, but for the credential and the place of the service."""

    method: str
    path: str
    query: list[str] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    cookies: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None

    def target(self, *more: str) -> str:
        """Return path and query, with further parts of the query."""
        query = "&".join([*self.query, *more])
        return self.path + (f"?{query}" if query else "")


def prepare(operation: Operation, arguments: Mapping[str, Any], slashes: frozenset[str]) -> Prepared:
    """Fill in an operation; raise `InvalidArguments` for a value that does not fit where it would stand."""
    given = [(one, arguments[one.argument]) for one in operation.parameters if arguments.get(one.argument) is not None]
    prepared = Prepared(operation.method, _path(operation, given, slashes))
    for parameter, value in given:
        check_members(operation, parameter, value)
        match parameter.place:
            case "query":
                prepared.query += _query(parameter, value)
            case "header":
                prepared.headers[parameter.name] = _header(parameter, value)
            case "cookie":
                prepared.cookies[parameter.name] = ",".join(_parts(parameter, value, _quoted))
    if operation.body is not None and "body" in arguments:
        prepared.headers["Content-Type"] = operation.body.media_type
        prepared.body = _body(operation.body, arguments["body"])
    return prepared


# --- Paths -----------------------------------------------------------------------------------------------------------


def _path(operation: Operation, given: list[tuple[Parameter, Any]], slashes: frozenset[str]) -> str:
    values = {
        parameter.name: _in_path(parameter, value, slashed=parameter.name in slashes)
        for parameter, value in given
        if parameter.place == "path"
    }
    filled = _PLACE.sub(lambda place: values[place[1]], operation.path)
    if any(_climbs(segment) for segment in filled.split("/")):
        raise errors.InvalidArguments("The arguments would make another path of it: a part of it would be dots.")
    for name in re.findall(r"'\{([^{}]*)\}'", operation.path):  # OData: the quotation mark would end the literal
        if "%27" in values[name]:
            raise errors.InvalidArguments(f"{name!r} must hold no quotation mark.")
    return filled


def _in_path(parameter: Parameter, value: Any, *, slashed: bool) -> str:
    def segment(text: str) -> str:
        if not text or not text.isprintable():
            raise errors.InvalidArguments(f"{parameter.argument!r} must not be empty, nor hold control characters.")
        if slashed:
            return "/".join(segment_of(part) for part in text.split("/"))
        return segment_of(text)

    def segment_of(text: str) -> str:
        # '%2F' is a slash to servers that decode before they route: it would be another operation
        if not text or {"/", "\\"} & set(_decoded(text)):
            raise errors.InvalidArguments(f"{parameter.argument!r} must hold no slashes, and no empty part.")
        return quote(text, safe="")

    parts = _parts(parameter, value, segment)
    if not parts:
        raise errors.InvalidArguments(f"{parameter.argument!r} must not be empty.")
    return _styled(parameter, parts, named=parameter.explode and isinstance(value, Mapping))


def _styled(parameter: Parameter, parts: list[str], *, named: bool) -> str:
    name = quote(parameter.name, safe="")
    match parameter.style:
        case "label":
            return "." + ("." if parameter.explode else ",").join(parts)
        case "matrix" if parameter.explode:
            return "".join(f";{part}" if named else f";{name}={part}" for part in parts)
        case "matrix":
            return f";{name}={','.join(parts)}"
    return ",".join(parts)


def _climbs(segment: str) -> bool:
    return any(part.partition(";")[0] in {".", ".."} for part in re.split(r"[/\\]", _decoded(segment)))


def _decoded(text: str) -> str:
    for _ in range(_MOST_DECODINGS):
        plain = unquote(text)
        if plain == text:
            return text
        text = plain
    raise errors.InvalidArguments("A value is encoded many times over.")


# --- Queries and headers ---------------------------------------------------------------------------------------------


def _query(parameter: Parameter, value: Any) -> list[str]:
    name = quote(parameter.name, safe="")
    safe = _RESERVED if parameter.reserved else ""
    write = _quoted if not safe else lambda text: quote(text, safe=safe)
    if parameter.style == "json":
        return [f"{name}={_quoted(_json(value))}"]
    if parameter.style == "deepObject":
        return list(_deep(parameter.name, value))
    if parameter.explode and isinstance(value, list):
        return [f"{name}={write(_text(one))}" for one in value]
    parts = _parts(parameter, value, write)
    if parameter.explode and isinstance(value, Mapping):
        return parts
    return [f"{name}={_SEPARATORS.get(parameter.style, ',').join(parts)}"]


def _deep(name: str, value: Any, depth: int = 0) -> Iterator[str]:
    """Write members as `name[member]`, of lists as `name[0]`."""
    if depth > _DEEPEST:
        raise errors.InvalidArguments(f"A value is nested more than {_DEEPEST} deep.")
    if isinstance(value, Mapping):
        for member, one in value.items():
            yield from _deep(f"{name}[{member}]", one, depth + 1)
    elif isinstance(value, list):
        for number, one in enumerate(value):
            yield from _deep(f"{name}[{number}]", one, depth + 1)
    else:
        yield f"{quote(name, safe='[]')}={_quoted(_text(value))}"


def _header(parameter: Parameter, value: Any) -> str:
    text = _json(value) if parameter.style == "json" else ",".join(_parts(parameter, value, str))
    if not text.isascii() or not text.isprintable():
        raise errors.InvalidArguments(f"{parameter.argument!r} goes into a header: printable ASCII only.")
    return text


def _parts(parameter: Parameter, value: Any, write: Callable[[str], str]) -> list[str]:
    """Return the parts of a value, written: members of an object as `name=value` or as two, as the style has it."""
    if isinstance(value, Mapping):
        pairs = [(write(str(name)), write(_text(one))) for name, one in value.items()]
        return (
            [f"{name}={one}" for name, one in pairs] if parameter.explode else [part for pair in pairs for part in pair]
        )
    if isinstance(value, list):
        return [write(_text(one)) for one in value]
    return [write(_text(value))]


# --- Bodies ----------------------------------------------------------------------------------------------------------


def _body(body: Body, value: Any) -> bytes:
    if body.kind == "json":
        return _json(value).encode()
    if body.kind == "text":
        return _text(value).encode()
    if not isinstance(value, Mapping):
        raise errors.InvalidArguments("'body' must be an object.")
    pairs: list[str] = []
    for name, one in value.items():
        if isinstance(one, list) and name not in body.deep and not any(isinstance(each, dict | list) for each in one):
            pairs += (f"{_quoted(str(name))}={_quoted(_text(each))}" for each in one)
        else:
            pairs += _deep(str(name), one)
    return "&".join(pairs).encode()


def _json(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    except ValueError:
        raise errors.InvalidArguments("The arguments hold a number that JSON has no words for.") from None


def _quoted(text: str) -> str:
    try:
        return quote(text, safe="")
    except UnicodeEncodeError:
        raise errors.InvalidArguments("The arguments hold text that is not Unicode.") from None


def _text(value: Any) -> str:
    """Return a scalar as text; what is no scalar as JSON."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if value is None:
        return ""
    return _json(value) if isinstance(value, dict | list) else str(value)
