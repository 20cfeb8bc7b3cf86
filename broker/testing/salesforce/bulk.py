"""Bulk API 2.0: jobs that read or write many records, whose progress is asked for.

Source: Bulk API 2.0 and Bulk API Developer Guide, Query Jobs, Ingest Jobs, "Get Results for a Query Job"
(`Sforce-Locator`, `Sforce-NumberOfRecords`, the locator `null` after the last page). A job here gets on by being
asked: it takes `polls` questions until it is complete. CSV with commas and line feeds only.
"""

import csv
import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from broker.testing.salesforce.errors import ServiceError, resource_missing
from broker.testing.salesforce.ids import record_id
from broker.testing.salesforce.org import Org, written
from broker.testing.salesforce.query import Selection, select
from broker.testing.salesforce.resource import Answer, Handler, sobject_of, values_of
from broker.testing.salesforce.schema import NUMBER_TYPES, SObject
from broker.testing.salesforce.users import USER_IDS

_ENDED: Final = frozenset({"JobComplete", "Aborted", "Failed"})


@dataclass(slots=True)
class Job:
    """One job, what it found or was given, and how far it is."""

    id: str
    operation: str
    sobject: str
    selection: Selection | None = None
    external_id: str = "Id"
    state: str = "UploadComplete"
    asked: int = 0
    rows: list[dict[str, str]] = field(default_factory=list)
    successful: list[dict[str, str]] = field(default_factory=list)
    failed: list[dict[str, str]] = field(default_factory=list)
    created: str = field(default_factory=lambda: written(datetime.now(UTC)))


class BulkApi:
    """The jobs of an org. `jobs` are those that nobody has deleted; `polls` is how often one is asked for."""

    def __init__(self, org: Org) -> None:
        self._org = org
        self._count = 0
        self.jobs: dict[str, Job] = {}
        self.polls = 1

    def resources(self, data: str) -> dict[str, dict[str, Handler]]:
        """List the resources under a data path."""
        job: dict[str, Handler] = {"GET": self._show, "PATCH": self._change, "DELETE": self._delete}
        return {
            f"{data}/jobs/query": {"POST": self._create_query},
            f"{data}/jobs/query/{{job}}": job,
            f"{data}/jobs/query/{{job}}/results": {"GET": self._results},
            f"{data}/jobs/ingest": {"POST": self._create_ingest},
            f"{data}/jobs/ingest/{{job}}": job,
            f"{data}/jobs/ingest/{{job}}/batches": {"PUT": self._upload},
            f"{data}/jobs/ingest/{{job}}/successfulResults": {"GET": self._outcome(lambda job: job.successful)},
            f"{data}/jobs/ingest/{{job}}/failedResults": {"GET": self._outcome(lambda job: job.failed)},
            f"{data}/jobs/ingest/{{job}}/unprocessedRecords": {"GET": self._outcome(lambda _: [])},
        }

    def _create_query(self, _: Request, body: bytes) -> Answer:
        asked = values_of(body)
        if asked.get("operation") not in {"query", "queryAll"} or not isinstance(asked.get("query"), str):
            raise ServiceError(400, "INVALIDJOB", "Unsupported operation, or no query")
        selection = select(asked["query"], self._org)
        if selection.related or not selection.columns:
            raise ServiceError(400, "API_ERROR", "Nested queries and COUNT() are not supported in Bulk API 2.0")
        return 200, self._told(self._new(asked["operation"], selection.sobject.name, selection))

    def _create_ingest(self, _: Request, body: bytes) -> Answer:
        asked = values_of(body)
        sobject = sobject_of(str(asked.get("object")))
        if asked.get("operation") not in {"insert", "update", "upsert", "delete", "hardDelete"}:
            raise ServiceError(400, "INVALIDJOB", "Unsupported operation")
        job = self._new(asked["operation"], sobject.name)
        job.state, job.external_id = "Open", asked.get("externalIdFieldName", "Id")
        return 200, self._told(job)

    def _new(self, operation: str, sobject: str, selection: Selection | None = None) -> Job:
        job = Job(record_id("750", self._count), operation, sobject, selection)
        self._count += 1
        self.jobs[job.id] = job
        return job

    def _show(self, request: Request, _: bytes) -> Answer:
        job = self._job(request)
        if job.state in {"UploadComplete", "InProgress"}:
            job.asked += 1
            job.state = "JobComplete" if job.asked >= self.polls else "InProgress"
            if job.state == "JobComplete" and job.selection is None:
                self._ingest(job)
        return 200, self._told(job) | self._progress(job)

    def _change(self, request: Request, body: bytes) -> Answer:
        job, state = self._job(request), values_of(body).get("state")
        allowed = {"Aborted"} | ({"UploadComplete"} if job.state == "Open" else set())
        if job.state in _ENDED or state not in allowed:
            raise ServiceError(400, "INVALIDJOBSTATE", f"{state} is not a valid state for a job that is {job.state}")
        job.state = str(state)
        return 200, self._told(job)

    def _delete(self, request: Request, _: bytes) -> Answer:
        job = self._job(request)
        if job.state not in _ENDED:
            raise ServiceError(400, "INVALIDJOBSTATE", f"Job is in state {job.state} and cannot be deleted")
        del self.jobs[job.id]
        return 204, None

    def _results(self, request: Request, _: bytes) -> Response:
        job = self._job(request)
        if job.state != "JobComplete" or job.selection is None:
            raise ServiceError(400, "INVALIDJOBSTATE", f"Results are not available for a job that is {job.state}")
        start = self._start(request.query_params.get("locator"))
        end = start + int(request.query_params.get("maxRecords", "50000"))
        selection = job.selection
        rows = [
            [_text(column.value(self._org, record)) for column in selection.columns]
            for record in selection.rows[start:end]
        ]
        headers = {
            "Sforce-Locator": "null" if end >= len(selection.rows) else _locator(end),
            "Sforce-NumberOfRecords": str(len(rows)),
        }
        content = _csv([[column.text for column in selection.columns], *rows])
        return Response(content, 200, headers, media_type="text/csv; charset=UTF-8")

    def _start(self, locator: str | None) -> int:
        if locator is None:
            return 0
        if not locator.startswith("MT") or not locator[2:].isdecimal():
            raise ServiceError(400, "INVALIDLOCATOR", "Invalid locator")
        return int(locator[2:])

    def _upload(self, request: Request, body: bytes) -> Answer:
        job = self._job(request)
        if job.state != "Open":
            raise ServiceError(400, "INVALIDJOBSTATE", f"Job is in state {job.state}")
        job.rows = list(csv.DictReader(io.StringIO(body.decode())))
        return 201, None

    def _outcome(self, rows: Callable[[Job], list[dict[str, str]]]) -> Handler:
        def answer(request: Request, _: bytes) -> Response:
            found = rows(self._job(request))
            header = list(found[0]) if found else ["sf__Id", "sf__Created"]
            return Response(_csv([header, *(list(row.values()) for row in found)]), media_type="text/csv")

        return answer

    def _ingest(self, job: Job) -> None:
        sobject = sobject_of(job.sobject)
        for given in job.rows:
            try:
                identifier, created = self._write(job, sobject, dict(given))
            except ServiceError as refusal:
                job.failed.append({"sf__Id": "", "sf__Error": f"{refusal.code}:{refusal.message}:--"} | given)
            else:
                job.successful.append({"sf__Id": identifier, "sf__Created": str(created).lower()} | given)

    def _write(self, job: Job, sobject: SObject, given: dict[str, str]) -> tuple[str, bool]:
        named = {name: text for name, text in given.items() if name not in {"Id", job.external_id}}
        values = {name: _value(sobject, name, text) for name, text in named.items()}
        match job.operation:
            case "insert":
                return self._org.create(sobject, values), True
            case "update":
                self._org.update(sobject, given["Id"], values)
            case "upsert" if job.external_id != "Id":
                found = self._org.by_external_id(sobject, job.external_id, given[job.external_id])
                if found is None:
                    return self._org.create(sobject, values | {job.external_id: given[job.external_id]}), True
                self._org.update(sobject, found["Id"], values)
                return str(found["Id"]), False
            case "upsert":
                self._org.update(sobject, given["Id"], values)
            case _:
                self._org.delete(sobject, given["Id"])
        return given["Id"], False

    def _job(self, request: Request) -> Job:
        job = self.jobs.get(request.path_params["job"])
        if job is None or (job.selection is not None) != ("/jobs/query/" in request.url.path):
            raise resource_missing()
        return job

    def _told(self, job: Job) -> dict[str, Any]:
        return {
            "id": job.id,
            "operation": job.operation,
            "object": job.sobject,
            "createdById": USER_IDS[0],
            "createdDate": job.created,
            "systemModstamp": job.created,
            "state": job.state,
            "concurrencyMode": "Parallel",
            "contentType": "CSV",
            "apiVersion": 59.0,
            "lineEnding": "LF",
            "columnDelimiter": "COMMA",
        }

    def _progress(self, job: Job) -> dict[str, Any]:
        if job.selection is None:
            done, failed = len(job.successful) + len(job.failed), len(job.failed)
            return {"jobType": "V2Ingest", "numberRecordsProcessed": done, "numberRecordsFailed": failed}
        share = 1.0 if job.state == "JobComplete" else min(job.asked / self.polls, 1.0)
        return {"jobType": "V2Query", "numberRecordsProcessed": int(len(job.selection.rows) * share), "retries": 0}


def _locator(start: int) -> str:
    return f"MT{start}"


def _text(value: Any) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _value(sobject: SObject, name: str, text: str) -> Any:
    named = sobject.field(name)
    if text in {"", "#N/A"} or named is None:
        return None if named else text
    if named.type == "boolean":
        return text.lower() == "true"
    return (int if named.type == "int" else float)(text) if named.type in NUMBER_TYPES else text


def _csv(rows: Iterable[list[str]]) -> str:
    content = io.StringIO()
    csv.writer(content, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(rows)
    return content.getvalue()
