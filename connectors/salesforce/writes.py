"""Writing one record: created, changed, upserted by an external id, deleted; within the scope of each call.

Every write of a record that is there reads it first, under the scope's filters, and is made on the condition that
nobody has changed it since (`If-Unmodified-Since`). The service compares whole seconds: a change within the same
second as the one before is not seen. A repeated write is known where the service can tell: a change that is there
already is not made again; a create is known by the field that `idempotency_fields` names, and by nothing where it
names none.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any
from urllib.parse import quote

from broker.connector import Session, ToolCall, errors
from connectors.salesforce.literals import literal
from connectors.salesforce.scope import Narrowed, check_new
from connectors.salesforce.search import select, sized
from connectors.salesforce.service import ask, query
from connectors.salesforce.snapshot import SnapshotField
from connectors.salesforce.sobject import ID, SObject
from connectors.salesforce.values import check_values, same

_CHANGED = "LastModifiedDate"
_CHANGED_FIELD = SnapshotField(name=_CHANGED, label="", type="datetime", filterable=True, sortable=True)
_AGAIN = "Whether the record was created is unknown. Repeat the same call: it will not be created twice."
_LOOK = (
    "Whether the record was created is unknown, and Salesforce cannot tell a repeated create; search for the record "
    "before you repeat the call."
)


@dataclass(frozen=True, slots=True)
class Prepared:
    """One write, ready to be made: what is sent to which path, on which condition. Nothing is sent for what is done."""

    method: str
    path: str
    values: Mapping[str, Any] | None
    headers: Mapping[str, str]
    record_id: str | None
    done: bool = False


@dataclass(frozen=True, slots=True)
class Writer:
    """Writes the records of one mapped object."""

    of: SObject

    @property
    def createable(self) -> Mapping[str, SnapshotField]:
        """What a new record may be given."""
        key = self.of.settings.idempotency_fields.get(self.of.name)
        return {name: one for name, one in self.of.fields.items() if one.createable and name != key}

    @property
    def updateable(self) -> Mapping[str, SnapshotField]:
        """What may be changed."""
        key = self.of.settings.idempotency_fields.get(self.of.name)
        return {name: one for name, one in self.of.fields.items() if one.updateable and name != key}

    @property
    def external_ids(self) -> Mapping[str, SnapshotField]:
        """By what a record may be upserted."""
        return {name: one for name, one in self.createable.items() if one.external_id and one.updateable}

    # --- The tools ---------------------------------------------------------------------------------------------------

    async def create(self, call: ToolCall, session: Session) -> Any:
        """Create a record; a repeated call finds the first one's, where the service can tell."""
        scope = self.of.narrowed(call.scope)
        prepared = await self.prepare_create(call, session, scope, call.arguments["values"], call.key)
        if prepared.done:
            return {"id": prepared.record_id, "created": False}
        try:
            answer = await self._send(session, prepared)
        except (errors.UpstreamTimeout, errors.UpstreamInterrupted) as error:
            words = _AGAIN if prepared.method == "PATCH" else _LOOK
            raise type(error)(words, detail=error.detail) from None
        return {"id": _id_of(answer), "created": answer.get("created") is not False}

    async def update(self, call: ToolCall, session: Session) -> Any:
        """Change a record, unless it is so already."""
        scope = self.of.narrowed(call.scope)
        prepared = await self.prepare_update(call, session, scope, call.arguments)
        if not prepared.done:
            await self._send(session, prepared)
        return {"id": prepared.record_id, "changed": not prepared.done}

    async def upsert(self, call: ToolCall, session: Session) -> Any:
        """Change the record that has an external id, or create it."""
        scope = self.of.narrowed(call.scope)
        prepared = await self.prepare_upsert(call, session, scope, call.arguments)
        if prepared.done:
            return {"id": prepared.record_id, "created": False, "changed": False}
        answer = await self._send(session, prepared)
        return {"id": _id_of(answer), "created": answer.get("created") is True, "changed": True}

    async def delete(self, call: ToolCall, session: Session) -> Any:
        """Delete a record."""
        prepared = await self.prepare_delete(call, session, self.of.narrowed(call.scope), call.arguments)
        await self._send(session, prepared)
        return {"id": prepared.record_id, "deleted": True}

    # --- What is sent ------------------------------------------------------------------------------------------------

    async def prepare_create(
        self, call: ToolCall, session: Session, scope: Narrowed, values: Mapping[str, Any], key: str
    ) -> Prepared:
        """Return how a record is created; done, if a call of the same key has created it."""
        scope.allow(list(values))
        check_new(scope, values, self.of.pinned, creating=True)
        field = self.of.settings.idempotency_fields.get(self.of.name)
        if field is None or not key:
            return Prepared("POST", self.of.name, values, {}, None)
        soql = sized(select(self.of.name, self.of.fields, {"fields": ["Id"]}, [f"{field} = '{key}'"]) + " LIMIT 1")
        found = await query(session, self.of.version, soql, {"Id": ID}, 1, call.emit)
        if found:
            return Prepared("PATCH", self.of.name, None, {}, found[0]["Id"], done=True)
        return Prepared("PATCH", f"{self.of.name}/{field}/{key}", values, {}, None)

    async def prepare_update(
        self, call: ToolCall, session: Session, scope: Narrowed, arguments: Mapping[str, Any]
    ) -> Prepared:
        """Return how a record is changed; done, if it is so already."""
        values: Mapping[str, Any] = arguments["values"]
        scope.allow(list(values))
        check_new(scope, values, self.of.pinned, creating=False)
        there = await self._there(call, session, scope, f"Id = '{arguments['id']}'", list(values))
        if there is None:
            raise errors.UpstreamNotFound
        done = all(same(self.of.fields[name], there[name], value) for name, value in values.items())
        headers = {} if done else self._condition(there, arguments)
        return Prepared("PATCH", f"{self.of.name}/{there['Id']}", values, headers, there["Id"], done)

    async def prepare_upsert(
        self, call: ToolCall, session: Session, scope: Narrowed, arguments: Mapping[str, Any]
    ) -> Prepared:
        """Return how a record is changed or created by an external id."""
        values, field = arguments["values"], self.external_ids[arguments["field"]]
        scope.allow([field.name, *values])
        at = f"{field.name} = {literal(field, arguments['value'])}"
        there = await self._there(call, session, scope, at, list(values))
        if there is None and scope.conditions:
            hidden = sized(select(self.of.name, self.of.fields, {"fields": ["Id"]}, [at]) + " LIMIT 1")
            if await query(session, self.of.version, hidden, {"Id": ID}, 1, call.emit):
                raise errors.UpstreamNotFound
        check_new(scope, {field.name: arguments["value"], **values}, self.of.pinned, creating=there is None)
        if there is None:
            check_values(self.createable, {field.name: arguments["value"], **values}, required=True)
        done = there is not None and all(same(self.of.fields[name], there[name], one) for name, one in values.items())
        headers = {} if there is None or done else self._condition(there, arguments)
        path = f"{self.of.name}/{field.name}/{_segment(str(arguments['value']))}"
        return Prepared("PATCH", path, values, headers, None if there is None else there["Id"], done)

    async def prepare_delete(
        self, call: ToolCall, session: Session, scope: Narrowed, arguments: Mapping[str, Any]
    ) -> Prepared:
        """Return how a record is deleted."""
        there = await self._there(call, session, scope, f"Id = '{arguments['id']}'", [])
        if there is None:
            raise errors.UpstreamNotFound
        headers = self._condition(there, arguments)
        return Prepared("DELETE", f"{self.of.name}/{there['Id']}", None, headers, there["Id"])

    async def _there(
        self, call: ToolCall, session: Session, scope: Narrowed, at: str, names: list[str]
    ) -> dict[str, Any] | None:
        """Read the record that is to be written, under the scope's filters: None if there is none within them."""
        fields = {"Id": ID, **{name: self.of.fields[name] for name in names}}
        if any(field.name == _CHANGED for field in self.of.pinned.fields):
            fields[_CHANGED] = _CHANGED_FIELD
        soql = sized(
            select(self.of.name, self.of.fields, {"fields": list(fields)}, [at, *scope.conditions]) + " LIMIT 1"
        )
        found = await query(session, self.of.version, soql, fields, 1, call.emit)
        return found[0] if found else None

    def _condition(self, there: Mapping[str, Any], arguments: Mapping[str, Any]) -> Mapping[str, str]:
        """Return the headers under which the write is made only if the record stays as it was read.

        What the agent says of when it read the record is compared here, to the millisecond.
        """
        changed, seen = there.get(_CHANGED), arguments.get("unchanged_since")
        if changed is None:
            if seen is not None:
                raise errors.InvalidArguments(
                    f"{self.of.name} does not show when it was changed; leave the moment out."
                )
            return {}
        moment = datetime.fromisoformat(changed).astimezone(UTC)
        if seen is not None and moment > _moment(seen):
            raise errors.UpstreamChanged
        return {"If-Unmodified-Since": format_datetime(moment.replace(microsecond=0), usegmt=True)}

    async def _send(self, session: Session, prepared: Prepared) -> Any:
        """Make the write; return what the service answers, nothing for what it answers without a body."""
        name, _, rest = prepared.path.partition("/")
        how: dict[str, Callable[[Any], Any]] = {
            "POST": lambda sobject: sobject.create(prepared.values),
            "PATCH": lambda sobject: _body(
                sobject.upsert(rest, prepared.values, raw_response=True, headers=dict(prepared.headers))
            ),
            "DELETE": lambda sobject: sobject.delete(rest, headers=dict(prepared.headers)) and {},
        }
        return await ask(session, self.of.version, lambda salesforce: how[prepared.method](getattr(salesforce, name)))

    def check_upsert(self, arguments: Mapping[str, Any]) -> None:
        """Raise `InvalidArguments` for an external id that cannot be one in an address."""
        if arguments["field"] in arguments["values"]:
            raise errors.InvalidArguments(f"{arguments['field']} is in 'value' already; leave it out of 'values'.")
        literal(self.external_ids[arguments["field"]], arguments["value"])
        _segment(str(arguments["value"]))
        check_values(self.updateable, arguments["values"], required=False)
        if "unchanged_since" in arguments:
            _moment(arguments["unchanged_since"])

    def check_update(self, arguments: Mapping[str, Any]) -> None:
        """Raise `InvalidArguments` for values that are not of their fields."""
        check_values(self.updateable, arguments["values"], required=False)
        if "unchanged_since" in arguments:
            _moment(arguments["unchanged_since"])

    def check_create(self, arguments: Mapping[str, Any]) -> None:
        """Raise `InvalidArguments` for values that are not of their fields, or that lack one."""
        check_values(self.createable, arguments["values"], required=True)

    def check_delete(self, arguments: Mapping[str, Any]) -> None:
        """Raise `InvalidArguments` for a moment that is none."""
        if "unchanged_since" in arguments:
            _moment(arguments["unchanged_since"])


def _segment(value: str) -> str:
    if not value or set(value) <= {"."} or any(part in {".", ".."} for part in value.replace("\\", "/").split("/")):
        raise errors.InvalidArguments("The external id must not be empty, and no part of it dots.")
    return quote(value, safe="")


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise errors.InvalidArguments("'unchanged_since' must be a moment with its time zone, as LastModifiedDate is.")
    return moment


def _body(response: Any) -> Any:
    return response.json() if response.content else {}


def _id_of(answer: Any) -> str:
    identifier = answer.get("id") if isinstance(answer, dict) else None
    if not isinstance(identifier, str) or not identifier.isalnum():
        raise errors.UpstreamMalformed(detail="a write without the id of what it wrote")
    return identifier
