"""The attempts of one call of a model: one target after another, until one has answered or begun to."""

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from broker.budget import Hold, Ledger
from broker.budget import Target as Priced
from broker.documents import Connection, Snapshot
from broker.egress import Session, Streamed
from broker.errors import LeakBlocked, OutputOverCap, PriceUnknown, ReasoningUnavailable, Refusal, TargetOverran
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
    said_of,
    watch,
    written_for,
)
from broker.pipeline.attempts import Attempt, Failed, ask_of
from broker.pipeline.passed import Passed
from broker.pipeline.prices import Prices
from broker.pipeline.records import trace_of
from broker.pipeline.request import ModelRequest, Pass
from broker.pipeline.story import Story
from broker.store import CommitQueue, Transaction
from broker.vault import Service, Vault
from broker.vault.opened import Opened

_OK = 200
_LONGEST_PIECE = 256  # bytes that eight bytes of a key may take up, escaped however
_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_MOST_OF_AN_ERROR = 64 << 10  # bytes that are read of what a provider says of a failure


@dataclass
class Means:
    """What attempts are made with, whoever calls.

    `service` says where a connection's credential may go; `pseudonym` what a provider that must know callers apart is
    told of an agent, by its workload.
    """

    commits: CommitQueue
    ledger: Ledger
    vault: Vault
    service: Callable[[Connection], Service]
    pseudonym: Callable[[str], str]
    health: Health = field(default_factory=Health)
    prices: Prices = field(default_factory=Prices)


class Trying:
    """The attempts of one call."""

    def __init__(
        self,
        means: Means,
        documents: Snapshot,
        story: Story,
        request: ModelRequest,
        wanted: Wanted,
        route: Route,
        agent: Agent,
        emit: Pass,
    ) -> None:
        self.passed: Passed = story.passing()
        self._means = means
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
        return self._means.pseudonym(self._agent.workload)

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
        means, story = self._means, self._story
        ask = ask_of(self._wanted, self._request.body, self._route, target)
        written_for(self._wanted, self._route, target, ask.output_tokens)  # raises where it cannot think as asked
        rates = means.prices.of(target)
        priced = Priced(self._route.alias, target.connector, target.model)
        allowance = self._documents.allowance_of(self._agent.workload)
        hold = means.ledger.hold(story.call_id, number, self._agent, allowance, priced, ask, rates)
        story.settles(hold.settle)  # before it is made: who leaves meanwhile does not undo the commit under way
        try:
            if story.begun:
                commits = means.commits
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
        means, target = self._means, attempt.target
        self._session = None
        try:
            text = await self._opened(attempt)
        except (Refusal, Failed) as error:
            refusal = attempt.failed(error, sent=self._sent, emitted=bool(self.passed.size))
            retry_after = error.failure.retry_after if isinstance(error, Failed) else None
            if attempt.trouble not in {None, "context_length", "moderation"}:
                means.health.failed(self._route, target, retry_after)
            return refusal
        except BaseException:
            if not self._sent:
                attempt.hold.unsent()
            raise
        means.health.answered(target)
        return text

    @property
    def _sent(self) -> bool:
        """Whether the request of the attempt under way has left."""
        return self._session is not None and self._session.sent

    async def _opened(self, attempt: Attempt) -> bytes:
        """Open the credential, send the request, and follow the answer."""
        means, wanted, target = self._means, self._wanted, attempt.target
        connection = self._documents.connections[target.connector]
        service = means.service(connection)
        with means.vault.open(service, self._request.identity.on_behalf_of) as credential:
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
