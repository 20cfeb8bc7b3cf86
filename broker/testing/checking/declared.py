"""What a connector says of itself: names, hosts, scopes, and schemas that leave nothing open."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from broker.catalog import catalog_tool
from broker.connector import Connector, Host, HttpsUrl, ScopeName, Tool

_NAME = re.compile(r"[a-z][a-z0-9-]*")


class _Declared(BaseModel):
    model_config = ConfigDict(extra="forbid")

    hosts: list[Host]
    token_endpoint: HttpsUrl


class _Scopes(BaseModel):
    scopes: list[ScopeName]


def declared_problems(connector: Connector, tools: Sequence[Tool]) -> Iterator[str]:
    """Yield what is wrong with what is declared."""
    if not _NAME.fullmatch(connector.name):
        yield f"the name {connector.name!r} is not of small letters, digits and '-'"
    try:
        _Declared(hosts=list(connector.hosts), token_endpoint=connector.endpoints.token_endpoint)
    except ValidationError as error:
        yield from (f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
    if not tools:
        yield "it has no tools"
    for (resource, action), number in Counter((tool.resource, tool.action) for tool in tools).items():
        if number > 1:
            yield f"{resource} {action} is there {number} times"
    for tool in tools:
        yield from (f"{tool.resource} {tool.action}: {problem}" for problem in _of_tool(connector, tool))


def _of_tool(connector: Connector, tool: Tool) -> Iterator[str]:
    try:
        catalog_tool(connector.name.replace("-", "_"), tool)
    except ValueError as error:
        yield str(error)
    if not tool.description.strip():
        yield "it has no description, by which a model would choose it"
    try:
        if isinstance(tool.scopes, str):
            yield "its scopes are a list of texts, not one text"
        else:
            _Scopes(scopes=list(tool.scopes))
    except ValidationError:
        yield f"its scopes are not all names of scopes (RFC 6749 §3.3): {list(tool.scopes)}"
    if tool.run is not None:
        yield from (f"its input schema {said}" for said in _open(tool.input_schema, "is open at {}: say "))
        yield from (
            f"its output schema {said}" for said in _open(tool.output_schema, "lets anything leave at {}: say ")
        )
    if tool.input_schema.get("type") != "object":
        yield "its input schema must be of type object"


def _open(schema: Any, words: str, place: str = "") -> Iterator[str]:
    """Yield the places of a schema at which members that it does not name could stand."""
    if not isinstance(schema, Mapping):
        if schema is True:
            yield words.format(place or "the top") + "what may stand there"
        return
    others = schema.get("additionalProperties")
    is_object = schema.get("type") == "object" or "properties" in schema
    incoming = "open" in words
    if is_object and ((incoming and others in (None, True)) or (not incoming and others is True)):
        yield words.format(place or "the top") + "'additionalProperties': false"
    elif is_object and not incoming and "properties" not in schema and not isinstance(others, Mapping):
        yield words.format(place or "the top").replace("lets anything", "lets nothing") + "'properties'"
    for name, inner in (schema.get("properties") or {}).items():
        yield from _open(inner, words, f"{place}.{name}".lstrip("."))
    for word in ("items", "additionalProperties"):
        if isinstance(schema.get(word), Mapping):
            yield from _open(schema[word], words, f"{place}[]")
    for word in ("anyOf", "oneOf", "allOf"):
        for inner in schema.get(word, ()):
            yield from _open(inner, words, place)
