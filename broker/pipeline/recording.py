"""Recording surrounds the call: what must be durable, when, and that nothing is released before it is."""

import asyncio
import hashlib
import hmac
import logging
import re
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import msgspec
from opentelemetry import trace

from broker.audit import Record, new_id, timestamp
from broker.catalog import CatalogTool
from broker.documents import Snapshot
from broker.egress import Session
from broker.errors import (
    AuditUnavailable,
    InternalError,
    LeakBlocked,
    Refusal,
    ResultTooLarge,
    UpstreamInterrupted,
    UpstreamTimeout,
)
from broker.identity import Agent
from broker.pipeline.request import Request
from broker.policy import Decision
from broker.redact import Released
from broker.store import Pending, Store, Transaction
from broker.vault import Opened

logger = logging.getLogger(__name__)

Status = Literal["released", "refused", "failed", "withheld", "cancelled", "outcome_unknown"]
_ENCODER = msgspec.json.Encoder(order="deterministic")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}")  # W3C Trace Context §3.2
_LONGEST_TEXT = 200  # characters of anything that a caller may choose freely
_RETRY_SECONDS = 1.0


class Recorder:
    """Opens the story of each call, and settles what could not be written when its call ended."""

    def __init__(self, store: Store, digest_key: bytes) -> None:
        self.store = store
        self._digest_key = digest_key
        self._owed: list[Callable[[Transaction], None]] = []

    def recording(self, request: Request, documents: Snapshot) -> "Story":
        """Return the story of one call, to be entered around it."""
        return Story(self, request, documents)

    def digest(self, data: bytes) -> str:
        """Return a keyed digest: equal data can be recognised, and no dictionary finds what it was."""
        return hmac.digest(self._digest_key, data, hashlib.sha256).hex()

    async def note(self, kind: str, **facts: Any) -> None:
        """Record an event that is no call; durable once it returns."""
        record = {"id": new_id(), "time": timestamp(), "kind": kind, **facts}
        await self.store.commits.commit(lambda change: self.store.trail.append(change, record))

    async def recover(self) -> list[str]:
        """Finish, as `outcome_unknown`, the calls that a dead process left open; return their ids."""
        unfinished = await asyncio.to_thread(self.store.read, self.store.trail.open_calls)

        def change(transaction: Transaction) -> None:
            for call_id, decided in unfinished:
                outcome = {"status": "outcome_unknown", "code": None, "decided": decided, "found_at_start": True}
                self.store.trail.append(transaction, _record("finished", call_id, {"outcome": outcome}))
                self.store.trail.close_call(transaction, call_id)

        if unfinished:
            await self.store.commits.commit(change)
        return [call_id for call_id, _ in unfinished]

    def owe(self, change: Callable[[Transaction], None]) -> None:
        """Keep a *finished* that could not be written, to be written as soon as the store takes it."""
        self._owed.append(change)

    async def keep_settling(self) -> None:
        """Write what is owed, for ever."""
        while True:
            await asyncio.sleep(_RETRY_SECONDS)
            await self.settle()

    async def settle(self) -> None:
        """Write what is owed, if the store takes it now."""
        while self._owed:
            try:
                await self.store.commits.commit(self._owed[0])
            except AuditUnavailable:
                return
            self._owed.pop(0)


class Story:
    """Everything one call says of itself, and the two commits that make it evidence.

    Its outcome is `cancelled` until something better is true.
    """

    def __init__(self, recorder: Recorder, request: Request, documents: Snapshot) -> None:
        self.call_id = new_id()
        self.text = b""
        self.arguments = _encoded(request.arguments)
        self._recorder = recorder
        self._request = request
        self._documents = documents
        self._requested_at = timestamp()
        self._started = time.perf_counter_ns()
        self._steps: dict[str, int] = {}
        self._agent: Agent | None = None
        self._tool: CatalogTool | None = None
        self._decision: Decision | None = None
        self._credential: Opened | None = None
        self._session: Session | None = None
        self._begun: Pending[None] | None = None
        self._outcome: dict[str, Any] = {"status": "cancelled", "code": None}

    # What the pipeline tells, step by step

    def by(self, agent: Agent) -> Agent:
        """Note whose call it is."""
        self._agent = agent
        return agent

    def on(self, tool: CatalogTool) -> None:
        """Note what is called."""
        self._tool = tool

    def decided(self, decision: Decision) -> Decision:
        """Note the decision."""
        self._decision = decision
        self._mark("decided")
        return decision

    async def begin(self) -> None:
        """Make *requested* and *decided* durable; raise `AuditUnavailable` if they cannot be."""
        self._begun = self._recorder.store.commits.submit(self._append_beginning)
        await self._begun.done
        self._mark("recorded")

    def with_credential(self, credential: Opened, session: Session) -> None:
        """Note which credential is used, and the session that knows whether anything was sent."""
        self._credential = credential
        self._session = session

    def executed(self) -> None:
        """Note that the service has answered."""
        self._mark("executed")

    def released(self, result: Released) -> None:
        """Note what is to be released."""
        self.text = result.text
        self._outcome = {
            "status": "released",
            "code": None,
            "result_bytes": len(result.text),
            "result_hmac": self._recorder.digest(result.text),
            "credentials_removed": result.removed,
        }

    # What surrounds the call

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        refusal = self._conclude(error)
        finished = self._recorder.store.commits.submit(self._append_end)  # at once, whatever ended the call
        self._tell_span()
        if error is not None and not isinstance(error, Exception):
            return  # cut off: nobody waits for an answer
        try:
            await finished.done
        except Refusal as unrecorded:  # withheld: what cannot be recorded is not released
            if self._begun is not None and self._begun.applied:
                self._recorder.owe(self._append_end)
            unrecorded.call_id = self.call_id
            raise unrecorded from None
        if refusal is not None:
            raise refusal from None

    def _conclude(self, error: BaseException | None) -> Refusal | None:
        """Settle the outcome; return the refusal to raise, which names the call and nothing inside the broker."""
        if error is None:
            return None
        sent = self._session is not None and self._session.sent
        if not isinstance(error, Exception):
            self._outcome = {"status": "outcome_unknown" if sent else "cancelled", "code": None}
            return None
        refusal = error if isinstance(error, Refusal) else _internal(error, self.call_id)
        refusal.call_id = self.call_id
        status: Status = "failed"
        if self._begun is None:
            status = "refused"
        elif isinstance(error, UpstreamTimeout | UpstreamInterrupted) and sent:
            status = "outcome_unknown"
        elif isinstance(error, LeakBlocked | ResultTooLarge):
            status = "withheld"
        self._outcome = {"status": status, "code": refusal.code, "detail": _short(refusal.detail)}
        return refusal

    def _append_beginning(self, transaction: Transaction) -> None:
        trail = self._recorder.store.trail
        trail.append(transaction, self._requested())
        if self._decision is not None:
            decided = self._decided(self._decision)
            trail.append(transaction, decided)
            if self._decision.effect == "permit":
                trail.open_call(transaction, self.call_id, decided["time"])

    def _append_end(self, transaction: Transaction) -> None:
        if self._begun is None or not self._begun.applied:
            self._append_beginning(transaction)
        self._recorder.store.trail.append(transaction, self._finished())
        self._recorder.store.trail.close_call(transaction, self.call_id)

    # The records

    def _requested(self) -> Record:
        request, agent, tool = self._request, self._agent, self._tool
        identity, origin = request.identity, request.origin
        action: dict[str, Any] = {"tool": _short(request.tool)}
        if tool is not None:
            action |= {"resource": tool.resource, "action": tool.action, "connector": tool.connector}
        if self.arguments is not None:
            action |= {
                "arguments_bytes": len(self.arguments),
                "arguments_hmac": self._recorder.digest(self.arguments),
            }
        return _record(
            "requested",
            self.call_id,
            {
                "time": self._requested_at,
                "run_id": _run_id(origin.traceparent),
                "traceparent": _traceparent(origin.traceparent),
                "identity": {
                    "spiffe_id": identity.spiffe_id,
                    "method": identity.method,
                    "assurance": identity.assurance,
                    "proof": identity.proof,
                    "key_id": identity.key_id,
                    "token_id": identity.token_id,
                    "agent": agent.name if agent else None,
                    "owner": agent.owner if agent else None,
                    "team": agent.team if agent else None,
                    "environment": agent.environment if agent else None,
                    "deployment": agent.deployment if agent else None,
                },
                "action": action,
                "origin": {
                    "transport": origin.transport,
                    "source": _short(origin.source),
                    "client": _short(origin.client),
                    "client_version": _short(origin.client_version),
                    "protocol": _short(origin.protocol),
                },
                "documents": self._documents.digest,
            },
        )

    def _decided(self, decision: Decision) -> Record:
        rules = [{"policy": rule.policy, "sha256": rule.digest, "place": rule.place} for rule in decision.rules]
        policy = {
            "decision": decision.effect,
            "reason": decision.reason,
            "rules": rules,
            "policies": list(decision.policies),
        }
        return _record("decided", self.call_id, {"policy": policy})

    def _finished(self) -> Record:
        self._mark("finished")
        return _record(
            "finished",
            self.call_id,
            {
                "outcome": {**self._outcome, "steps_us": self._steps},
                "credential": self._credential.record() if self._credential else None,
            },
        )

    def _mark(self, step: str) -> None:
        """Note how long after its start the call reached a step, in microseconds."""
        self._steps[step] = (time.perf_counter_ns() - self._started) // 1000

    def _tell_span(self) -> None:
        """Enrich the door's span, if there is one, with what links it to the trail."""
        span = trace.get_current_span()
        if span.is_recording():
            span.set_attribute("aam.call_id", self.call_id)
            span.set_attribute("aam.outcome", self._outcome["status"])
            if self._outcome["code"]:
                span.set_attribute("aam.code", self._outcome["code"])
            if self._decision is not None:
                span.set_attribute("aam.decision", self._decision.effect)
                span.set_attribute("aam.policies", list(self._decision.policies))


def _record(kind: str, call_id: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    return {"id": new_id(), "time": timestamp(), "kind": kind, "call_id": call_id, **facts}


def _encoded(arguments: Mapping[str, Any]) -> bytes | None:
    try:
        return _ENCODER.encode(arguments)
    except (UnicodeEncodeError, RecursionError):
        return None


def _internal(error: Exception, call_id: str) -> InternalError:
    """Tell the operator where it broke; an exception's own text may hold anything, so it is not kept."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{type(error).__name__} at {Path(frame.filename).name}:{frame.lineno}"
    logger.error("a call failed inside the broker", extra={"call_id": call_id, "place": place})
    return InternalError(detail=place)


def _short(text: str | None) -> str | None:
    """Bound what a caller may choose, and replace what has no encoding."""
    return None if text is None else text[:_LONGEST_TEXT].encode("utf-8", "replace").decode()


def _traceparent(text: str | None) -> str | None:
    return text if text is not None and _TRACEPARENT.fullmatch(text) else None


def _run_id(text: str | None) -> str | None:
    found = _TRACEPARENT.fullmatch(text) if text is not None else None
    return found[1] if found else None
