"""The data resources under `/services/data`: versions, describe, records, queries, searches and limits.

Source: REST API Developer Guide, Reference. Everything but the list of versions demands a live session. Answers to
authorised calls carry `Sforce-Limit-Info`; over the day's allowance every call is refused, as an organisation without
overage is. Writes are made for real and at once; deleting is for good.
"""

import re
from types import MappingProxyType
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from broker.testing.salesforce import records
from broker.testing.salesforce.bulk import BulkApi
from broker.testing.salesforce.composite import composite
from broker.testing.salesforce.errors import ServiceError, resource_missing
from broker.testing.salesforce.ids import record_id
from broker.testing.salesforce.oauth import AuthorizationServer
from broker.testing.salesforce.objects import OBJECTS, children_of
from broker.testing.salesforce.org import Org
from broker.testing.salesforce.query import Selection, select
from broker.testing.salesforce.resource import Answer, Handler, Resource, as_json, data_path, sobject_of, values_of
from broker.testing.salesforce.schema import Field, SObject
from broker.testing.salesforce.search import search
from broker.testing.salesforce.shown import row, shown

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


class DataApi:
    """The org as the REST API shows it; `page_size` holds where a query names no batch size.

    `daily_calls` is the day's allowance, `calls` how many were made; a test may change both.
    """

    def __init__(self, org: Org, authorization: AuthorizationServer, page_size: int) -> None:
        self._org = org
        self._authorization = authorization
        self._page_size = page_size
        self.bulk = BulkApi(org)
        self.calls = 0
        self.daily_calls = DAILY_CALLS
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
            f"{data}/search": {"GET": self._search},
            f"{data}/composite": {"POST": self._composite},
            **self.bulk.resources(data),
            f"{data}/sobjects": {"GET": self._describe_global},
            f"{data}/sobjects/{{name}}": {"GET": self._basic_information, "POST": self._create},
            f"{data}/sobjects/{{name}}/describe": {"GET": self._describe},
            f"{data}/sobjects/{{name}}/{{key}}": {
                "GET": self._retrieve,
                "PATCH": self._update,
                "DELETE": self._delete,
            },
            f"{data}/sobjects/{{name}}/{{key}}/{{value:path}}": {
                "GET": self._retrieve_external,
                "PATCH": self._upsert,
                "DELETE": self._delete_external,
            },
            f"{data}/{{rest:path}}": {},
        }
        versions = [Route(f"/services/data{slash}", _versions) for slash in ("", "/")]
        return versions + [
            Route(path + slash, Resource(self._authorise, handlers))
            for path, handlers in resources.items()
            for slash in ("", "/")
        ]

    def _authorise(self, request: Request) -> dict[str, str]:
        self._authorization.require_session(request.headers.get("authorization"))
        if request.path_params["version"] not in VERSIONS:
            raise resource_missing()
        if self.calls >= self.daily_calls:
            raise ServiceError(403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.")
        self.calls += 1
        return {"Sforce-Limit-Info": f"api-usage={self.calls}/{self.daily_calls}"}

    def _resources(self, request: Request, _: bytes) -> Answer:
        names = ("composite", "jobs", "limits", "query", "search", "sobjects")
        return 200, {name: f"{data_path(request)}/{name}" for name in names}

    def _limits(self, _: Request, __: bytes) -> Answer:
        remaining = max(0, self.daily_calls - self.calls)
        return 200, {"DailyApiRequests": {"Max": self.daily_calls, "Remaining": remaining}}

    def _describe_global(self, request: Request, _: bytes) -> Answer:
        sobjects = [sobject.summarise(data_path(request)) for sobject in OBJECTS]
        return 200, {"encoding": "UTF-8", "maxBatchSize": 200, "sobjects": sobjects}

    def _basic_information(self, request: Request, _: bytes) -> Answer:
        return 200, {"objectDescribe": _sobject(request).summarise(data_path(request)), "recentItems": []}

    def _describe(self, request: Request, _: bytes) -> Answer:
        sobject = _sobject(request)
        return 200, sobject.describe(data_path(request), children_of(sobject))

    # --- Records -----------------------------------------------------------------------------------------------------

    def _retrieve(self, request: Request, _: bytes) -> Answer:
        sobject = _sobject(request)
        record = self._org.find(sobject, request.path_params["key"])
        records.check(record, request.headers)
        return 200, shown(data_path(request), sobject, _asked_for(request, sobject), record)

    def _retrieve_external(self, request: Request, _: bytes) -> Answer:
        sobject = _sobject(request)
        record = records.by_external_id(self._org, sobject, *_external(request))
        return 200, shown(data_path(request), sobject, _asked_for(request, sobject), record)

    def _create(self, request: Request, body: bytes) -> Answer:
        return records.create(self._org, _sobject(request), values_of(body))

    def _update(self, request: Request, body: bytes) -> Answer:
        key = request.path_params["key"]
        return records.update(self._org, _sobject(request), key, values_of(body), request.headers)

    def _upsert(self, request: Request, body: bytes) -> Answer:
        sobject = _sobject(request)
        return records.upsert(self._org, sobject, *_external(request), values_of(body), request.headers)

    def _delete(self, request: Request, _: bytes) -> Answer:
        return records.delete(self._org, _sobject(request), request.path_params["key"], request.headers)

    def _delete_external(self, request: Request, _: bytes) -> Answer:
        sobject = _sobject(request)
        record = records.by_external_id(self._org, sobject, *_external(request))
        return records.delete(self._org, sobject, record["Id"], request.headers)

    def _composite(self, _: Request, body: bytes) -> Answer:
        return 200, composite(self._org, values_of(body))

    # --- Queries and searches ----------------------------------------------------------------------------------------

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
        done = end >= len(selection.rows)
        page: dict[str, Any] = {"totalSize": selection.total, "done": done}
        if not done:
            page["nextRecordsUrl"] = f"{data_path(request)}/query/{locator}-{end}"
        page["records"] = [row(data_path(request), selection, record) for record in selection.rows[start:end]]
        return page

    def _batch_size(self, request: Request) -> int:
        match = _BATCH_SIZE.search(request.headers.get("sforce-query-options", ""))
        if match is None:
            return self._page_size
        smallest, greatest = BATCH_SIZES
        return min(max(int(match[1]), smallest), greatest)

    def _search(self, request: Request, _: bytes) -> Answer:
        asked = request.query_params.get("q")
        if not asked:
            raise ServiceError(400, "MALFORMED_SEARCH", "No search string has been specified")
        found = [
            row(data_path(request), selection, record)
            for selection in search(asked, self._org)
            for record in selection.rows
        ]
        return 200, {"searchRecords": found}


async def _versions(_: Request) -> Response:
    versions = [
        {"label": label, "url": f"/services/data/v{version}", "version": version} for version, label in VERSIONS.items()
    ]
    return as_json(200, versions)


def _sobject(request: Request) -> SObject:
    return sobject_of(request.path_params["name"])


def _external(request: Request) -> tuple[str, str]:
    return request.path_params["key"], request.path_params["value"].removesuffix("/")


def _asked_for(request: Request, sobject: SObject) -> tuple[Field, ...]:
    names = request.query_params.get("fields")
    return _named_fields(sobject, names) if names else sobject.fields


def _named_fields(sobject: SObject, names: str) -> tuple[Field, ...]:
    # `Id` comes whether asked for or not.
    fields = []
    for name in (*names.split(","), "Id"):
        field = sobject.field(name.strip())
        if field is None:
            raise ServiceError(400, "INVALID_FIELD", f"No such column '{name}' on sobject of type {sobject.name}")
        fields.append(field)
    return tuple(dict.fromkeys(fields))
