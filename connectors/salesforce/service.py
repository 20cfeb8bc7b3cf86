"""The service: simple-salesforce on the broker's egress, and its errors as ours."""

import re
from collections.abc import Callable, Mapping
from operator import methodcaller
from typing import Any, NoReturn, TypeVar

import requests
from anyio import from_thread
from simple_salesforce import Salesforce
from simple_salesforce.exceptions import SalesforceError

from broker.connector import ConnectorDocument, Emit, Response, Session, Usage, errors
from broker.connector.blocking import run_blocking
from connectors.salesforce.snapshot import Settings, Snapshot, SnapshotField, SnapshotObject, json_type, pin_object

T = TypeVar("T")
Fields = Mapping[str, SnapshotField]

_MOST_PAGES = 100
_OBJECT_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,79}")
_ERROR_CODE = re.compile(r"[A-Z][A-Z_]{1,60}")
_PEOPLE = "User"  # who owns records: what filters most often speak of
_USAGE = re.compile(r"(?<![a-z-])api-usage=(\d{1,9})/(\d{1,9})")
_NEXT_PAGE = re.compile(r"/services/data/v\d+\.\d+/query/[A-Za-z0-9-]+")

# 401 answers for which a new token changes nothing: renewing would go on for ever (jsforce, lib/http-api.js)
_NOT_EXPIRED = (
    b"Connected app is not attached to Agent",
    b"This session is not valid for use with the REST API",
    b"BlackTab users cannot perform API operations",
)

_PYTHON_TYPES: dict[str | None, tuple[type, ...]] = {
    "string": (str, type(None)),
    "number": (int, float, type(None)),
    "boolean": (bool, type(None)),
}
_BY_STATUS: dict[int, type[errors.Refusal]] = {
    401: errors.UpstreamUnauthorized,
    403: errors.UpstreamForbidden,
    404: errors.UpstreamNotFound,
    412: errors.UpstreamChanged,
    429: errors.UpstreamBusy,
}
_LOOK_AGAIN = 60  # seconds; the limit is of the last 24 hours, so that there may be room at any moment
_LIMIT_REACHED = f"Salesforce's limit of API requests is reached; try again in {_LOOK_AGAIN} seconds."
_IN_OUR_WORDS = {
    "QUERY_TIMEOUT": "Salesforce gave the search up after too long; make it narrower.",
    "INVALID_FIELD": "Salesforce does not show this account a field that was asked for; ask for fewer of them.",
    "REQUIRED_FIELD_MISSING": "Salesforce demands a field that was not given; describe the object to see which.",
    "DUPLICATE_VALUE": "Salesforce has a record with this value already, and the value may occur once only.",
    "DUPLICATES_DETECTED": "Salesforce takes the record for a duplicate of one that is there; search for that one.",
    "STRING_TOO_LONG": "A text is longer than its field takes.",
    "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST": "A value is none of its picklist's; describe the object to see them.",
    "FIELD_CUSTOM_VALIDATION_EXCEPTION": "A validation rule of the organisation refuses the record as it would be.",
    "INVALID_CROSS_REFERENCE_KEY": "An id refers to no record that this account may use.",
    "ENTITY_IS_DELETED": "The record has been deleted.",
    "UNABLE_TO_LOCK_ROW": "The record is being changed by somebody else; try again.",
    "DELETE_FAILED": "Salesforce does not delete the record: others depend on it.",
    "MALFORMED_SEARCH": "Salesforce does not take the words of the search; use two letters or more.",
    "INVALID_TYPE": "Salesforce does not show this object to this account; an administrator must look.",
}


async def read_record(session: Session, version: str, name: str, record_id: str, fields: Fields) -> dict[str, Any]:
    """Read these fields of one record."""
    parameters = {"fields": ",".join(fields)}
    record = await ask(session, version, lambda salesforce: getattr(salesforce, name).get(record_id, params=parameters))
    return only(record, fields)


async def query(
    session: Session, version: str, soql: str, fields: Fields, most: int, emit: Emit
) -> list[dict[str, Any]]:
    """Run a query, page after page, until it has `most` records; keep these fields of each."""
    records = await ask(session, version, lambda salesforce: _pages(salesforce, soql, most, emit))
    return [only(record, fields) for record in records[:most]]


async def raw_query(session: Session, version: str, soql: str, most: int, emit: Emit) -> list[Any]:
    """Run a query as `query` does, and return its records as the service wrote them."""
    records = await ask(session, version, lambda salesforce: _pages(salesforce, soql, most, emit))
    return records[:most]


async def count(session: Session, version: str, soql: str) -> int:
    """Run a query that asks for COUNT() only."""
    page = await ask(session, version, methodcaller("query", soql))
    total = page.get("totalSize") if isinstance(page, dict) else None
    if type(total) is not int:
        raise errors.UpstreamMalformed(detail="a count without totalSize")
    return total


async def describe_object(session: Session, version: str, name: str) -> Any:
    """Fetch what the service says of one object."""
    if _OBJECT_NAME.fullmatch(name) is None:
        raise errors.UpstreamNotFound(f"{name!r} is no name of an object.")
    try:
        described = await ask(session, version, lambda salesforce: getattr(salesforce, name).describe())
    except errors.UpstreamNotFound as error:
        raise errors.UpstreamNotFound(
            f"Salesforce shows this account no object {name!r}; an administrator must look at 'resources'.",
            detail=error.detail,
        ) from None
    try:
        return pin_object(described)
    except ValueError as error:
        raise errors.UpstreamMalformed(detail=str(error)) from None


async def describe(session: Session, document: ConnectorDocument) -> Any:
    """Fetch what the service says of every mapped object."""
    version = Settings.model_validate(document.settings).api_version
    objects = {name: await describe_object(session, version, name) for name in sorted(set(document.resources.values()))}
    referenced = {}
    if _PEOPLE not in objects and any(_PEOPLE in field.references for one in objects.values() for field in one.fields):
        described = await describe_object(session, version, _PEOPLE)
        fields = [field for field in described.fields if field.filterable]
        referenced[_PEOPLE] = SnapshotObject(label=described.label, fields=fields)
    return Snapshot(service="salesforce", api_version=version, objects=objects, referenced=referenced).model_dump()


def usage(response: Response) -> Usage | None:
    """Read how many of the organisation's API requests of the last 24 hours are used."""
    said = _USAGE.search(response.headers.get("sforce-limit-info", ""))
    if said is not None:
        return Usage(int(said[1]), int(said[2]))
    if response.status == requests.codes.forbidden and b"REQUEST_LIMIT_EXCEEDED" in response.body:
        return Usage(1, 1)
    return None


async def probe(session: Session, document: ConnectorDocument) -> str:
    """Ask for the limits of the organisation, which every user with API access may."""
    version = Settings.model_validate(document.settings).api_version
    limits: Any = await ask(session, version, methodcaller("limits"))
    try:
        requests_left = limits["DailyApiRequests"]
        return f"signed in; {int(requests_left['Remaining'])} of {int(requests_left['Max'])} API requests left today"
    except (KeyError, TypeError, ValueError, OverflowError):
        return "signed in"


def expired(response: Response) -> bool:
    """Tell whether the session has expired: any 401 but those that a new token would meet again."""
    return response.status == requests.codes.unauthorized and not any(text in response.body for text in _NOT_EXPIRED)


async def ask(session: Session, version: str, question: Callable[[Any], T]) -> T:
    """Run blocking client code; its errors hold URLs and the service's own words, so each becomes one of ours."""

    def work(blocking: requests.Session) -> T:
        try:
            salesforce = Salesforce(
                instance_url=session.base_url, session_id="not-a-token", session=blocking, version=version
            )
            return question(salesforce)
        except SalesforceError as error:
            refuse(error.status, error.content)
        except (LookupError, TypeError, AttributeError, ValueError, RecursionError, requests.RequestException) as error:
            raise errors.UpstreamMalformed(detail=type(error).__name__) from None

    return await run_blocking(session, work)


def _pages(salesforce: Any, soql: str, most: int, emit: Emit) -> list[Any]:
    page = salesforce.query(soql)
    records = list(page["records"])
    for _ in range(_MOST_PAGES):
        if page["done"] is True or len(records) >= most:
            return records
        total = page.get("totalSize")
        from_thread.run(emit, len(records), total if type(total) is int else None)
        following = str(page.get("nextRecordsUrl"))
        if not _NEXT_PAGE.fullmatch(following):
            raise errors.UpstreamMalformed(detail="nextRecordsUrl is not one of a query")
        page = salesforce.query_more(following, identifier_is_url=True)
        if not page["records"]:
            raise errors.UpstreamMalformed(detail="a page without records that is not the last")
        records += page["records"]
    raise errors.UpstreamMalformed(detail=f"over {_MOST_PAGES} pages")


def only(record: Any, fields: Fields) -> dict[str, Any]:
    """Return these fields of a record, each a value of its pinned type, and nothing else that the service sent."""
    if not isinstance(record, dict):
        raise errors.UpstreamMalformed(detail="a record that is no object")
    for name, field in fields.items():
        if name not in record or type(record[name]) not in _PYTHON_TYPES[json_type(field.type)]:
            raise errors.UpstreamMalformed(detail=f"{name} is no value of its pinned type {field.type}")
    return {name: record[name] for name in fields}


def refuse(status: int, content: Any) -> NoReturn:
    """Raise what a refusal of the service is in our words."""
    first = content[0] if isinstance(content, list) and content and isinstance(content[0], dict) else {}
    code = str(first.get("errorCode", ""))
    detail = f"HTTP {status} {code}" if _ERROR_CODE.fullmatch(code) else f"HTTP {status}"
    if code == "REQUEST_LIMIT_EXCEEDED":  # with status 403, though nothing is forbidden
        raise errors.UpstreamBusy(_LIMIT_REACHED, detail=detail, retry_after=_LOOK_AGAIN) from None
    if code in _IN_OUR_WORDS:
        raise errors.UpstreamRejected(_IN_OUR_WORDS[code], detail=detail) from None
    other = (
        errors.UpstreamRejected if requests.codes.bad <= status < requests.codes.server_error else errors.UpstreamFailed
    )
    raise _BY_STATUS.get(status, other)(detail=detail) from None
