"""Several writes in one request, all or none unless asked otherwise; each is decided as if it were made alone.

{"operations": [
    {"operation": "create", "resource": "accounts", "name": "acme", "values": {"Name": "Acme"}},
    {"operation": "create", "resource": "contacts", "values": {"LastName": "Lovelace", "AccountId": "@{acme.id}"}}]}
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from broker.connector import Session, ToolCall, Touch, errors
from connectors.salesforce.service import ask, refuse
from connectors.salesforce.snapshot import SnapshotField
from connectors.salesforce.values import check_values
from connectors.salesforce.writes import Prepared, Writer

MOST_OPERATIONS = 25  # REST API Developer Guide, Composite: subrequests in one request
OPERATIONS = ("create", "update", "upsert", "delete")
_REFERENCE = re.compile(r"@\{([a-z][a-z0-9_]{0,30})\.id\}")
_NEEDED = {"create": {"values"}, "update": {"id", "values"}, "upsert": {"field", "value", "values"}, "delete": {"id"}}
_ALLOWED = {"create": {"name"}, "update": {"unchanged_since"}, "upsert": {"name", "unchanged_since"}}


@dataclass(frozen=True, slots=True)
class Composite:
    """Writes to any of the mapped objects in one request."""

    writers: Mapping[str, Writer]
    version: str

    def touches(self, arguments: Mapping[str, Any]) -> list[Touch]:
        """Name every write by itself: each needs the permission that it would need alone."""
        return [
            Touch(
                one["resource"],
                one["operation"],
                frozenset({*one.get("values", ()), *_given(one, "field")}),
                {name: value for name, value in one.items() if name not in {"operation", "resource", "name"}},
            )
            for one in arguments["operations"]
        ]

    def check(self, arguments: Mapping[str, Any]) -> None:
        """Raise `InvalidArguments` for operations that could not be made, naming the first."""
        names: set[str] = set()
        for number, one in enumerate(arguments["operations"], 1):
            try:
                self._check_one(one, names)
            except errors.InvalidArguments as error:
                raise errors.InvalidArguments(f"Operation {number}: {error.message}") from None
            names |= _given(one, "name")

    async def write(self, call: ToolCall, session: Session) -> Any:
        """Prepare every write, then send all of them at once."""
        operations: Sequence[Mapping[str, Any]] = call.arguments["operations"]
        written: dict[str, str] = {}  # what a repeated create had made, by the name it is referred to
        prepared = [await self._prepare(call, session, number, one, written) for number, one in enumerate(operations)]
        prepared = _unconditional_after_the_first(prepared)
        sent = [(number, one) for number, one in enumerate(prepared) if not one.done]
        answers = await self._send(call, session, operations, sent) if sent else {}
        return {
            "results": [
                {"id": one.record_id, "status": "unchanged"} if one.done else answers[number]
                for number, one in enumerate(prepared)
            ]
        }

    def _check_one(self, one: Mapping[str, Any], names: set[str]) -> None:
        operation, writer = one["operation"], self.writers[one["resource"]]
        needed, given = _NEEDED[operation], one.keys() - {"operation", "resource"}
        if not needed <= given <= needed | _ALLOWED.get(operation, {"unchanged_since"}):
            raise errors.InvalidArguments(f"{operation!r} takes {', '.join(sorted(needed))}, and nothing of another.")
        if not _given(one, "name").isdisjoint(names):
            raise errors.InvalidArguments("two operations cannot have the same name.")
        fields = writer.createable if operation == "create" else writer.updateable
        plain = _without_references(one.get("values", {}), fields, names)
        if operation in {"create", "update"}:
            check_values(fields, plain, required=operation == "create")
        if operation == "upsert":
            if one["field"] not in writer.external_ids:
                raise errors.InvalidArguments(f"{one['field']} is no external id of {one['resource']}.")
            writer.check_upsert({**one, "values": plain})
        writer.check_delete(one)

    async def _prepare(
        self, call: ToolCall, session: Session, number: int, one: Mapping[str, Any], written: dict[str, str]
    ) -> Prepared:
        writer, operation = self.writers[one["resource"]], one["operation"]
        scope = writer.of.narrowed(call.scope_of(number))
        if "values" in one:
            one = {**one, "values": {name: _known(value, written) for name, value in one["values"].items()}}
        match operation:
            case "create":
                key = f"{call.key[:60]}-{number}" if call.key else ""
                prepared = await writer.prepare_create(call, session, scope, one["values"], key)
            case "update":
                prepared = await writer.prepare_update(call, session, scope, one)
            case "upsert":
                prepared = await writer.prepare_upsert(call, session, scope, one)
            case _:
                prepared = await writer.prepare_delete(call, session, scope, one)
        if prepared.done and prepared.record_id and "name" in one:
            written[one["name"]] = prepared.record_id
        return prepared

    async def _send(
        self,
        call: ToolCall,
        session: Session,
        operations: Sequence[Mapping[str, Any]],
        sent: list[tuple[int, Prepared]],
    ) -> dict[int, dict[str, Any]]:
        base = f"{urlsplit(session.base_url).path.rstrip('/')}/services/data/v{self.version}/sobjects/"
        subrequests = [
            {
                "method": one.method,
                "url": base + one.path,
                "referenceId": operations[number].get("name", f"operation_{number}"),
                **({"body": one.values} if one.values is not None else {}),
                **({"httpHeaders": dict(one.headers)} if one.headers else {}),
            }
            for number, one in sent
        ]
        together = bool(call.arguments.get("all_or_none", True))
        body = json.dumps({"allOrNone": together, "compositeRequest": subrequests})
        answer = await ask(
            session, self.version, lambda salesforce: salesforce.restful("composite", method="POST", data=body)
        )
        said = answer.get("compositeResponse") if isinstance(answer, dict) else None
        if not isinstance(said, list) or len(said) != len(sent):
            raise errors.UpstreamMalformed(detail="a composite answer of another length")
        if together:
            _refuse_first(said)
        return {
            number: _result(one, operations[number], response)
            for (number, one), response in zip(sent, said, strict=True)
        }


def _unconditional_after_the_first(prepared: list[Prepared]) -> list[Prepared]:
    """Leave the condition off a second write of the same record: the first one changes it."""
    seen: set[str | None] = set()
    kept = []
    for one in prepared:
        kept.append(replace(one, headers={}) if one.record_id in seen else one)
        seen |= {one.record_id} - {None}
    return kept


def _result(one: Prepared, operation: Mapping[str, Any], response: Any) -> dict[str, Any]:
    status, body = response.get("httpStatusCode"), response.get("body")
    if type(status) is not int:
        raise errors.UpstreamMalformed(detail="a composite answer without a status")
    if status >= 300:  # noqa: PLR2004 - whatever is no success
        try:
            refuse(status, body)
        except errors.Refusal as refusal:
            return {"id": one.record_id, "status": "refused", "code": refusal.code, "message": refusal.message}
    created = body.get("id") if isinstance(body, dict) else None
    words = {"create": "created", "update": "changed", "upsert": "changed", "delete": "deleted"}
    word = "created" if status == 201 else words[operation["operation"]]  # noqa: PLR2004 - Created
    return {"id": created if isinstance(created, str) else one.record_id, "status": word}


def _refuse_first(said: list[Any]) -> None:
    """Raise the refusal that undid all of them: the first that is no consequence of another."""
    for number, one in enumerate(said, 1):
        body, status = one.get("body"), one.get("httpStatusCode")
        halted = isinstance(body, list) and body and body[0].get("errorCode") == "PROCESSING_HALTED"
        if type(status) is int and status >= 300 and not halted:  # noqa: PLR2004
            try:
                refuse(status, body)
            except errors.Refusal as refusal:
                words = f"Nothing was written. Operation {number} of those that were sent: {refusal.message}"
                raise type(refusal)(words, detail=refusal.detail) from None
    if any(type(one.get("httpStatusCode")) is not int or one["httpStatusCode"] >= 300 for one in said):  # noqa: PLR2004
        raise errors.UpstreamRejected("Nothing was written.")


def _without_references(values: Mapping[str, Any], fields: Mapping[str, SnapshotField], names: set[str]) -> Any:
    """Return the values with a plausible id for every reference; refuse what only looks like one.

    The service would put in what another write answered wherever it finds `@{…}`, in a text that is only quoted too.
    """
    plain = {}
    for name, value in values.items():
        if isinstance(value, str) and "@{" in value:
            match = _REFERENCE.fullmatch(value)
            kind = fields[name].type if name in fields else None
            if match is None or match[1] not in names or kind != "reference":
                raise errors.InvalidArguments(
                    f"{name}: '@{{' may only begin '@{{NAME.id}}', in a field that refers to a record, NAME being "
                    "that of an earlier operation."
                )
            value = "0" * 15  # noqa: PLW2901 - what is checked, not what is sent
        plain[name] = value
    return plain


def _known(value: Any, written: Mapping[str, str]) -> Any:
    match = _REFERENCE.fullmatch(value) if isinstance(value, str) else None
    return written.get(match[1], value) if match else value


def _given(one: Mapping[str, Any], name: str) -> set[str]:
    return {one[name]} if name in one else set()
