"""From a description to what is pinned of it: the operations that are mapped, each under its resource and action."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from connectors.openapi.description import Described, Description, mapping, text
from connectors.openapi.naming import candidates, fitting, known_paths, verb
from connectors.openapi.paging import detect, plain_name
from connectors.openapi.reading import Reader, Unusable
from connectors.openapi.schemas import Schemas
from connectors.openapi.security import scopes_of, security_of
from connectors.openapi.selecting import Selection
from connectors.openapi.settings import Settings
from connectors.openapi.shapes import list_place, record_place

_ORDER = ("GET", "POST", "PATCH", "PUT", "DELETE")
_MOST_OPERATIONS = 30_000
_LONGEST_DESCRIPTION = 500


def pin(
    description: Description, resources: Mapping[str, str], settings: Settings, key_header: str = "Authorization"
) -> dict[str, Any]:
    """Return what is pinned; raise `ValueError` where the description, or what the document maps, is of no use.

    `key_header` is the header in which the broker sends an API key.
    """
    return _Pinning(description, Selection(resources, settings), settings, key_header).pinned()


class _Pinning:
    def __init__(self, description: Description, selection: Selection, settings: Settings, key_header: str) -> None:
        self._description = description
        self._selection = selection
        self._settings = settings
        self._schemas = Schemas(description, free_form=settings.free_form)
        self._reader = Reader(description, self._schemas, {*settings.headers, key_header})
        self._every = list(description.operations())
        if len(self._every) > _MOST_OPERATIONS:
            raise ValueError(f"the description has over {_MOST_OPERATIONS:,} operations")
        self._paths = known_paths([(one.method, one.path) for one in self._every])
        self._left_out: dict[str, str] = {}

    def pinned(self) -> dict[str, Any]:
        groups: dict[str, list[tuple[Described, dict[str, Any]]]] = {}
        for described in self._every:
            override = self._settings.override(described.method, described.path, described.name)
            resource = override.resource or self._selection.resource(described)
            if resource is None or override.leave_out:
                continue
            try:
                operation = self._operation(described, resource)
            except Unusable as reason:
                self._left_out[described.title] = str(reason)[:300]
            else:
                groups.setdefault(resource, []).append((described, operation))
        return {
            "service": "openapi",
            "title": self._description.title,
            "place": self._description.place(),
            "resources": {resource: self._named(resource, group) for resource, group in sorted(groups.items())},
            "inputs": self._schemas.inputs,
            "results": self._schemas.results,
            "security": security_of(self._description),
            "left_out": self._left_out,
        }

    def _operation(self, described: Described, resource: str) -> dict[str, Any]:
        if self._description.elsewhere(described):
            raise Unusable("it has a server of its own")
        override = self._settings.override(described.method, described.path, described.name)
        parameters, of_body = self._reader.parameters(described)
        body = self._reader.body(described, of_body)
        accepts, schema = self._reader.answer(described)
        shape = self._schemas.of_result(schema)
        reads_only = described.method == "GET" if override.reads_only is None else override.reads_only
        found = {
            "method": described.method,
            "path": described.path,
            "id": described.name,
            "description": _words(described),
            "reads_only": reads_only,
            "accepts": accepts,
            "result": shape,
            "scopes": scopes_of(self._description, described),
        }
        place = override.records if override.records is not None else self._list_place(described, resource, shape)
        if place is not None and reads_only:
            said = override.pages or self._settings.pages
            pages, hidden = detect(parameters, shape, self._schemas.results, self._headers(described), said)
            parameters = [one for one in parameters if one["name"] not in hidden or one["place"] != "query"]
            found |= {"lists": True, "records": place, "pages": pages if described.method == "GET" else None}
        else:
            found["records"] = record_place(shape, self._schemas.results)
        if described.method in {"POST", "PATCH"} and not reads_only:
            found["idempotency"] = self._idempotency(parameters)
            parameters = [one for one in parameters if one["name"] != found["idempotency"]]
        return found | {"parameters": parameters, "body": body}

    def _list_place(self, described: Described, resource: str, shape: Mapping[str, Any]) -> str | None:
        if described.path.rstrip("/").endswith("}") or described.method != "GET":
            return None
        return list_place(shape, self._schemas.results, resource)

    def _headers(self, described: Described) -> Iterator[str]:
        for node in mapping(described.node.get("responses")).values():
            yield from map(str, mapping(mapping(self._description.resolved(node)).get("headers")))

    def _idempotency(self, parameters: list[dict[str, Any]]) -> str | None:
        """Return the header by which the service knows a repetition: one that it describes, or the document's."""
        for one in parameters:
            if one["place"] == "header" and plain_name(one["name"]) in {"idempotencykey", "xidempotencykey"}:
                return str(one["name"])
        return self._settings.idempotency_header

    # --- Names -------------------------------------------------------------------------------------------------------

    def _named(self, resource: str, group: list[tuple[Described, dict[str, Any]]]) -> dict[str, dict[str, Any]]:
        """Give each operation of a resource its action: those that the document names first, then the shortest path."""
        taken: dict[str, dict[str, Any]] = {}
        unnamed = []
        for described, operation in group:
            said = self._settings.override(described.method, described.path, described.name).action
            if said is None:
                unnamed.append((described, operation))
            elif said in taken:
                raise ValueError(f"settings.operations: two operations of {resource!r} have the action {said!r}")
            else:
                taken[said] = operation
        for described, operation in sorted(unnamed, key=_rank):
            action = verb(
                described.method, described.path, described.name, lists=bool(operation.get("lists")), paths=self._paths
            )
            for wanted in candidates(action, described.method, described.path, described.name, resource):
                if (fits := fitting(wanted, resource)) not in taken:
                    taken[fits] = operation
                    break
        return dict(sorted(taken.items()))


def _rank(pair: tuple[Described, Any]) -> tuple[int, str, int]:
    described = pair[0]
    return described.path.count("/"), described.path, _ORDER.index(described.method)


def _words(described: Described) -> str:
    node = described.node
    summary = text(node.get("summary"), 200)
    more = re.sub(r"<[^>]{0,200}>", " ", node["description"]) if isinstance(node.get("description"), str) else ""
    said = text(more, _LONGEST_DESCRIPTION)
    both = f"{summary.rstrip('.')}. {said}" if summary and said and not said.startswith(summary) else said or summary
    deprecated = "Deprecated. " if node.get("deprecated") is True else ""
    return text(f"{deprecated}{both} ({described.title})".strip(), _LONGEST_DESCRIPTION + 200)
