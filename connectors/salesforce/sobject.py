"""One mapped object: reading, searching and describing it, within the scope of each call."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from broker.connector import Scope, Session, ToolCall, errors
from connectors.salesforce.pages import Place, check_offset, fitting, limit_of, page_of
from connectors.salesforce.scope import Narrowed, narrow
from connectors.salesforce.search import compile_soql, ordered, select, sized, where
from connectors.salesforce.service import count, describe_object, query, read_record
from connectors.salesforce.snapshot import Settings, Snapshot, SnapshotField, SnapshotObject

ID = SnapshotField(name="Id", label="Id", type="id", filterable=True, sortable=True)


@dataclass(frozen=True, slots=True)
class SObject:
    """One mapped object and what is pinned of it. `fields` are those that may leave."""

    name: str
    resource: str
    pinned: SnapshotObject
    snapshot: Snapshot
    settings: Settings

    @property
    def fields(self) -> Mapping[str, SnapshotField]:
        """The fields that may leave, by name."""
        return self.pinned.leaving()

    @property
    def version(self) -> str:
        """The version of the API under which calls are made."""
        return self.settings.api_version

    def narrowed(self, scope: Scope) -> Narrowed:
        """Return a call's scope on this object."""
        return narrow(scope, self.pinned, self.snapshot)

    async def read(self, call: ToolCall, session: Session) -> Any:
        """Read one record by its id; under a filter that is a query with it."""
        scope = self.narrowed(call.scope)
        wanted = scope.wanted(call.arguments.get("fields"))
        if not scope.conditions:
            return {"record": await read_record(session, self.version, self.name, call.arguments["id"], wanted)}
        return {"record": await self.one(call, session, scope, call.arguments["id"], wanted)}

    async def one(
        self, call: ToolCall, session: Session, scope: Narrowed, record_id: str, fields: Mapping[str, SnapshotField]
    ) -> dict[str, Any]:
        """Read one record by a query with the scope's filters; what is outside is not found."""
        conditions = [f"Id = '{record_id}'", *scope.conditions]
        soql = sized(select(self.name, self.fields, {"fields": list(fields)}, conditions) + " LIMIT 1")
        records = await query(session, self.version, soql, fields, 1, call.emit)
        if not records:
            raise errors.UpstreamNotFound
        return records[0]

    async def search(self, call: ToolCall, session: Session) -> Any:
        """Search by structured conditions, a page at a time."""
        return await self.page(call, session, self.narrowed(call.scope), call.arguments)

    async def page(
        self,
        call: ToolCall,
        session: Session,
        scope: Narrowed,
        arguments: Mapping[str, Any],
        also: Sequence[str] = (),
    ) -> Any:
        """Answer one page of a search; the conditions in `also` must hold beside its own."""
        wanted = scope.wanted(arguments.get("fields"))
        conditions = [*also, *scope.conditions]
        names = list(dict.fromkeys([*wanted, "Id"]))
        chosen = select(self.name, scope.fields, {**arguments, "fields": names}, conditions)
        order = ordered(scope.fields, arguments)
        place, by_id = Place.of(call, chosen + order), not order and "offset" not in arguments
        limit = scope.limit(limit_of(arguments))
        records: list[dict[str, Any]] = []
        if limit:
            after = [f"Id > '{place.after}'"] if place.after else []
            chosen_from = select(self.name, scope.fields, {**arguments, "fields": names}, [*conditions, *after])
            soql = chosen_from + (" ORDER BY Id" if by_id else order) + f" LIMIT {limit + 1:d}"
            soql = sized(soql if by_id else soql + (f" OFFSET {place.offset:d}" if place.offset else ""))
            records = await query(session, self.version, soql, {**wanted, "Id": ID}, limit + 1, call.emit)
        kept = fitting(records[:limit], call.most_bytes)
        more = len(records) > kept
        cursor = None
        if more and kept:
            cursor = place.next(call, chosen + order, kept, records[kept - 1]["Id"], by_id=by_id)
        before = place.seen if by_id else place.offset
        total = None if more or not limit or (place.offset and not kept) else before + kept
        if arguments.get("count"):
            soql = sized(f"SELECT COUNT() FROM {self.name}{where(scope.fields, arguments, conditions)}")  # noqa: S608
            total = await count(session, self.version, soql)
        shown = [{name: record[name] for name in wanted} for record in records[:kept]]
        return page_of(shown, more=more or (not limit and bool(total)), cursor=cursor, total=total)

    def check_search(self, arguments: Mapping[str, Any]) -> None:
        """Raise `InvalidArguments` for a search that cannot be made."""
        check_offset(arguments)
        compile_soql(self.name, self.fields, arguments, limit_of(arguments) + 1)

    def check_fields(self, names: Sequence[str]) -> None:
        """Raise `InvalidArguments` for a field that the object does not have."""
        if unknown := [name for name in names if name not in self.fields]:
            raise errors.InvalidArguments(f"{self.resource} have no field {unknown[0]}.")

    async def describe(self, call: ToolCall, session: Session) -> Any:
        """Say what the object's fields are now, of those that may leave."""
        described = await describe_object(session, self.version, self.name)
        scope = self.narrowed(call.scope)
        fields = [field.model_dump() for field in described.fields if field.name in scope.fields]
        return {"label": described.label, "fields": fields}
