"""`salesforce.query`: SOQL as the agent writes it, decided object by object and field by field.

A query touches objects, fields, relationships and subqueries; each is decided as a search of the resource that its
object is mapped to. Where a policy narrows such a search to some records, they are what the query sees; a related
record that a path looks at cannot be narrowed so, and such a path is refused.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from broker.connector import Session, ToolCall, Touch, errors
from connectors.salesforce.pages import GREATEST_OFFSET, Place, fitting, limit_of, page_of
from connectors.salesforce.scope import Narrowed
from connectors.salesforce.search import sized
from connectors.salesforce.service import count, only, raw_query
from connectors.salesforce.snapshot import Snapshot
from connectors.salesforce.sobject import SObject
from connectors.salesforce.soql import BoundQuery, bind, parse

_MOST_NESTED = 200  # related records of one record


@dataclass(frozen=True, slots=True)
class FreeQuery:
    """Queries over the mapped objects, of which `objects` are those that are pinned, by their resources."""

    objects: Mapping[str, SObject]
    snapshot: Snapshot
    version: str

    def touches(self, arguments: Mapping[str, Any]) -> list[Touch]:
        """Name the search of every object that the query touches, with all the fields that it names."""
        query = self._bound(arguments["soql"])
        limit = limit_of(arguments)
        return [
            Touch(
                self._resource(name).resource, "search", frozenset(fields), {"fields": sorted(fields), "limit": limit}
            )
            for name, fields in query.touched.items()
        ]

    def check(self, arguments: Mapping[str, Any]) -> None:
        """Raise `InvalidArguments` for what is no query over what is pinned."""
        self._bound(arguments["soql"])

    async def run(self, call: ToolCall, session: Session) -> Any:
        """Answer a page of the query, or its count."""
        query = self._bound(call.arguments["soql"])
        scopes = {
            name: self._resource(name).narrowed(call.scope_of(number)) for number, name in enumerate(query.touched)
        }
        for name in query.looked_up:
            if scopes[name].conditions:
                raise errors.AccessDenied(
                    f"The agent's policies permit only some records of {name}; search them by themselves, by no path."
                )
        conditions = lambda name: scopes[name].conditions  # noqa: E731 - it is short, and is handed over
        if query.query.counts:
            soql = sized(query.text(conditions, limit=query.query.limit))
            return page_of([], more=False, cursor=None, total=await count(session, self.version, soql))
        return await self._page(call, session, query, scopes)

    async def _page(
        self, call: ToolCall, session: Session, query: BoundQuery, scopes: Mapping[str, Narrowed]
    ) -> dict[str, Any]:
        def conditions(name: str) -> tuple[str, ...]:
            return scopes[name].conditions

        order = " ORDER BY Id" if not query.query.order else ""
        whole = query.text(conditions, limit=query.query.limit, offset=query.query.offset or 0, order=order)
        place = Place.of(call, whole)
        offset = (query.query.offset or 0) + place.seen
        left = None if query.query.limit is None else max(query.query.limit - place.seen, 0)
        limit = scopes[query.object].limit(limit_of(call.arguments))
        if left is not None:
            limit = min(limit, left)
        if offset > GREATEST_OFFSET:
            raise errors.InvalidArguments(f"A query goes on to {GREATEST_OFFSET} records; make it narrower.")
        if limit == 0:
            return page_of([], more=False, cursor=None, total=place.seen)
        soql = sized(query.text(conditions, limit=limit + 1, offset=offset, order=order))
        records = [
            _row(query, scopes, record) for record in await raw_query(session, self.version, soql, limit + 1, call.emit)
        ]
        kept = fitting(records[:limit], call.most_bytes)
        more = len(records) > kept and (left is None or kept < left)
        seen = place.seen + kept
        further = more and (query.query.offset or 0) + seen <= GREATEST_OFFSET
        cursor = call.cursors.seal(whole, [0, None, seen]) if further else None
        return page_of(records[:kept], more=more, cursor=cursor, total=None if more else seen)

    def _bound(self, text: str) -> BoundQuery:
        return bind(parse(text), self.snapshot)

    def _resource(self, name: str) -> SObject:
        """Return the resource of an object: the first that the document maps to it."""
        found = next((one for one in self.objects.values() if one.name == name), None)
        if found is None:
            raise errors.AccessDenied(f"The agent's policies do not permit 'search' on {name}.")
        return found


def _row(query: BoundQuery, scopes: Mapping[str, Narrowed], record: Any) -> dict[str, Any]:
    """Return the fields of a row that were selected, related ones under their paths, and subqueries' rows as lists."""
    if not isinstance(record, dict):
        raise errors.UpstreamMalformed(detail="a record that is no object")
    flat = {path: _at(record, path) for path in query.shown}
    row: dict[str, Any] = only(flat, query.shown)
    for inner in query.nested:
        most = scopes[inner.object].limit(_MOST_NESTED)
        row[inner.relationship] = [_row(inner, scopes, one) for one in _nested(record, inner.relationship)][:most]
    return row


def _at(record: Mapping[str, Any], path: str) -> Any:
    relationship, _, name = path.rpartition(".")
    if not relationship:
        return record.get(name)
    related = record.get(relationship)
    return related.get(name) if isinstance(related, dict) else None


def _nested(record: Mapping[str, Any], relationship: str) -> Iterator[Any]:
    page = record.get(relationship)
    if page is None:
        return
    if not isinstance(page, dict) or not isinstance(page.get("records"), list):
        raise errors.UpstreamMalformed(detail="related records that are no page")
    yield from page["records"]
