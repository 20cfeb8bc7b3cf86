"""Exports: a Bulk API 2.0 job that finds the records, and its results handed over in pages.

The call waits for the job, telling how far it is; cut off, it aborts the job at the service. A job that takes longer
than one call waits for goes on, and the cursor leads back to it. The last page deletes the job.
"""

import contextlib
import csv
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import anyio

from broker.connector import Session, ToolCall, errors
from connectors.salesforce.pages import fitting, limit_of, page_of
from connectors.salesforce.search import compile_soql, select
from connectors.salesforce.service import ask
from connectors.salesforce.snapshot import SnapshotField, json_type
from connectors.salesforce.sobject import SObject

_JOB = re.compile(r"750[A-Za-z0-9]{12}([A-Za-z0-9]{3})?")
_LOCATOR = re.compile(r"[A-Za-z0-9_=-]{1,200}")
_FIRST_WAIT = 0.05  # seconds; twice as long each time, up to the longest
_LONGEST_WAIT = 5.0
_ABORT_SECONDS = 5.0
_ENDED_BADLY = frozenset({"Aborted", "Failed"})


@dataclass(frozen=True, slots=True)
class Export:
    """Exports of one mapped object."""

    of: SObject

    async def export(self, call: ToolCall, session: Session) -> Any:
        """Answer a page of an export, of a new one or of the one that the cursor leads to."""
        scope = self.of.narrowed(call.scope)
        wanted = scope.wanted(call.arguments.get("fields"))
        most = scope.limit(int(call.arguments.get("most", self.of.settings.export_records)))
        chosen = select(self.of.name, scope.fields, {**call.arguments, "fields": list(wanted)}, scope.conditions)
        soql = f"{chosen} LIMIT {most:d}"
        cursor = call.arguments.get("cursor")
        job, locator, skipped = call.cursors.open(soql, cursor) if cursor else (None, "", 0)
        job = job or await self._create(session, soql)
        try:
            total = await self._wait(call, session, job)
            if total is None:
                return {**_nothing_yet(call.cursors.seal(soql, [job, "", 0])), "state": "in_progress"}
            return {
                **await self._page(call, session, wanted, (soql, job, locator, skipped), total),
                "state": "complete",
            }
        except BaseException:
            await self._abort(session, job)
            raise

    def check(self, arguments: Mapping[str, Any]) -> None:
        """Raise `InvalidArguments` for an export that cannot be made."""
        compile_soql(self.of.name, self.of.fields, arguments, 1)

    async def _create(self, session: Session, soql: str) -> str:
        made = await ask(
            session, self.of.version, lambda salesforce: self._jobs(salesforce).create_job("query", query=soql)
        )
        job = made.get("id") if isinstance(made, dict) else None
        if not isinstance(job, str) or not _JOB.fullmatch(job):
            raise errors.UpstreamMalformed(detail="a job without an id")
        return job

    async def _wait(self, call: ToolCall, session: Session, job: str) -> int | None:
        """Return how many records the job found once it is complete; None if it takes longer than a call waits."""
        wait = _FIRST_WAIT
        with anyio.move_on_after(self.of.settings.export_seconds):
            while True:
                told = await ask(
                    session,
                    self.of.version,
                    lambda salesforce: self._jobs(salesforce).get_job(job, is_query=True),
                )
                if not isinstance(told, dict):
                    raise errors.UpstreamMalformed(detail="a job that is no object")
                state, done = told.get("state"), told.get("numberRecordsProcessed")
                if state in _ENDED_BADLY:
                    raise errors.UpstreamFailed(
                        "Salesforce has ended the export; begin again, with less.", detail=state
                    )
                if type(done) is not int:
                    raise errors.UpstreamMalformed(detail="a job that does not say how far it is")
                if state == "JobComplete":
                    await call.emit(done, done)
                    return done
                await call.emit(done, None)
                await anyio.sleep(wait)
                wait = min(2 * wait, _LONGEST_WAIT)
        return None

    async def _page(
        self,
        call: ToolCall,
        session: Session,
        wanted: Mapping[str, SnapshotField],
        place: tuple[str, str, str, int],
        total: int,
    ) -> dict[str, Any]:
        soql, job, locator, skipped = place
        limit = limit_of(call.arguments)
        answer = await ask(
            session,
            self.of.version,
            lambda salesforce: self._jobs(salesforce).get_query_results(job, locator, max_records=skipped + limit),
        )
        following = str(answer["locator"])
        if following and not _LOCATOR.fullmatch(following):
            raise errors.UpstreamMalformed(detail="a locator that is none")
        records = _rows(answer["records"], wanted)[skipped:]
        kept = fitting(records, call.most_bytes)
        if kept < len(records):  # the rest of this page, fetched again
            cursor: str | None = call.cursors.seal(soql, [job, locator, skipped + kept])
        elif following:
            cursor = call.cursors.seal(soql, [job, following, 0])
        else:
            cursor = None
            await self._forget(session, job)
        return page_of(records[:kept], more=cursor is not None, cursor=cursor, total=total)

    async def _abort(self, session: Session, job: str) -> None:
        """End the job at the service, whatever ended the call; one that is complete stays for its cursor."""
        with anyio.CancelScope(shield=True), anyio.move_on_after(_ABORT_SECONDS), contextlib.suppress(errors.Refusal):
            await ask(session, self.of.version, lambda salesforce: self._jobs(salesforce).abort_job(job, is_query=True))

    async def _forget(self, session: Session, job: str) -> None:
        with contextlib.suppress(errors.Refusal):  # the service deletes it by itself after seven days
            await ask(
                session, self.of.version, lambda salesforce: salesforce.restful(f"jobs/query/{job}", method="DELETE")
            )

    def _jobs(self, salesforce: Any) -> Any:
        return getattr(salesforce.bulk2, self.of.name)._client  # noqa: SLF001 - the library's steps, without its waiting


def _nothing_yet(cursor: str) -> dict[str, Any]:
    return page_of([], more=True, cursor=cursor, total=None)


def _rows(text: str, wanted: Mapping[str, SnapshotField]) -> list[dict[str, Any]]:
    """Read a page of CSV: each value of its pinned type, an empty one null."""
    rows = list(csv.reader(io.StringIO(text, newline="")))
    if not rows or rows[0] != list(wanted):
        raise errors.UpstreamMalformed(detail="a page without the columns that were asked for")
    if any(len(row) != len(wanted) for row in rows):
        raise errors.UpstreamMalformed(detail="a row of another length")
    fields = list(wanted.values())
    try:
        return [{field.name: _value(field, one) for field, one in zip(fields, row, strict=True)} for row in rows[1:]]
    except ValueError:
        raise errors.UpstreamMalformed(detail="a value that is none of its pinned type") from None


def _value(field: SnapshotField, text: str) -> Any:
    if text == "":
        return None
    match json_type(field.type):
        case "boolean":
            if text not in {"true", "false"}:
                raise ValueError
            return text == "true"
        case "number":
            return int(text) if re.fullmatch(r"-?[0-9]+", text) else float(text)
    return text
