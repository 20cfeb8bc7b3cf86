"""Resources and prompts that some connector stands behind: what an agent may list, and which tool gets one."""

from collections.abc import Iterator, Mapping
from typing import Any

from broker.catalog import CatalogTool
from broker.documents import Snapshot
from broker.errors import InvalidArguments, UnknownTool

_LONGEST_URI = 8192  # characters, as the tools that read resources take them

Definition = Mapping[str, Any]


class Offers:
    """What one agent may list and get now, beside tools."""

    def __init__(self, documents: Snapshot, workload: str) -> None:
        self._tools = documents.visible.get(workload, ())

    def resources(self) -> list[Definition]:
        """Every resource that is pinned, by URI; of several connectors' of one URI, the first."""
        return _by("uri", (one for tool in self._of("resource") for one in tool.tool.definition["resources"]))

    def templates(self) -> list[Definition]:
        """Every template of resources."""
        found = (one for tool in self._of("resource") for one in tool.tool.definition["templates"])
        return _by("uriTemplate", found)

    def prompts(self) -> list[Definition]:
        """Every prompt, under the name by which it is got here."""
        return _by("name", ({**one, "name": name} for name, (_, one) in self._prompts().items()))

    def reader(self, uri: str) -> CatalogTool:
        """Return the tool that reads a resource.

        That is the one whose server lists it, or has a template for it, or the only one that there is. Raises
        `UnknownTool` if there is none, `InvalidArguments` if several could be meant.
        """
        return self._with(uri, "resource")

    def subscriber(self, uri: str) -> CatalogTool:
        """Return the tool that keeps a subscription to a resource; raise as `reader` does."""
        return self._with(uri, "subscription")

    def _with(self, uri: str, serves: str) -> CatalogTool:
        if len(uri) > _LONGEST_URI:  # nothing is looked for in it
            raise InvalidArguments(f"A resource's URI may have {_LONGEST_URI} characters at most.")
        tools = self._of(serves)
        listed = [tool for tool in tools if any(one["uri"] == uri for one in tool.tool.definition["resources"])]
        fitting = [tool for tool in tools if any(_fits(one, uri) for one in tool.tool.definition["templates"])]
        found = listed or fitting or tools
        if not found:
            raise UnknownTool("There is no such resource for this agent; list the resources to see which there are.")
        if len(found) > 1:
            names = ", ".join(tool.name for tool in found)
            raise InvalidArguments(f"Several servers may have this resource; call one of the tools {names} instead.")
        return found[0]

    def prompt(self, name: str) -> tuple[CatalogTool, str]:
        """Return the tool that gets a prompt, and its server's own name for it; raise `UnknownTool`."""
        found = self._prompts().get(name)
        if found is None:
            raise UnknownTool("There is no such prompt for this agent; list the prompts to see which there are.")
        return found[0], found[1]["name"]

    def completer(self, of: CatalogTool) -> CatalogTool:
        """Return the tool that completes arguments for what another reads or gets; raise `UnknownTool`."""
        for tool in self._of("completion"):
            if tool.resource == of.resource:
                return tool
        raise UnknownTool("Nothing can be completed here for this agent.")

    def template(self, template: str) -> CatalogTool:
        """Return the tool whose server has a template; raise `UnknownTool`."""
        for tool in self._of("resource"):
            if any(one["uriTemplate"] == template for one in tool.tool.definition["templates"]):
                return tool
        raise UnknownTool("There is no such template for this agent; list the templates to see which there are.")

    def _of(self, serves: str) -> list[CatalogTool]:
        return [tool for tool in self._tools if tool.tool.serves == serves]

    def _prompts(self) -> dict[str, tuple[CatalogTool, Definition]]:
        return {name: (tool, one) for tool in self._tools for name, one in tool.prompts}


def anything(documents: Snapshot, serves: str) -> bool:
    """Tell whether any connector stands behind such a thing at all."""
    return any(tool.tool.serves == serves for tool in documents.catalog)


def _by(key: str, found: Iterator[Definition]) -> list[Definition]:
    unique: dict[str, Definition] = {}
    for one in found:
        unique.setdefault(one[key], one)
    return [unique[name] for name in sorted(unique)]


def _fits(template: Definition, uri: str) -> bool:
    """Tell whether a URI can be one of a template's, each expression standing for one character or more.

    What stands between them is looked for from left to right, once: what an agent sends is no cause for more work.
    """
    first, *rest = _literals(template["uriTemplate"])
    if not rest:
        return uri == first
    if not uri.startswith(first):
        return False
    *between, last = rest
    place = len(first)
    for literal in between:
        found = uri.find(literal, place + 1)
        if found < 0:
            return False
        place = found + len(literal)
    return len(uri) - len(last) > place and uri.endswith(last)


def _literals(template: str) -> list[str]:
    """Return what stands before, between and behind the expressions of a URI template (RFC 6570)."""
    literals, place = [], 0
    while (begin := template.find("{", place)) >= 0 and (end := template.find("}", begin)) >= 0:
        literals.append(template[place:begin])
        place = end + 1
    return [*literals, template[place:]]
