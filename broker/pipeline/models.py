"""One call of a model, start to end: the way of a tool's call, with attempts at one target after another."""

import datetime
import functools
import re
import time
from collections.abc import Callable, Sequence
from typing import Any

from broker.budget import CallSlots, Hold, Ledger
from broker.budget import Target as Priced
from broker.connector import INVOKE
from broker.control import KillSwitch
from broker.documents import Documents, Snapshot
from broker.egress import Egress, Session, Streamed
from broker.errors import (
    Draining,
    LeakBlocked,
    ModelApiRefused,
    OutputOverCap,
    PriceUnknown,
    ReasoningUnavailable,
    Refusal,
    TargetOverran,
    UnknownModel,
)
from broker.identity import Agent
from broker.models import (
    Health,
    Route,
    Target,
    Wanted,
    Watch,
    body_of,
    failure_of,
    headers_of,
    read,
    said_of,
    watch,
    written_for,
)
from broker.pipeline.attempts import Attempt, Failed, Model, ask_of
from broker.pipeline.passed import Passed
from broker.pipeline.prices import Prices
from broker.pipeline.recorder import Recorder
from broker.pipeline.records import trace_of
from broker.pipeline.request import ModelAnswer, ModelRequest, Pass
from broker.pipeline.service import service_of
from broker.pipeline.story import Story
from broker.policy import AccessRequest, Context
from broker.store import Transaction
from broker.vault import Vault
from broker.vault.opened import Opened

_OK = 200
_LONGEST_PIECE = 256  # bytes that eight bytes of a key may take up, escaped however
_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_MOST_OF_AN_ERROR = 64 << 10  # bytes that are read of what a provider says of a failure


class ModelCalls:
    """The policy enforcement point for models: `call` is the only way to one."""

    def __init__(
        self,
        documents: Documents,
        switch: KillSwitch,
        recorder: Recorder,
        slots: CallSlots,
        ledger: Ledger,
        vault: Vault,
        egress: Egress,
        draining: Callable[[], bool],
    ) -> None:
        self._documents = documents
        self._switch = switch
        self._recorder = recorder
        self._slots = slots
        self._ledger = ledger
        self._vault = vault
        self._draining = draining
        self.health = Health()
        self.prices = Prices()
        self.pseudonym = functools.lru_cache(maxsize=4096)(self._pseudonym)
        """What a provider that must know callers apart is told of an agent: a keyed digest, and nobody's name."""
        self.service = functools.lru_cache(maxsize=64)(lambda connection: service_of(connection, egress))

    def _pseudonym(self, workload: str) -> str:
        return self._recorder.digest(f"model caller\n{workload}".encode())[:32]

    async def call(self, request: ModelRequest, emit: Pass) -> ModelAnswer:
        """Make one call, or raise the `Refusal` that says why not.

        `emit` gets the events of a stream as they come, but for what ends it: that, as any answer, is returned once
        *finished* is durable. Once `emit` was called, a refusal is the end of a stream that is not whole.
        """
        documents = self._documents.current
        async with Story(self._recorder, request, documents, request.body) as story:
            # 1. Who: the door verified the proof; whether the agent may call at all is read again, now.
            agent = story.by(self._switch.active(request.identity))
            self._recorder.check()
            if self._draining():
                raise Draining

            # 2. What: an agent knows only of models that its policies mention.
            policies = documents.policies_of(agent.workload)
            route = documents.routes.get(request.alias)
            if route is None or not policies.mentions(route.resource):
                raise UnknownModel
            story.on(Model(route.resource), policies.recorded)

            # 3. Decide: a pure function of the policies.
            access = AccessRequest(request.identity, INVOKE, route.resource, agent=agent, context=_context(request))
            story.decided(policies.decide(access)).enforce(access)

            # 4. What it asks for: nothing that is the route's to say.
            wanted = read(request.api, request.fields, request.alias, route, len(request.body))
            story.facts |= {"api": request.api, "streamed": wanted.stream}
            targets = route.ordered(request.api, self.health.rests)
            if not targets:
                raise ModelApiRefused(f"Model {route.alias!r} answers on {', '.join(sorted(route.apis))} only.")

            # 5. Hold, open and execute: one attempt after another, until one has answered or begun to.
            allowance = documents.allowance_of(agent.workload)
            with self._slots.hold(agent.workload), self._ledger.running(agent.workload, allowance):
                trying = _Trying(self, documents, story, request, wanted, route, agent, emit)
                try:
                    text = await trying.one_of(targets)
                finally:
                    story.facts["attempts"] = trying.records()

                # 6. Release to an agent that still may call.
                self._switch.active(request.identity)
                trying.passed.take(text)
                story.answered(trying.passed)
        return ModelAnswer(story.call_id, text, wanted.stream, trying.cost)


class _Trying:
    """The attempts of one call."""

    def __init__(
        self,
        calls: ModelCalls,
        documents: Snapshot,
        story: Story,
        request: ModelRequest,
        wanted: Wanted,
        route: Route,
        agent: Agent,
        emit: Pass,
    ) -> None:
        self.passed: Passed = story.passing()
        self._calls = calls
        self._documents = documents
        self._story = story
        self._request = request
        self._wanted = wanted
        self._route = route
        self._agent = agent
        self._emit = emit
        self._attempts: list[Attempt] = []
        self._session: Session | None = None
        run, _ = trace_of(request.origin.traceparent)
        self._run = run

    def _who(self) -> str:
        return self._calls.pseudonym(self._agent.workload)

    @property
    def cost(self) -> int | None:
        """What all attempts have cost, as far as that is known."""
        costs = [attempt.hold.cost for attempt in self._attempts if attempt.hold.cost is not None]
        return sum(costs) if costs else None

    async def one_of(self, targets: Sequence[Target]) -> bytes:
        """Return what the first target that answers has said, or what it ends its stream with."""
        refused: Refusal | None = None
        for number, target in enumerate(targets, 1):
            try:
                attempt = await self._held(number, target)
            except (PriceUnknown, TargetOverran, ReasoningUnavailable) as unfit:  # of this target; another may do
                refused = unfit
                continue
            refused = None
            error = await self._made(attempt)
            if isinstance(error, bytes):
                return error
            refused = error
            on = self._route.document.fallback.on
            if self.passed.size or attempt.trouble not in on or number == len(targets):
                raise refused
        assert refused is not None  # noqa: S101 - there is a target
        raise refused

    async def _held(self, number: int, target: Target) -> Attempt:
        """Hold the most that an attempt may cost; from here on it counts as sent, whatever becomes of the broker."""
        calls, story = self._calls, self._story
        ask = ask_of(self._wanted, self._request.body, self._route, target)
        written_for(self._wanted, self._route, target, ask.output_tokens)  # raises where it cannot think as asked
        rates = calls.prices.of(target)
        priced = Priced(self._route.alias, target.connector, target.model)
        allowance = self._documents.allowance_of(self._agent.workload)
        hold = calls._ledger.hold(story.call_id, number, self._agent, allowance, priced, ask, rates)  # noqa: SLF001
        story.settles(hold.settle)  # before it is made: who leaves meanwhile does not undo the commit under way
        try:
            if story.begun:
                commits = calls._recorder.store.commits  # noqa: SLF001
                await commits.durable(commits.submit(lambda change: self._instead(hold, change)))
            else:
                await story.begin(hold.begin)
        except BaseException:
            hold.unsent()
            raise
        attempt = Attempt(number, target, hold)
        self._attempts.append(attempt)
        return attempt

    def _instead(self, hold: Hold, transaction: Transaction) -> None:
        """Settle the attempts that have failed, in the commit that holds for the next: what they gave back is free."""
        for attempt in self._attempts:
            attempt.hold.settle(transaction)
        hold.begin(transaction)

    def records(self) -> list[dict[str, Any]]:
        """Return what the trail says of each attempt."""
        return [attempt.record() for attempt in self._attempts]

    async def _made(self, attempt: Attempt) -> bytes | Refusal:
        """Make one attempt; return the end of its answer, or why it failed."""
        calls, target = self._calls, attempt.target
        self._session = None
        try:
            text = await self._opened(attempt)
        except (Refusal, Failed) as error:
            refusal = attempt.failed(error, sent=self._sent, emitted=bool(self.passed.size))
            retry_after = error.failure.retry_after if isinstance(error, Failed) else None
            if attempt.trouble not in {None, "context_length", "moderation"}:
                calls.health.failed(self._route, target, retry_after)
            return refusal
        except BaseException:
            if not self._sent:
                attempt.hold.unsent()
            raise
        calls.health.answered(target)
        return text

    @property
    def _sent(self) -> bool:
        """Whether the request of the attempt under way has left."""
        return self._session is not None and self._session.sent

    async def _opened(self, attempt: Attempt) -> bytes:
        """Open the credential, send the request, and follow the answer."""
        calls, wanted, target = self._calls, self._wanted, attempt.target
        connection = self._documents.connections[target.connector]
        service = calls.service(connection)
        with calls._vault.open(service, self._request.identity.on_behalf_of) as credential:  # noqa: SLF001
            session = self._session = Session(service.client, service.url, credential, connection.connector.expired)
            self._story.with_credential(credential, session)
            reasoning = written_for(wanted, self._route, target, attempt.hold.output_tokens)
            attempt.reasoning = reasoning.facts
            body = body_of(wanted, target, attempt.hold.output_tokens, self._who(), self._run, reasoning.members)
            headers = headers_of(wanted.api, target, self._route, self._request.betas)
            path = target.provider.paths[wanted.api]
            answer = await session.open(session.base_url + path, headers, body)
            try:
                attempt.named(_id_in(answer.headers.get("x-generation-id"), credential), credential.grant)
                if answer.status != _OK:
                    raise Failed(failure_of(answer.status, answer.headers, await _some(answer)))
                if wanted.stream:
                    return await self._followed(attempt, answer, credential)
                return await self._read(attempt, answer, credential)
            finally:
                answer.close()

    async def _read(self, attempt: Attempt, answer: Streamed, credential: Opened) -> bytes:
        text = (await answer.read()).body
        said = said_of(self._wanted.api, text)
        if credential.matcher.hits(text):
            raise LeakBlocked(detail="a model's answer held the credential of this call")
        attempt.answered(self._wanted.api, said)
        self._story.executed()
        return text

    async def _followed(self, attempt: Attempt, answer: Streamed, credential: Opened) -> bytes:
        """Pass a stream on, event by event; return what ends it."""
        wanted = self._wanted
        following = watch(wanted.api, attempt.hold.output_tokens, wanted.choices, wants_usage=wanted.wants_usage)
        before = b""
        while data := await answer.next():
            if credential.matcher.hits(before + data):
                raise LeakBlocked(detail="a model's answer held the credential of this call")
            before = (before + data)[-_LONGEST_PIECE:]  # a key may come a few bytes at a time
            if events := following.feed(data):
                if not self.passed.size:
                    attempt.first_ms = round((time.perf_counter() - attempt.began) * 1000)
                self.passed.take(events)
                await self._emit(events)
            if following.broken:
                break
            if following.over:
                return self._cut(attempt, following)
        following.end()
        attempt.answered(wanted.api, following.said)
        self._story.executed()
        return following.tail

    def _cut(self, attempt: Attempt, following: Watch) -> bytes:
        """End a stream that goes on beyond the cap: it costs what was held, as only usage shows that it was more."""
        attempt.status, attempt.detail = "over_cap", "the provider went on beyond the output cap"
        end = following.cut()
        if not end:
            raise OutputOverCap
        return end


def _id_in(header: str | None, credential: Opened) -> str | None:
    """Return what the provider calls its answer, where that is an id and nothing that must not be kept."""
    plain = header is not None and _ID.fullmatch(header) is not None
    return header if plain and header is not None and not credential.matcher.hits(header.encode()) else None


async def _some(answer: Streamed) -> bytes:
    """Return the beginning of an error's body; nothing where not even that comes."""
    found = b""
    try:
        while len(found) < _MOST_OF_AN_ERROR and (data := await answer.next()):
            found += data
    except Refusal:
        return b""
    return found


def _context(request: ModelRequest) -> Context:
    return Context(datetime.datetime.now(datetime.UTC), request.origin.transport, request.origin.client)
