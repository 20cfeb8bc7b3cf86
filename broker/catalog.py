"""Tool names to tools, and what an agent may know of."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import jsonschema_rs

from broker.connector import Tool
from broker.errors import InvalidArguments

_LONGEST_NAME = 64  # what every client and model API accepts


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
        """Return if the arguments match the tool's own schema; raise `InvalidArguments`, saying where, otherwise."""
        problems = [
            f"{'/'.join(map(str, error.instance_path)) or 'arguments'}: {error.message}"
            for error, _ in zip(self._schema.iter_errors(arguments), range(5), strict=False)
        ]
        if problems:
            raise InvalidArguments("The arguments do not match the tool's schema. " + "; ".join(problems) + ".")


class Catalog:
    """Every tool of every configured connector. Immutable; a change of documents brings a new one."""

    def __init__(self, tools: Iterable[CatalogTool] = ()) -> None:
        self._tools = {tool.name: tool for tool in sorted(tools, key=lambda tool: tool.name)}
        self._actions: dict[str, set[str]] = {}
        for tool in self._tools.values():
            self._actions.setdefault(tool.resource, set()).add(tool.action)

    def __iter__(self) -> Iterator[CatalogTool]:
        return iter(self._tools.values())

    def find(self, name: str) -> CatalogTool | None:
        """Return the tool of that name, or None."""
        return self._tools.get(name)

    @property
    def resources(self) -> Iterable[str]:
        """Every resource that some connector offers, as policies write it."""
        return self._actions.keys()

    def actions(self, resource: str) -> frozenset[str]:
        """Every action that the resource offers, whether or not it is built yet."""
        return frozenset(self._actions.get(resource, ()))

    def visible(self, could_permit: Callable[[str, str], bool]) -> tuple[CatalogTool, ...]:
        """Return, in a fixed order, the tools that work and that some rule could permit."""
        return tuple(tool for tool in self if tool.tool.run is not None and could_permit(tool.resource, tool.action))


def catalog_tool(connector: str, tool: Tool) -> CatalogTool:
    """Name a connector's tool; raise `ValueError` if the name or the schema cannot be served."""
    name = f"{connector}_{tool.resource}_{tool.action}"
    if len(name) > _LONGEST_NAME:
        raise ValueError(f"the tool name {name} is longer than {_LONGEST_NAME} characters; shorten the resource's name")
    return CatalogTool(
        name,
        connector,
        f"{connector}.{tool.resource}",
        tool.action,
        tool,
        jsonschema_rs.validator_for(dict(tool.input_schema)),
    )
