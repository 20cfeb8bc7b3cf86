"""Tool names to tools, and what an agent may know of."""

import difflib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import jsonschema_rs

from broker.connector import Tool
from broker.errors import InvalidArguments

RESERVED = ("search_tools", "describe_tool", "call_tool")
"""Names of the broker's own: no connector's tool can have one of them."""

_LONGEST_NAME = 64  # what every client and model API accepts, of letters, digits, '_' and '-'
_WORD = re.compile(r"[a-z][a-z0-9_]*")  # what policies can name
_NAME = re.compile(r"[A-Za-z0-9_-]+")
_MOST_PROBLEMS = 5  # told of at once
_LONGEST_WORD = 80  # characters that are compared, of what may be a word
_LONGEST_PROBLEM = 300  # characters: a problem may quote what was sent


@dataclass(frozen=True, slots=True, eq=False)
class CatalogTool:
    """A tool under its name on the wire, with its resource as policies write it."""

    name: str
    connector: str
    resource: str
    action: str
    tool: Tool
    _schema: Any

    def check(self, arguments: Mapping[str, Any]) -> None:
        """Return if the tool can be called with the arguments; raise `InvalidArguments`, saying where, otherwise."""
        problems = [
            _words(error, self.tool.input_schema)
            for error, _ in zip(self._schema.iter_errors(arguments), range(_MOST_PROBLEMS), strict=False)
        ]
        if problems:
            raise InvalidArguments("The arguments do not match the tool's schema. " + "; ".join(problems) + ".")
        if self.tool.check is not None:
            self.tool.check(arguments)

    @property
    def prompts(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Every prompt that it gets, as its server defines it, with the name by which clients get it."""
        if self.tool.serves == "prompt":
            prefix = "" if self.tool.definition["own_names"] else f"{self.connector}_"
            for one in self.tool.definition["prompts"]:
                yield prefix + one["name"], one


class Catalog:
    """Every tool of every configured connector. Immutable; a change of documents brings a new one."""

    def __init__(self, tools: Iterable[CatalogTool] = (), undescribed: Iterable[str] = ()) -> None:
        """Keep them. Of the connectors that are `undescribed`, nobody knows yet what they offer."""
        self.undescribed = frozenset(undescribed)
        self._tools = {tool.name: tool for tool in sorted(tools, key=lambda tool: tool.name)}
        self._offered: dict[str, dict[str, bool]] = {}
        for tool in self._tools.values():
            self._offered.setdefault(tool.resource, {})[tool.action] = tool.tool.reads_only

    def __iter__(self) -> Iterator[CatalogTool]:
        return iter(self._tools.values())

    @property
    def offered(self) -> Mapping[str, Mapping[str, bool]]:
        """Every resource's actions, and whether each only reads."""
        return self._offered

    def find(self, name: str) -> CatalogTool | None:
        """Return the tool of that name, or None."""
        return self._tools.get(name)

    @property
    def resources(self) -> Iterable[str]:
        """Every resource that some connector offers, as policies write it."""
        return self._offered.keys()

    def actions(self, resource: str) -> frozenset[str]:
        """Every action that the resource offers, whether or not it is built yet."""
        return frozenset(self._offered.get(resource, ()))

    def visible(self, could_permit: Callable[[str, str], bool]) -> tuple[CatalogTool, ...]:
        """Return, in a fixed order, the tools that work and that some rule could permit."""
        return tuple(tool for tool in self if tool.tool.run is not None and could_permit(tool.resource, tool.action))


def catalog_tool(connector: str, tool: Tool) -> CatalogTool:
    """Name a connector's tool; raise `ValueError` if the name or the schema cannot be served."""
    name = _name(connector, tool)
    if not all(_WORD.fullmatch(word) for word in (connector, tool.resource, tool.action)):
        raise ValueError(f"{connector}.{tool.resource} {tool.action} cannot be named in a policy: use a-z, 0-9 and '_'")
    if len(name) > _LONGEST_NAME:
        raise ValueError(f"the tool name {name} is longer than {_LONGEST_NAME} characters; shorten the resource's name")
    if name in RESERVED:
        raise ValueError(f"the tool name {name} is the broker's own; let the tool be called something else")
    if not _NAME.fullmatch(name):
        raise ValueError(f"clients cannot name the tool {name!r}: use letters, digits, '_' and '-'")
    try:
        schema = jsonschema_rs.validator_for(dict(tool.input_schema), retriever=_no_network)
    except ValueError as error:
        raise ValueError(f"the input schema of {name} is no JSON Schema: {str(error).splitlines()[0]}") from None
    return CatalogTool(name, connector, f"{connector}.{tool.resource}", tool.action, tool, schema)


def _name(connector: str, tool: Tool) -> str:
    if tool.name is None:
        return f"{connector}_{tool.resource}_{tool.action}"
    return f"{connector}_{tool.name}" if tool.prefixed else tool.name


def _no_network(address: str) -> NoReturn:
    raise ValueError(f"it refers to {address}, and checking needs no network")


def _words(error: Any, schema: Mapping[str, Any]) -> str:
    """Say what is wrong in words that its sender can act on: with the nearest right one where there is one."""
    place = "/".join(map(str, error.instance_path)) or "arguments"
    kind = error.kind
    match kind.name:
        case "enum":
            message = f"{_shown(error.instance)} is not allowed here{_nearest(error.instance, kind.options)}"
        case "additionalProperties":
            known = _known(schema, error.schema_path)
            unexpected = kind.unexpected[:_MOST_PROBLEMS]
            message = "; ".join(f"there is no {_shown(name)} here{_nearest(name, known)}" for name in unexpected)
        case _:
            message = str(error.message)
    return f"{place}: {message if len(message) <= _LONGEST_PROBLEM else message[:_LONGEST_PROBLEM] + '…'}"


def _nearest(given: Any, allowed: Iterable[Any]) -> str:
    known = [one for one in allowed if isinstance(one, str)]
    given = str(given)[:_LONGEST_WORD]
    folded = {one.casefold(): one for one in known}  # 'name' is meant to be 'Name'
    close = difflib.get_close_matches(given.casefold(), folded, n=3, cutoff=0.5)
    if close:
        return f"; nearest: {', '.join(folded[one] for one in close)}"
    return f"; allowed: {', '.join(known)}" if 0 < len(known) <= 12 else ""  # noqa: PLR2004 - as many as a line takes


def _known(schema: Mapping[str, Any], schema_path: list[str | int]) -> list[str]:
    """Return the names declared where an `additionalProperties` stands."""
    node: Any = schema
    for part in schema_path[:-1]:
        node = node.get(part, {}) if isinstance(node, Mapping) else node[int(part)]
    return list(node.get("properties", {}))


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:60] + "…"  # noqa: PLR2004 - enough to recognise it
