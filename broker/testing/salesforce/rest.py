"""The data resources under `/services/data`: versions, describe, records, queries and limits.

Source: REST API Developer Guide, Reference. Everything but the list of versions demands a live session. Answers to
authorised calls carry `Sforce-Limit-Info`. Writes are made for real and at once; deleting is for good.
"""

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from msgspec import DecodeError
from msgspec.json import decode, encode
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from broker.testing.salesforce.errors import ServiceError, method_not_allowed, resource_missing
from broker.testing.salesforce.ids import record_id
from broker.testing.salesforce.oauth import AuthorizationServer
from broker.testing.salesforce.objects import OBJECTS, find_object
from broker.testing.salesforce.org import Org, Record
from broker.testing.salesforce.query import Selection, select
from broker.testing.salesforce.schema import Field, SObject

DAILY_CALLS: Final = 15_000
OPEN_CURSORS: Final = 10  # the SOAP API Developer Guide's limit for a user; the oldest gives way
BATCH_SIZES: Final = (200, 2000)  # REST API Developer Guide, Query Options Header: smallest, greatest
VERSIONS: Final = MappingProxyType(
    {
        "55.0": "Summer '22",
        "56.0": "Winter '23",
        "57.0": "Spring '23",
        "58.0": "Summer '23",
        "59.0": "Winter '24",
        "60.0": "Spring '24",
        "61.0": "Summer '24",
        "62.0": "Winter '25",
        "63.0": "Spring '25",
        "64.0": "Summer '25",
        "65.0": "Winter '26",
        "66.0": "Spring '26",
    },
)
_BATCH_SIZE: Final = re.compile(r"batchSize\s*=\s*(\d{1,6})", re.IGNORECASE)

Answer = tuple[int, Any]
Handler = Callable[[Request, bytes], Answer]


class DataApi:
    """The org as the REST API shows it; `page_size` holds where a query names no batch size."""

    def __init__(self, org: Org, authorization: AuthorizationServer, page_size: int) -> None:
        self._org = org
        self._authorization = authorization
        self._page_size = page_size
        self._calls = 0
        self._cursors: dict[str, Selection] = {}
        self._cursors_opened = 0

    def routes(self) -> list[Route]:
        """List the resources; each also answers with a slash after it, as simple-salesforce writes some."""
        data = "/services/data/v{version}"
        resources: dict[str, dict[str, Handler]] = {
            data: {"GET": self._resources},
            f"{data}/limits": {"GET": self._limits},
            f"{data}/query": {"GET": self._query},
            f"{data}/query/{{locator}}": {"GET": self._query_more},
            f"{data}/sobjects": {"GET": self._describe_global},
            f"{data}/sobjects/{{name}}": {"GET": self._basic_information, "POST": self._create},
            f"{data}/sobjects/{{name}}/describe": {"GET": self._describe},
            f"{data}/sobjects/{{name}}/{{key}}": {
                "GET": self._retrieve,
                "PATCH": self._update,
                "DELETE": self._delete,
            },
            f"{data}/{{rest:path}}": {},
        }
        versions = [Route(f"/services/data{slash}", _versions) for slash in ("", "/")]
        return versions + [
            Route(path + slash, _Resource(self._authorise, handlers))
            for path, handlers in resources.items()
            for slash in ("", "/")
        ]

    def _authorise(self, request: Request) -> dict[str, str]:
        self._authorization.require_session(request.headers.get("authorization"))
        if request.path_params["version"] not in VERSIONS:
            raise resource_missing()
        self._calls += 1
        return {"Sforce-Limit-Info": f"api-usage={self._calls}/{DAILY_CALLS}"}

    def _resources(self, request: Request, _: bytes) -> Answer:
        return 200, {name: f"{_data_path(request)}/{name}" for name in ("limits", "query", "sobjects")}

    def _limits(self, _: Request, __: bytes) -> Answer:
        return 200, {"DailyApiRequests": {"Max": DAILY_CALLS, "Remaining": max(0, DAILY_CALLS - self._calls)}}

    def _describe_global(self, request: Request, _: bytes) -> Answer:
        sobjects = [sobject.summarise(_data_path(request)) for sobject in OBJECTS]
        return 200, {"encoding": "UTF-8", "maxBatchSize": 200, "sobjects": sobjects}

    def _basic_information(self, request: Request, _: bytes) -> Answer:
        return 200, {"objectDescribe": _sobject(request).summarise(_data_path(request)), "recentItems": []}

    def _describe(self, request: Request, _: bytes) -> Answer:
        return 200, _sobject(request).describe(_data_path(request))

    def _retrieve(self, request: Request, _: bytes) -> Answer:
        sobject = _sobject(request)
        record = self._org.find(sobject, request.path_params["key"])
        names = request.query_params.get("fields")
        fields = _named_fields(sobject, names) if names else sobject.fields
        return 200, _shown(_data_path(request), sobject, fields, record)

    def _create(self, request: Request, body: bytes) -> Answer:
        created = self._org.create(_sobject(request), _values(body))
        return 201, {"id": created, "success": True, "errors": []}

    def _update(self, request: Request, body: bytes) -> Answer:
        self._org.update(_sobject(request), request.path_params["key"], _values(body))
        return 204, None

    def _delete(self, request: Request, _: bytes) -> Answer:
        self._org.delete(_sobject(request), request.path_params["key"])
        return 204, None

    def _query(self, request: Request, _: bytes) -> Answer:
        query = request.query_params.get("q")
        if not query:
            raise ServiceError(400, "MALFORMED_QUERY", "A query string has to be specified")
        selection = select(query, self._org)
        locator = record_id("01g", self._cursors_opened)
        if len(selection.rows) > self._batch_size(request):
            self._cursors_opened += 1
            self._cursors[locator] = selection
            while len(self._cursors) > OPEN_CURSORS:
                del self._cursors[next(iter(self._cursors))]
        return 200, self._page(request, selection, locator, 0)

    def _query_more(self, request: Request, _: bytes) -> Answer:
        locator, _, start = request.path_params["locator"].partition("-")
        selection = self._cursors.get(locator)
        if selection is None or not start.isdecimal() or int(start) >= selection.total:
            raise ServiceError(400, "INVALID_QUERY_LOCATOR", "invalid query locator")
        return 200, self._page(request, selection, locator, int(start))

    def _page(self, request: Request, selection: Selection, locator: str, start: int) -> dict[str, Any]:
        end = start + self._batch_size(request)
        data_path = _data_path(request)
        done = end >= len(selection.rows)
        rows = selection.rows[start:end]
        page: dict[str, Any] = {"totalSize": selection.total, "done": done}
        if not done:
            page["nextRecordsUrl"] = f"{data_path}/query/{locator}-{end}"
        page["records"] = [_shown(data_path, selection.sobject, selection.fields, record) for record in rows]
        return page

    def _batch_size(self, request: Request) -> int:
        match = _BATCH_SIZE.search(request.headers.get("sforce-query-options", ""))
        if match is None:
            return self._page_size
        smallest, greatest = BATCH_SIZES
        return min(max(int(match[1]), smallest), greatest)


class _Resource:
    """One path: the session first, then whether it answers the method, then the answer."""

    def __init__(self, authorise: Callable[[Request], dict[str, str]], handlers: Mapping[str, Handler]) -> None:
        self._authorise = authorise
        self._handlers = dict(handlers)
        if "GET" in handlers:
            self._handlers["HEAD"] = handlers["GET"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        headers = self._authorise(request)
        if not self._handlers:
            raise resource_missing()
        handler = self._handlers.get(request.method)
        if handler is None:
            raise method_not_allowed(request.method, ",".join(sorted(self._handlers)))
        status, body = handler(request, await request.body())
        await _json(status, body, headers)(scope, receive, send)


def refuse(_: Request, error: Exception) -> Response:
    """Answer a ServiceError, or a request that no route takes, as the REST API does."""
    refusal = error if isinstance(error, ServiceError) else resource_missing()
    return _json(refusal.status, refusal.body())


def _json(status: int, body: Any, headers: Mapping[str, str] | None = None) -> Response:
    content = b"" if body is None else encode(body)
    return Response(content, status, headers, media_type="application/json;charset=UTF-8")


async def _versions(_: Request) -> Response:
    versions = [
        {"label": label, "url": f"/services/data/v{version}", "version": version} for version, label in VERSIONS.items()
    ]
    return _json(200, versions)


def _data_path(request: Request) -> str:
    return f"/services/data/v{request.path_params['version']}"


def _sobject(request: Request) -> SObject:
    sobject = find_object(request.path_params["name"])
    if sobject is None:
        raise resource_missing()
    return sobject


def _named_fields(sobject: SObject, names: str) -> tuple[Field, ...]:
    # `Id` comes whether asked for or not.
    fields = []
    for name in (*names.split(","), "Id"):
        field = sobject.field(name.strip())
        if field is None:
            raise ServiceError(400, "INVALID_FIELD", f"No such column '{name}' on sobject of type {sobject.name}")
        fields.append(field)
    return tuple(dict.fromkeys(fields))


def _shown(data_path: str, sobject: SObject, fields: tuple[Field, ...], record: Record) -> dict[str, Any]:
    attributes = {"type": sobject.name, "url": f"{data_path}/sobjects/{sobject.name}/{record['Id']}"}
    return {"attributes": attributes} | {field.name: record[field.name] for field in fields}


def _values(body: bytes) -> dict[str, Any]:
    try:
        return decode(body, type=dict[str, Any])
    except DecodeError as error:
        raise ServiceError(400, "JSON_PARSER_ERROR", str(error)) from None
