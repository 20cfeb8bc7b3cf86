"""Recording surrounds the call: what must be durable, when, and that nothing is released before it is."""

import asyncio
import concurrent.futures
import logging
import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import anyio
import msgspec
from opentelemetry import trace

from broker.audit import new_id, timestamp
from broker.control import Asked
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
from broker.pipeline.ended import Ended
from broker.pipeline.passed import Passed
from broker.pipeline.payloads import Payloads
from broker.pipeline.recorder import Change, Recorder
from broker.pipeline.records import Called, action_of, decided, finished, requested, scope_text, short
from broker.pipeline.request import ModelRequest, Request
from broker.policy import UNNARROWED, Decision
from broker.redact import Released
from broker.store import Pending, Transaction
from broker.vault import Credential

logger = logging.getLogger(__name__)

Status = Literal["released", "refused", "failed", "withheld", "cancelled", "outcome_unknown"]
_ENCODER = msgspec.json.Encoder(order="deterministic")


class Story:
    """Everything one call says of itself, and the two commits that make it evidence.

    Its outcome is `cancelled` until something better is true. `released` means that the answer was let go as soon as
    this was on disk; whether it arrived, nobody here can know.
    """

    def __init__(
        self, recorder: Recorder, request: Request | ModelRequest, documents: Snapshot, text: bytes | None = None
    ) -> None:
        """Begin; `text` is what was asked as it came, where that is JSON already."""
        self.call_id = request.call_id if isinstance(request, ModelRequest) else new_id()
        self.text = b""
        self.arguments = _encoded(request.arguments) if text is None else text
        self.facts: dict[str, Any] = {}
        """What the end says besides how it ended, whatever it is."""
        self._recorder = recorder
        self._request = request
        self._documents = documents
        self._requested_at = timestamp()
        self._started = time.perf_counter_ns()
        self._steps: dict[str, int] = {}
        self._agent: Agent | None = None
        self._tool: Called | None = None
        self._payloads = Payloads(recorder, self.call_id, ())
        self._decision: Decision | None = None
        self._asked: Asked | None = None
        self._credential: Credential | None = None
        self._session: Session | None = None
        self._begun: Pending[None] | None = None
        self._end: Pending[None] | None = None
        self.tries: list[dict[str, Any]] = []
        """How often the service was asked in vain before it was asked again."""
        self._settlements: list[Change] = []
        self._outcome: dict[str, Any] = {"status": "cancelled", "code": None}
        self.asked_of_client: Counter[str] = Counter()
        """What a server behind the tool has asked and told the client, by MCP's names of it."""

    # What the pipeline tells, step by step

    def by(self, agent: Agent) -> Agent:
        """Note whose call it is."""
        self._agent = agent
        return agent

    def on(self, tool: Called, recorded: Sequence[str]) -> None:
        """Note what is called, and what of the call the agent's policies have recorded encrypted."""
        self._tool = tool
        self._payloads = Payloads(self._recorder, self.call_id, recorded)

    def decided(self, decision: Decision) -> Decision:
        """Note the decision, and seal the arguments that are to be recorded; raises `AuditUnavailable`."""
        self._decision = decision
        if self._payloads.wants_arguments:
            self._payloads.take_arguments(
                self._request.arguments, self.arguments, self._documents.broker.caps.argument_bytes
            )
        self._mark("decided")
        for failed in decision.failed:
            logger.warning(
                "a rule cannot be evaluated",
                extra={"call_id": self.call_id, "policy": failed.rule.policy, "place": failed.rule.place},
            )
        return decision

    def asked(self, asked: Asked) -> Decision:
        """Note what a person has decided, or is asked to decide; raise `ApprovalNeeded` or `ApprovalRefused`."""
        self._asked = asked
        self._decision = asked.decision
        asked.enforce()
        return self._decision

    async def begin(self, *holds: Change) -> None:
        """Make *requested* and *decided* durable, in one commit with all that is held for the call.

        Raises what a hold raises, and then nothing is held; `AuditUnavailable` if the beginning cannot be recorded.
        """
        if self._asked is not None:
            holds = (self._asked.hold, *holds)

        def begin(transaction: Transaction) -> None:
            for hold in holds:
                hold(transaction)
            self._append_beginning(transaction)

        self._begun = self._recorder.store.commits.submit(begin)
        await self._recorder.store.commits.durable(self._begun)
        self._mark("recorded")

    def settles(self, settlement: Change) -> None:
        """Have a change made in the commit of the end, whatever the end is; made again, it must change nothing."""
        self._settlements.append(settlement)

    def with_credential(self, credential: Credential, session: Session) -> None:
        """Note which credential is used, and the session that knows whether anything was sent."""
        self._credential = credential
        self._session = session

    def executed(self) -> None:
        """Note that the service has answered."""
        self._mark("executed")

    def released(self, result: Released) -> None:
        """Note what is to be released, and seal it if it is to be recorded; raises `AuditUnavailable`."""
        self._payloads.take_result(result.text)
        self.text = result.text
        self._outcome = {
            "status": "released",
            "code": None,
            "result_bytes": len(result.text),
            "result_hmac": self._recorder.digest(result.text),
            "credentials_removed": result.removed,
        }
        if self._payloads.of_result:
            self._outcome["sealed"] = [payload.record() for payload in self._payloads.of_result]

    def answered(self, passed: Passed) -> None:
        """Note what a model's answer was, and seal it if it is to be recorded; raises `AuditUnavailable`."""
        self._payloads.take_result(passed.text)
        self._outcome = {"status": "released", "code": None, "result_bytes": passed.size, "result_hmac": passed.digest}
        if self._payloads.of_result:
            self._outcome["sealed"] = [payload.record() for payload in self._payloads.of_result]

    def passing(self) -> Passed:
        """Return what counts the bytes of an answer as they pass; they are kept only where they are to be recorded."""
        return Passed(self._recorder.digesting(), keep=self._payloads.wants_result)

    @property
    def begun(self) -> bool:
        """Whether its beginning is durable."""
        return self._begun is not None and self._begun.applied

    # What surrounds the call

    async def __aenter__(self) -> Self:
        self._recorder.running += 1
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        refusal = self._conclude(error)
        end = self._end = self._recorder.store.commits.submit(self._append_end)  # at once, whatever ended the call
        end.done.add_done_callback(self._ended)
        self._tell_span()
        if refusal is None and error is not None:  # cut off: nobody waits for an answer
            if isinstance(error, concurrent.futures.CancelledError):
                raise asyncio.CancelledError from None  # as a worker thread calls the same thing
            return
        try:
            await self._recorder.store.commits.durable(end)  # who gives up waiting does not undo it
        except Exception as lost:  # noqa: BLE001 - withheld: what cannot be recorded is not released
            self._withhold()
            unrecorded = lost if isinstance(lost, AuditUnavailable) else AuditUnavailable(detail=type(lost).__name__)
            unrecorded.call_id = self.call_id
            raise unrecorded from None
        if refusal is not None:
            raise refusal from None

    def _conclude(self, error: BaseException | None) -> Refusal | None:
        """Settle the outcome; return the refusal to raise, which names the call and nothing inside the broker."""
        if error is None:
            return None
        sent = self._session is not None and self._session.sent
        if _is_cut(error):
            self._outcome = {"status": "outcome_unknown" if sent else "cancelled", "code": None}
            return None
        refusal = error if isinstance(error, Refusal) and error.code else _internal(error, self.call_id)
        refusal.call_id = self.call_id
        status: Status = "failed"
        if "recorded" not in self._steps:  # its beginning was not known to be durable, so nothing was done
            status = "refused"
        elif "executed" in self._steps or isinstance(error, LeakBlocked | ResultTooLarge):
            status = "withheld"
        elif sent and isinstance(refusal, UpstreamTimeout | UpstreamInterrupted | InternalError):
            status = "outcome_unknown"
        self._outcome = {"status": status, "code": refusal.code, "detail": short(refusal.detail)}
        return refusal

    def _append_beginning(self, transaction: Transaction) -> None:
        trail, size = self._recorder.store.trail, len(self.arguments or b"")
        digest = None if self.arguments is None else self._recorder.digest(self.arguments)
        sealed = [payload.record() for payload in self._payloads.of_arguments]
        action = action_of(self._request.tool, self._tool, digest, size, sealed)
        identity, origin = self._request.identity, self._request.origin
        documents = self._documents.digest
        trail.append(
            transaction, requested(self.call_id, self._requested_at, identity, self._agent, action, origin, documents)
        )
        self._payloads.keep(transaction, self._payloads.of_arguments)
        if self._decision is not None:
            record = decided(self.call_id, self._decision, self._scope_digest(), self._asked)
            trail.append(transaction, record)
            if self._decision.effect == "permit":
                trail.open_call(transaction, self.call_id, record["time"])

    def _scope_digest(self) -> str | None:
        if self._decision is None or self._decision.scope == UNNARROWED:
            return None
        return self._recorder.digest(scope_text(self._decision.scope))

    def _append_end(self, transaction: Transaction) -> None:
        if self._begun is None or not self._begun.applied:
            self._append_beginning(transaction)
        for settlement in self._settlements:
            settlement(transaction)
        self._mark("finished")
        outcome = {**self._outcome, **self.facts, "steps_us": self._steps}
        if self.asked_of_client:
            outcome["asked_of_client"] = dict(self.asked_of_client)
        if self.tries:
            outcome["tries"] = self.tries
        trail, credential = self._recorder.store.trail, self._credential.record() if self._credential else None
        try:
            trail.append(transaction, finished(self.call_id, outcome, credential))
        except ValueError:  # what a service says of a credential may be more than a record holds
            trail.append(transaction, finished(self.call_id, outcome, None))
        trail.close_call(transaction, self.call_id)
        if self._asked is not None:
            self._asked.keep(transaction)
        if "sealed" in outcome:
            self._payloads.keep(transaction, self._payloads.of_result)

    def _append_end_again(self, transaction: Transaction) -> None:
        """Append the end that was said to be lost, unless it stands: then the answer was withheld all the same."""
        if self._end is None or not self._end.applied:
            self._append_end(transaction)

    def _ended(self, end: "asyncio.Future[None]") -> None:
        """See to it that a call which may have had effects is recorded later, if it cannot be now."""
        self._recorder.running -= 1
        lost = not end.cancelled() and end.exception() is not None
        begun = self._begun is not None and self._begun.applied
        if self._asked is not None:
            self._asked.settled(durable=begun or (self._asked.row.status == "pending" and not lost))
        if lost and begun:
            self._withhold()
            self._recorder.owe(self._append_end_again)
        self._recorder.watch(self._what_it_was(lost=lost))

    def _what_it_was(self, *, lost: bool) -> Ended:
        return Ended(
            isinstance(self._request, ModelRequest),
            self._agent,
            self._tool,
            self._decision,
            self._outcome["status"],
            AuditUnavailable.code if lost else self._outcome["code"],
            self.facts.get("attempts", ()),
            self.tries,
            self._steps,
            (time.perf_counter_ns() - self._started) / 1e9,
        )

    def _withhold(self) -> None:
        """Say of a result that was to be released that it is not, as far as that is not on its way to disk already."""
        if self._outcome["status"] == "released":
            self._outcome = {"status": "withheld", "code": AuditUnavailable.code}

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


def _encoded(arguments: Mapping[str, Any]) -> bytes | None:
    try:
        return _ENCODER.encode(arguments)
    except (ValueError, OverflowError, RecursionError):
        return None


def _is_cut(error: BaseException) -> bool:
    """Tell whether somebody has ended the call; a connector that raises what looks like it has only failed."""
    if isinstance(error, GeneratorExit):
        return True
    if not isinstance(error, asyncio.CancelledError | concurrent.futures.CancelledError):
        return False
    task = asyncio.current_task()
    asked = task is not None and task.cancelling() > 0
    return asked or anyio.current_effective_deadline() == -math.inf  # a scope around it has been cancelled


def _internal(error: BaseException, call_id: str) -> InternalError:
    """Tell the operator where it broke; an exception's own text may hold anything, so it is not kept."""
    step = error.__traceback__
    while step is not None and step.tb_next is not None:
        step = step.tb_next
    where = f"{Path(step.tb_frame.f_code.co_filename).name}:{step.tb_lineno}" if step else "?"
    place = f"{type(error).__name__} at {where}"
    logger.error("a call failed inside the broker", extra={"call_id": call_id, "place": place})
    return InternalError(detail=place)
