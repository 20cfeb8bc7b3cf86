"""A broker's life: the doors open, calls are served, documents come and go, and it ends in order."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from functools import partial

import anyio

import broker
from broker.app.doors import Doors, until
from broker.app.options import Serving
from broker.app.parts import Parts
from broker.app.process import settle_garbage
from broker.app.status import serving
from broker.documents import Invalid, Snapshot
from broker.errors import AuditUnavailable
from broker.evidence.differences import fitting
from broker.evidence.history import names_of_changed

logger = logging.getLogger(__name__)

_DRAIN_SECONDS = 10.0
_AGAIN_SECONDS = 1.0
_CUT_EVERY = 1.0  # seconds
_MOST_LOGGED = 100  # mistakes
_LARGEST_LIST = 20_000  # bytes, at most, of a list of names in a record


async def live(parts: Parts, stop: asyncio.Event, ready: Callable[[Serving], None]) -> None:
    """Serve until `stop`; then let running calls end, refuse new ones, and close the trail."""
    with contextlib.closing(Doors(parts)) as doors:
        changes = Changes(parts, doors)
        await parts.history.in_force(
            "started",
            parts.documents.current,
            version=broker.__version__,
            development=parts.options.development,
            unfinished_calls=len(parts.unfinished),
        )
        parts.documents.let_go()
        async with doors.open(), anyio.create_task_group() as tasks:
            tasks.start_soon(
                _keep_up, partial(parts.documents.watch, changes.loaded, changes.refused, changes.in_force)
            )
            tasks.start_soon(_keep_up, parts.recorder.keep_settling)
            tasks.start_soon(_keep_up, parts.refused.keep_flushing)
            tasks.start_soon(_keep_up, parts.heads.keep)
            tasks.start_soon(_keep_up, changes.keep_cutting)
            tasks.start_soon(_keep_up, parts.webhooks.keep_sending)
            tasks.start_soon(_keep_up, parts.budgets.keep_announcing)
            tasks.start_soon(_keep_up, parts.reconciler.keep_asking)
            tasks.start_soon(_keep_up, parts.indexer.keep_up)
            settle_garbage()
            logger.info("serving", extra={"documents": parts.documents.current.digest[:12]})
            ready(serving(parts, doors.url, doors.agents_path, doors.operators_path, doors.proxy, doors.metrics))
            await stop.wait()
            cut = await _drain(parts)
            tasks.cancel_scope.cancel()
    with contextlib.suppress(AuditUnavailable):
        await parts.refused.flush()
        await parts.recorder.settle()
        await parts.recorder.note("stopped", calls_cut=cut)


class Changes:
    """Puts changed documents on record before they come into force, and mistakes in them too."""

    def __init__(self, parts: Parts, doors: Doors) -> None:
        self._parts = parts
        self._doors = doors

    async def loaded(self, snapshot: Snapshot, restart_needed: bool) -> None:  # noqa: FBT001 - watch's own signature
        """Record a new set; raises `AuditUnavailable` if that cannot be done, and then it does not come into force."""
        await self._parts.history.in_force(
            "documents_loaded",
            snapshot,
            changed=names_of_changed(self._parts.documents.current.files, snapshot.files),
            restart_needed=restart_needed,
        )
        self._parts.trust_snapshot(snapshot)
        await self._parts.read_prices(snapshot)
        logger.info("documents loaded", extra={"digest": snapshot.digest[:12], "warnings": len(snapshot.warnings)})
        if restart_needed:
            logger.warning("the Broker document changed; its changes take effect at the next start")

    async def in_force(self, snapshot: Snapshot) -> None:
        """Cut what is open and would be denied now, and tell those agents whose tools are others now."""
        await self._doors.cut_barred()
        self._parts.server.beside.subscriptions.end_denied()
        commands = {
            name: one.document.process.as_command(one.document.limits.response_bytes)
            for name, one in snapshot.connections.items()
            if one.document.process is not None
        }
        await self._parts.egress.processes.keep_only(commands)
        await self._parts.server.listeners.look()

    async def keep_cutting(self) -> None:
        """End every second, for ever, what is open and would be denied now: time ends them too, and grants go."""
        while True:
            await asyncio.sleep(_CUT_EVERY)
            await self._doors.cut_barred()
            self._parts.server.beside.subscriptions.end_denied()

    async def refused(self, invalid: Invalid) -> None:
        """Record and log mistakes; the set in force stays. Raises `AuditUnavailable` if they cannot be recorded."""
        await self._parts.recorder.note(
            "documents_refused",
            in_force=self._parts.documents.current.digest,
            count=len(invalid.problems),
            mistakes=fitting((f"{one.file}:{one.line} {one.key}" for one in invalid.problems), _LARGEST_LIST),
        )
        logger.error("documents refused, the set in force stays", extra={"mistakes": len(invalid.problems)})
        for problem in invalid.problems[:_MOST_LOGGED]:
            logger.error("mistake in a document", extra={"at": problem})


async def _keep_up(job: Callable[[], Awaitable[None]]) -> None:
    """Run what goes on beside the calls; if it fails, say so and begin it again: calls do not depend on it."""
    while True:
        try:
            await job()
        except Exception:
            logger.exception("a background task failed; it begins again")
        await asyncio.sleep(_AGAIN_SECONDS)


async def _drain(parts: Parts) -> int:
    """Refuse new calls and wait for those that run; return how many did not end in time."""
    parts.pipeline.draining = True
    parts.server.beside.subscriptions.end_all()
    logger.info("draining", extra={"running": parts.recorder.running})
    await until(lambda: parts.recorder.running == 0, _DRAIN_SECONDS)
    await asyncio.sleep(0.1)  # what has just been released is still to be sent
    return parts.recorder.running
