"""Salesforce: read, search and describe the mapped objects, through simple-salesforce on the broker's egress.

What an object's fields are, and which of them may leave, is the pinned snapshot's to say. Writing and export have
their names in the catalogue, so that policies can speak of them, and are not built yet.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from operator import methodcaller
from typing import Annotated, Any, Literal, NoReturn, TypeVar

import requests
from anyio import from_thread
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from simple_salesforce import Salesforce
from simple_salesforce.exceptions import SalesforceError
from simple_salesforce.format import format_soql, quote_soql_value

from broker.connector import Connector, ConnectorDocument, Emit, Endpoints, Response, Session, Tool, ToolCall, errors
from broker.connector.blocking import run_blocking

T = TypeVar("T")

_MOST_RECORDS = 2000
_LONGEST_QUERY = 8000  # characters; the service refuses URLs over 16,384 bytes
_ERROR_CODE = re.compile(r"[A-Z][A-Z_]{1,60}")
_NEXT_PAGE = re.compile(r"/services/data/v\d+\.\d+/query/[A-Za-z0-9-]+")

# 401 answers for which a new token changes nothing: renewing would go on for ever (jsforce, lib/http-api.js)
_NOT_EXPIRED = (
    b"Connected app is not attached to Agent",
    b"This session is not valid for use with the REST API",
    b"BlackTab users cannot perform API operations",
)

# Field types by what their values are in JSON; address, location and base64 values are left out whole
_TEXT = frozenset(
    {"string", "textarea", "picklist", "multipicklist", "combobox", "email", "phone", "url", "id", "reference"}
    | {"encryptedstring", "time"}
)
_NUMBER = frozenset(("int", "long", "double", "currency", "percent"))
_SHAPES = ({"field", "operator", "value"}, {"field", "operator"}, {"any_of"}, {"none_of"})
_OPERATORS = {
    "equals": "=",
    "not_equals": "!=",
    "less": "<",
    "less_or_equal": "<=",
    "greater": ">",
    "greater_or_equal": ">=",
    "in": "IN",
    "not_in": "NOT IN",
    "contains": "LIKE",
    "starts_with": "LIKE",
}


class Settings(BaseModel):
    """`spec.settings` of a Salesforce connector."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    api_version: Annotated[str, Field(pattern=r"^\d{2,3}\.0$")] = "59.0"


class SnapshotField(BaseModel):
    """One field of an object, as pinned: it may leave the broker because it is here."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")]
    label: str
    type: str
    filterable: bool
    sortable: bool
    picklist: list[str] = Field(default_factory=list)


class SnapshotObject(BaseModel):
    """One object, as pinned."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    label: str
    fields: list[SnapshotField]


class Snapshot(BaseModel):
    """The pinned snapshot's file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    service: Literal["salesforce"]
    api_version: str
    objects: dict[str, SnapshotObject]


# --- The tools -------------------------------------------------------------------------------------------------------


def tools(document: ConnectorDocument, snapshot: Any) -> list[Tool]:
    """Return the tools of every mapped object; raise `ValueError` if the snapshot does not have it."""
    if snapshot is None:
        raise ValueError("'snapshot' is missing: name a file and fetch it with 'aam connector snapshot NAME'")
    try:
        pinned = Snapshot.model_validate(snapshot)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise ValueError(f"the snapshot is not one of Salesforce: {first['loc']}: {first['msg']}") from None
    version = Settings.model_validate(document.settings).api_version
    found: list[Tool] = []
    for resource, name in document.resources.items():
        if name not in pinned.objects:
            raise ValueError(f"the snapshot has no object {name!r}; fetch it with 'aam connector snapshot NAME'")
        found += _object_tools(resource, SObject(name, pinned.objects[name], version))
    return found


@dataclass(frozen=True, slots=True)
class SObject:
    """One mapped object, with the calls that read it."""

    name: str
    pinned: SnapshotObject
    version: str

    @property
    def fields(self) -> dict[str, SnapshotField]:
        """The fields that may leave, by name."""
        return {field.name: field for field in self.pinned.fields if _json_type(field.type)}

    async def read(self, call: ToolCall, session: Session) -> Any:
        """Read one record by its id."""
        wanted = call.arguments.get("fields") or list(self.fields)
        parameters = {"fields": ",".join(wanted)}
        record = await self._ask(
            session, lambda salesforce: getattr(salesforce, self.name).get(call.arguments["id"], params=parameters)
        )
        return {"record": record}

    async def search(self, call: ToolCall, session: Session) -> Any:
        """Search by structured conditions, page after page, up to the limit."""
        limit = call.arguments.get("limit", 50)
        query = self.compile(call.arguments, limit + 1)  # one more tells whether there is more
        records = await self._ask(session, lambda salesforce: _pages(salesforce, query, limit + 1, call.emit))
        return {"records": records[:limit], "more": len(records) > limit}

    async def describe(self, _call: ToolCall, session: Session) -> Any:
        """Say what the object's fields are now, of those that may leave."""
        described = await _described(session, self.version, self.name)
        fields = [_pin_field(field) for field in described["fields"] if field["name"] in self.fields]
        return {"label": described["label"], "fields": [field.model_dump() for field in fields]}

    def compile(self, arguments: Mapping[str, Any], limit: int) -> str:
        """Return the SOQL of a search, every value escaped; raise `InvalidArguments` for a value that does not fit."""
        query = f"SELECT {', '.join(arguments.get('fields') or self.fields)} FROM {self.name}"  # noqa: S608 - names are the schema's
        conditions = [self._condition(condition) for condition in arguments.get("filters", ())]
        if conditions:
            joint = " OR " if arguments.get("match") == "any" else " AND "
            query += f" WHERE {joint.join(conditions)}"
        if order := arguments.get("order_by"):
            query += " ORDER BY " + ", ".join(
                f"{by['field']} {'DESC' if by.get('descending') else 'ASC'} NULLS LAST" for by in order
            )
        query += f" LIMIT {limit}"
        if len(query) > _LONGEST_QUERY:
            raise errors.InvalidArguments("The search is too long; use fewer or shorter conditions.")
        return query

    def _condition(self, condition: Mapping[str, Any]) -> str:
        if condition.keys() not in _SHAPES:
            raise errors.InvalidArguments("A condition is {field, operator, value}, {any_of: […]} or {none_of: […]}.")
        if several := condition.get("any_of") or condition.get("none_of"):
            joined = " OR ".join(self._condition(one) for one in several)
            return f"({joined})" if "any_of" in condition else f"(NOT ({joined}))"
        field, operator = self.fields[condition["field"]], condition["operator"]
        if operator in {"is_null", "is_not_null"}:
            return f"{field.name} {'=' if operator == 'is_null' else '!='} null"
        value = condition.get("value")
        if operator in {"in", "not_in"}:
            values = value if isinstance(value, list) else []
            if not values:
                raise errors.InvalidArguments(f"{operator!r} on {field.name} needs a list of values.")
            return f"{field.name} {_OPERATORS[operator]} {quote_soql_value([_typed(field, one) for one in values])}"
        if operator in {"contains", "starts_with"}:
            if not isinstance(value, str) or field.type not in _TEXT or field.type in {"id", "reference"}:
                raise errors.InvalidArguments(
                    f"{operator!r} needs a text and a text field; {field.name} is {field.type}."
                )
            pattern = format_soql("{:like}", value)
            return f"{field.name} LIKE '{'%' if operator == 'contains' else ''}{pattern}%'"
        return f"{field.name} {_OPERATORS[operator]} {quote_soql_value(_typed(field, value))}"

    async def _ask(self, session: Session, ask: Callable[[Any], T]) -> T:
        return await _ask(session, self.version, ask)


def _object_tools(resource: str, sobject: SObject) -> Iterator[Tool]:
    fields, label = sobject.fields, sobject.pinned.label
    record = {"type": "object", "properties": {name: _output(field) for name, field in fields.items()}}
    some_fields = {
        "type": "array",
        "items": {"enum": list(fields)},
        "minItems": 1,
        "uniqueItems": True,
        "description": "Which fields to return; all of them if left out.",
    }
    yield Tool(
        resource,
        "read",
        f"Read one {label} record of Salesforce by its id.",
        _schema(
            {
                "id": {
                    "type": "string",
                    "pattern": "^[a-zA-Z0-9]{15}([a-zA-Z0-9]{3})?$",
                    "description": "The record's id, 15 or 18 characters.",
                },
                "fields": some_fields,
            },
            required=["id"],
        ),
        _schema({"record": record}, required=["record"]),
        reads_only=True,
        run=sobject.read,
    )
    yield Tool(
        resource,
        "search",
        f"Search {label} records of Salesforce by conditions on their fields. "
        "Without conditions, returns the first records in the order asked for.",
        _search_schema(fields, some_fields),
        _schema({"records": {"type": "array", "items": record}, "more": {"type": "boolean"}}, required=["records"]),
        reads_only=True,
        run=sobject.search,
    )
    yield Tool(
        resource,
        "describe",
        f"List the fields of {label} in Salesforce: names, types and the values of picklists.",
        _schema({}),
        _schema({"label": {"type": "string"}, "fields": {"type": "array", "items": _DESCRIBED_FIELD}}),
        reads_only=True,
        run=sobject.describe,
    )
    for action in ("create", "update", "delete", "export"):
        yield Tool(
            resource,
            action,
            f"{action.capitalize()} {label} records of Salesforce.",
            {"type": "object"},
            _schema({}),
            reads_only=action == "export",
        )


def _search_schema(fields: Mapping[str, SnapshotField], some_fields: Mapping[str, Any]) -> dict[str, Any]:
    comparison = {
        "field": {"enum": [name for name, field in fields.items() if field.filterable]},
        "operator": {"enum": [*_OPERATORS, "is_null", "is_not_null"]},
        "value": {
            "type": ["string", "number", "boolean", "array"],
            "items": {"type": ["string", "number", "boolean"]},
            "maxItems": 100,
            "maxLength": 1000,
            "description": "Dates as 2026-11-23, moments as 2026-11-23T21:54:07Z; a list for in and not_in.",
        },
    }
    several = {"type": "array", "items": _schema(comparison), "minItems": 1, "maxItems": 20}
    condition = _schema({**comparison, "any_of": several, "none_of": several})
    return _schema(
        {
            "fields": some_fields,
            "filters": {
                "type": "array",
                "items": condition,
                "maxItems": 20,
                "description": "Conditions: {field, operator, value}, or {any_of: […]} or {none_of: […]} of such.",
            },
            "match": {"enum": ["all", "any"], "description": "Whether all conditions must hold (default) or any."},
            "order_by": {
                "type": "array",
                "items": _schema(
                    {
                        "field": {"enum": [name for name, field in fields.items() if field.sortable]},
                        "descending": {"type": "boolean"},
                    },
                    required=["field"],
                ),
                "maxItems": 5,
            },
            "limit": {"type": "integer", "minimum": 1, "maximum": _MOST_RECORDS, "description": "50 if left out."},
        }
    )


_DESCRIBED_FIELD = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "label": {"type": "string"},
        "type": {"type": "string"},
        "filterable": {"type": "boolean"},
        "sortable": {"type": "boolean"},
        "picklist": {"type": "array", "items": {"type": "string"}},
    },
}


def _schema(properties: Mapping[str, Any], required: Sequence[str] = ()) -> dict[str, Any]:
    schema = {"type": "object", "properties": dict(properties), "additionalProperties": False}
    return {**schema, "required": list(required)} if required else schema


def _output(field: SnapshotField) -> dict[str, Any]:
    return {"type": [_json_type(field.type), "null"], "description": field.label}


def _json_type(kind: str) -> str | None:
    if kind in _TEXT or kind in {"date", "datetime"}:
        return "string"
    return "boolean" if kind == "boolean" else "number" if kind in _NUMBER else None


def _typed(field: SnapshotField, value: Any) -> Any:
    """Return the value as what the field holds, so that it is written as SOQL writes it."""
    try:
        if field.type in _NUMBER and isinstance(value, int | float) and not isinstance(value, bool):
            return value
        if field.type == "boolean" and isinstance(value, bool):
            return value
        if field.type == "date" and isinstance(value, str):
            return date.fromisoformat(value)
        if field.type == "datetime" and isinstance(value, str):
            moment = datetime.fromisoformat(value)
            if moment.tzinfo is not None:
                return moment
        if field.type in _TEXT and isinstance(value, str):
            return value
    except ValueError:
        pass
    example = {"date": "2026-11-23", "datetime": "2026-11-23T21:54:07Z"}.get(field.type, _json_type(field.type))
    raise errors.InvalidArguments(f"The value for {field.name} ({field.type}) must be like: {example}.")


# --- The service -----------------------------------------------------------------------------------------------------


def _pages(salesforce: Any, query: str, most: int, emit: Emit) -> list[Any]:
    page = salesforce.query(query)
    records = list(page["records"])
    while not page.get("done", True) and len(records) < most:
        from_thread.run(emit, len(records), page.get("totalSize"))
        following = str(page.get("nextRecordsUrl"))
        if not _NEXT_PAGE.fullmatch(following):
            raise errors.UpstreamMalformed(detail="nextRecordsUrl is not one of a query")
        page = salesforce.query_more(following, identifier_is_url=True)
        records += page["records"]
    return records


async def _ask(session: Session, version: str, ask: Callable[[Any], T]) -> T:
    """Run blocking client code; its errors hold URLs and the service's own words, so each becomes one of ours."""

    def work(blocking: requests.Session) -> T:
        salesforce = Salesforce(
            instance_url=session.base_url, session_id="not-a-token", session=blocking, version=version
        )
        try:
            return ask(salesforce)
        except SalesforceError as error:
            _refuse(error.status, error.content)
        except (KeyError, TypeError, AttributeError, ValueError, requests.RequestException) as error:
            raise errors.UpstreamMalformed(detail=type(error).__name__) from None

    return await run_blocking(session, work)


def _refuse(status: int, content: Any) -> NoReturn:
    first = content[0] if isinstance(content, list) and content and isinstance(content[0], dict) else {}
    code = str(first.get("errorCode", ""))
    detail = f"HTTP {status} {code}" if _ERROR_CODE.fullmatch(code) else f"HTTP {status}"
    if code == "REQUEST_LIMIT_EXCEEDED" or status == requests.codes.too_many_requests:
        raise errors.UpstreamBusy(detail=detail) from None
    kinds: dict[int, type[errors.Refusal]] = {
        400: errors.UpstreamRejected,
        401: errors.UpstreamUnauthorized,
        403: errors.UpstreamForbidden,
        404: errors.UpstreamNotFound,
    }
    raise kinds.get(status, errors.UpstreamFailed)(detail=detail) from None


def expired(response: Response) -> bool:
    """Tell whether the session has expired: any 401 but those that a new token would meet again."""
    return response.status == requests.codes.unauthorized and not any(text in response.body for text in _NOT_EXPIRED)


async def probe(session: Session, document: ConnectorDocument) -> str:
    """Ask for the limits of the organisation, which every user with API access may."""
    version = Settings.model_validate(document.settings).api_version
    limits: Any = await _ask(session, version, methodcaller("limits"))
    requests_left = limits.get("DailyApiRequests", {}) if isinstance(limits, dict) else {}
    return (
        f"signed in; {requests_left.get('Remaining', '?')} of {requests_left.get('Max', '?')} API requests left today"
    )


async def describe(session: Session, document: ConnectorDocument) -> Any:
    """Fetch what the service says of every mapped object."""
    version = Settings.model_validate(document.settings).api_version
    objects = {}
    for name in sorted(set(document.resources.values())):
        if not name.isidentifier():
            raise errors.UpstreamNotFound(f"{name!r} is no name of an object.")
        described = await _described(session, version, name)
        fields = [_pin_field(field) for field in described["fields"] if _json_type(field["type"])]
        objects[name] = SnapshotObject(label=described["label"], fields=fields)
    return Snapshot(service="salesforce", api_version=version, objects=objects).model_dump()


async def _described(session: Session, version: str, name: str) -> Any:
    def ask(salesforce: Any) -> Any:
        return getattr(salesforce, name).describe()

    return await _ask(session, version, ask)


def _pin_field(field: Mapping[str, Any]) -> SnapshotField:
    return SnapshotField(
        name=field["name"],
        label=field["label"],
        type=field["type"],
        filterable=field["filterable"],
        sortable=field["sortable"],
        picklist=[value["value"] for value in field.get("picklistValues", ()) if value.get("active", True)],
    )


CONNECTOR = Connector(
    name="salesforce",
    hosts=("login.salesforce.com", "test.salesforce.com", "*.my.salesforce.com"),
    endpoints=Endpoints(
        token_endpoint="https://login.salesforce.com/services/oauth2/token",  # noqa: S106 - an address
        revocation_endpoint="https://login.salesforce.com/services/oauth2/revoke",
        audience="https://login.salesforce.com",
    ),
    grant="jwt-bearer",
    tools=tools,
    expired=expired,
    probe=probe,
    describe=describe,
    settings=Settings,
)
