"""One operation, called: a request, or as many as a list takes."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from broker.connector import Response, Session, ToolCall, errors
from connectors.openapi.answers import checked, following, next_query, records_of, value_of, whole
from connectors.openapi.encoding import Prepared, prepare
from connectors.openapi.settings import Settings
from connectors.openapi.snapshot import Operation, Paging

DEFAULT_RECORDS = 50
MOST_RECORDS = 1000
_ROOM = 2048  # bytes of a result beside its records


@dataclass(frozen=True, slots=True)
class Caller:
    """Calls one operation of a connector, as one document has it."""

    operation: Operation
    settings: Settings
    envelope: tuple[str, ...] = ()
    """What a list's answer says beside its records, and may leave."""

    def check(self, arguments: Mapping[str, Any]) -> None:
        """Raise `InvalidArguments` for what the schema cannot say."""
        prepare(self.operation, arguments, self.settings.slashes)

    async def run(self, call: ToolCall, session: Session) -> Any:
        """Make one request."""
        prepared = prepare(self.operation, call.arguments, self.settings.slashes)
        headers = {}
        if self.operation.idempotency is not None:
            headers[self.operation.idempotency] = call.key
        response = await self.send(session, prepared, prepared.target(), headers)
        return whole(value_of(checked(response)))

    async def list(self, call: ToolCall, session: Session) -> Any:
        """Fetch page after page, until there are as many records as are asked for and may be had."""
        prepared = prepare(self.operation, call.arguments, self.settings.slashes)
        wanted = int(call.arguments.get("limit", DEFAULT_RECORDS))
        most = wanted if call.scope.records is None else min(wanted, call.scope.records)
        return await _Listing(self, call, session, prepared, most).listed()

    async def send(
        self, session: Session, prepared: Prepared, target: str, more: Mapping[str, str] | None = None
    ) -> Response:
        """Send a request to a path and query below the service's URL."""
        headers = {"Accept": self.operation.accepts or "application/json", **prepared.headers}
        headers |= {**self.settings.headers, **(more or {})}
        url = session.base_url + target
        return await session.send(prepared.method, url, headers, prepared.body, prepared.cookies)


class _Listing:
    """A list that is fetched for one call. Where it ends is sealed, so that the next call can go on from there."""

    def __init__(self, caller: Caller, call: ToolCall, session: Session, prepared: Prepared, most: int) -> None:
        self._caller = caller
        self._call = call
        self._session = session
        self._prepared = prepared
        self._most = most
        self._paging: Paging | None = caller.operation.pages
        self._size: int | None = None
        self._left = None if call.most_bytes is None else max(call.most_bytes - _ROOM, 0)
        self._query = prepared.target() + json.dumps(sorted(call.scope.fields or ()))

    async def listed(self) -> dict[str, Any]:
        place, skip = self._begin()
        found: list[Any] = []
        result: dict[str, Any] = {}
        before: list[Any] = []
        for _ in range(self._caller.settings.most_pages):
            response = checked(await self._page(place))
            value = value_of(response)
            records = records_of(self._caller.operation, value)
            if records == before:  # nothing new: the service does not go on as it is thought to
                return self._answer(result, found, None)
            result = result or self._envelope(value)
            fresh = records[skip:]
            taken = self._taken(fresh, self._most - len(found))
            found += fresh[:taken]
            if taken < len(fresh):
                if not found:
                    raise errors.ResultTooLarge("One record alone is larger than a result may be.")
                return self._answer(result, found, (place, skip + taken))
            place, skip, before, here = self._following(response, value, records, place), 0, records, place
            if place is None or place == here:
                return self._answer(result, found, None)
            if len(found) >= self._most:
                break
            await self._call.emit(len(found), None)
        return self._answer(result, found, (place, 0))

    def _begin(self) -> tuple[Any, int]:
        """Return where to begin: where the last call ended, with pages of the same size."""
        place, skip = None, 0
        if self._paging is not None and self._paging.size is not None:
            self._size = min(self._most, self._paging.most)
        if "cursor" in self._call.arguments:
            place, skip, self._size = self._call.cursors.open(self._query, self._call.arguments["cursor"])
        return place, skip

    def _envelope(self, value: Any) -> dict[str, Any]:
        return {name: value[name] for name in self._caller.envelope if isinstance(value, dict) and name in value}

    def _following(self, response: Response, value: Any, records: list[Any], place: Any) -> Any:
        return None if self._paging is None else following(self._paging, response, value, records, place)

    async def _page(self, place: Any) -> Response:
        paging, prepared = self._paging, self._prepared
        more: dict[str, Any] = {}
        if paging is not None and paging.by == "link" and place is not None:
            query = next_query(self._session.base_url + prepared.path, str(place))
            return await self._caller.send(self._session, prepared, f"{prepared.path}?{query}")
        if paging is not None and paging.size is not None:
            more[paging.size] = self._size
        if paging is not None and paging.parameter is not None and place is not None:
            more[paging.parameter] = place
        parts = (f"{quote(name, safe='')}={quote(str(value), safe='')}" for name, value in more.items())
        return await self._caller.send(self._session, prepared, prepared.target(*parts))

    def _taken(self, records: list[Any], most: int) -> int:
        """Return how many of a page's records the result has room for."""
        if self._left is None:
            return min(len(records), most)
        for number, record in enumerate(records[:most]):
            self._left -= len(json.dumps(record, ensure_ascii=False).encode("utf-8", "replace")) + 1
            if self._left < 0:
                return number
        return min(len(records), most)

    def _answer(self, result: dict[str, Any], found: list[Any], place: tuple[Any, int] | None) -> dict[str, Any]:
        answer = {**result, "records": found, "more": place is not None}
        if place is not None:
            answer["cursor"] = self._call.cursors.seal(self._query, [*place, self._size])
        return answer
