"""The trials: every tool run on a real session, through real egress, against each way in which a service answers."""

import asyncio
import ipaddress
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl, unquote

from broker import errors
from broker.catalog import CatalogTool, catalog_tool
from broker.connector import Connector, ConnectorDocument, Scope, Session, Tool, ToolCall
from broker.egress import Client, Egress, Limits, Reach, Secret
from broker.errors import InvalidArguments, Refusal
from broker.redact import release
from broker.testing.checking.samples import sample
from broker.testing.checking.service import WORDS, AnsweringService, Example, Manner

_TOKEN = "CANARY-0123456789-abcdefghijklmnopqrstuvwxyz"
_LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)
_LONGEST = 4 << 20  # bytes of a result
_SAFE = frozenset({"GET", "HEAD", "POST"})  # POST may be a search
_HOSTILE = ("../../admin", "1?x1=1&y=2#z")  # climbs; begins a query
_SAID = json.dumps({"error": WORDS, "message": WORDS}).encode()
_MOST_SECONDS = 1.0  # that a service which says nothing is waited for

FAILURES: Mapping[str, tuple[Manner, type[Refusal]]] = {
    "401": (Manner(401, _SAID), errors.UpstreamUnauthorized),
    "403": (Manner(403, _SAID), errors.UpstreamForbidden),
    "404": (Manner(404, _SAID), errors.UpstreamNotFound),
    "429": (Manner(429, _SAID), errors.UpstreamBusy),
    "500": (Manner(500, _SAID), errors.UpstreamFailed),
}
JUNK: Mapping[str, Manner] = {
    "a page": Manner(200, f"<html>{WORDS}</html>".encode(), kind="text/html"),
    "null": Manner(200, b"null"),
    "a list": Manner(200, b'["x"]'),
    "an object of something else": Manner(200, json.dumps({"something": {"else": WORDS}}).encode()),
}
Work = Callable[[Session], Awaitable[Any]]


class _Held:
    """The credential: one token, that is what it is."""

    async def header(self) -> Secret:
        return Secret(f"Bearer {_TOKEN}")

    async def renew(self, spent: Secret) -> None:
        """There is no other."""


class _Matcher:
    def hits(self, data: bytes) -> bool:
        return _TOKEN.encode() in data


class Bench:
    """Where a connector's tools are tried."""

    def __init__(
        self,
        connector: Connector,
        document: ConnectorDocument,
        service: AnsweringService,
        examples: Mapping[str, Example],
    ) -> None:
        self._connector = connector
        self._document = document
        self._service = service
        self._examples = examples
        self._works: dict[str, Work] = {}
        self._client: Client
        self._impatient: Client

    async def problems(self, tools: Sequence[Tool]) -> list[str]:
        """Return everything that went wrong."""
        egress = Egress()
        reach = Reach(frozenset({self._service.url.removeprefix("https://")}), _LOOPBACK)
        self._client = egress.client(reach, Limits(), self._service.authority)
        self._impatient = egress.client(reach, Limits(total_seconds=_MOST_SECONDS), self._service.authority)
        try:
            found = [problem for tool in tools if tool.run is not None for problem in await self._of_tool(tool)]
            found += await self._of_the_rest()
            return found + await self._silence()
        finally:
            await egress.close()

    async def _of_tool(self, tool: Tool) -> list[str]:
        name = f"{tool.resource} {tool.action}"
        try:
            named = catalog_tool(self._connector.name.replace("-", "_"), tool)
        except ValueError:
            return []  # that has been said
        example = self._examples.get(f"{tool.resource}_{tool.action}")
        arguments = dict(example.arguments) if example else sample(tool.input_schema)
        try:
            named.check(arguments)
        except InvalidArguments as error:
            how = "of its example" if example else "that were made up for it (give an example)"
            return [f"{name}: the arguments {how} are not what it takes: {error.message}"]
        answer = example.answer if example else sample(tool.output_schema, everything=True)
        work = self._works[name] = self._work(tool, arguments)
        found = [*await self._success(named, work, answer), *await self._failures(work)]
        found += await self._hostile(tool, arguments, answer)
        return [f"{name}: {problem}" for problem in found]

    async def _of_the_rest(self) -> list[str]:
        """Try the probe, and the description."""
        found = []
        pairs: list[tuple[str, Any]] = [("probe", self._connector.probe), ("describe", self._connector.describe)]
        for name, function in pairs:
            if function is None:
                continue

            async def work(session: Session, function: Any = function) -> Any:
                return await function(session, self._document)

            self._works[name] = work
            problems = await self._failures(work)
            if name in self._examples:
                _, problem = await self._try(work, _answering(self._examples[name].answer))
                problems += [f"against the answer of its example, {problem}"] if problem else []
            found += [f"{name}: {problem}" for problem in problems]
        return found

    def _work(self, tool: Tool, arguments: Mapping[str, Any]) -> Work:
        async def emit(_done: int, _total: int | None) -> None:
            """Nobody looks."""

        async def work(session: Session) -> Any:
            assert tool.run is not None  # noqa: S101 - only such tools are tried
            touched = [] if tool.touches is None else [Scope() for _ in tool.touches(arguments)]
            return await tool.run(ToolCall(arguments, emit, Scope(), touched, "key"), session)

        return work

    async def _success(self, named: CatalogTool, work: Work, answer: Any) -> list[str]:
        self._service.asked.clear()
        result, problem = await self._try(work, _answering(answer))
        if problem is not None:
            return [f"against a service that does what is asked, {problem}"]
        return [*self._sent(named.tool), *_released(named, result)]

    def _sent(self, tool: Tool) -> Iterator[str]:
        for asked in self._service.asked:
            if tool.reads_only and asked.method not in _SAFE:
                yield f"it says that it only reads, and sends {asked.method}"
            if _TOKEN not in asked.authorization:
                yield f"its {asked.method} came without the credential"

    async def _failures(self, work: Work) -> list[str]:
        found = []
        for name, (manner, expected) in FAILURES.items():
            refusal, problem = await self._refused(work, manner)
            if problem is not None or not isinstance(refusal, expected):
                said = problem or f"it raises {type(refusal).__name__}"
                found.append(f"against {name}, {said}; {expected.__name__} is expected")
            elif WORDS in refusal.message:
                found.append(f"against {name}, it repeats the service's own words to the agent")
        for name, manner in JUNK.items():
            _, problem = await self._try(work, manner)
            if problem is not None and "it raises Upstream" not in problem:
                found.append(f"against {name} for an answer, {problem}; UpstreamMalformed is expected")
        return found

    async def _silence(self) -> list[str]:
        """Try everything at once against a service that says nothing."""
        found = []
        ended = await asyncio.gather(*(self._unanswered(work) for work in self._works.values()))
        for (name, work), (refusal, problem) in zip(self._works.items(), ended, strict=True):
            if isinstance(refusal, errors.UpstreamUnreachable):  # so many at once may have had no time to be sent
                refusal, problem = await self._unanswered(work)  # noqa: PLW2901 - what it comes to, by itself
            if problem is not None or not isinstance(refusal, errors.UpstreamTimeout):
                said = problem or f"it raises {type(refusal).__name__}"
                found.append(f"{name}: against a service that says nothing, {said}; UpstreamTimeout is expected")
        return found

    async def _unanswered(self, work: Work) -> tuple[Refusal | None, str | None]:
        return await self._refused(work, Manner(silent=True), self._impatient)

    async def _hostile(self, tool: Tool, arguments: Mapping[str, Any], answer: Any) -> list[str]:
        """Put what climbs and what ends a path where any text may stand: it must stay one value."""
        found: list[str] = []
        for name, value in arguments.items():
            if isinstance(value, str):
                for attack in _HOSTILE:
                    found += await self._attack(tool, name, {**arguments, name: attack}, answer)
        return found

    async def _attack(self, tool: Tool, name: str, arguments: Mapping[str, Any], answer: Any) -> list[str]:
        try:
            catalog_tool("x", tool).check(arguments)
        except InvalidArguments:
            return []
        self._service.asked.clear()
        _, problem = await self._try(self._work(tool, arguments), _answering(answer))
        found = [f"with a hostile {name}, {problem}"] if problem is not None and "it fails" in problem else []
        if any(_escaped(asked.path, asked.query) for asked in self._service.asked):
            found.append(f"{name!r} gets out of its place in the URL: use session.call's template and query")
        return found

    async def _refused(
        self, work: Work, manner: Manner, client: Client | None = None
    ) -> tuple[Refusal | None, str | None]:
        """Return the refusal that the work ends with, or what is wrong."""
        self._service.manner = manner
        try:
            await work(self._session(client))
        except Refusal as refusal:
            return refusal, None
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what is wrong
            return None, f"it fails with {type(error).__name__}"
        return None, "it says that all is well"

    async def _try(self, work: Work, manner: Manner) -> tuple[Any, str | None]:
        """Return the result of the work, or what is wrong."""
        self._service.manner = manner
        try:
            return await work(self._session()), None
        except Refusal as refusal:
            return None, f"it raises {type(refusal).__name__}"
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what is wrong
            return None, f"it fails with {type(error).__name__}"

    def _session(self, client: Client | None = None) -> Session:
        return Session(client or self._client, self._document.url or "", _Held(), self._connector.expired)


def _answering(answer: Any) -> Manner:
    """Return the manner of a service that answers with JSON, or as a function of method and path says."""
    return Manner(200, answer if callable(answer) else json.dumps(answer).encode())


def _released(named: CatalogTool, result: Any) -> Iterator[str]:
    """Say what is wrong with a result: it must be what the output schema says, and hold no credential."""
    try:
        text = release(result, named.tool.output_schema, _Matcher(), _LONGEST, place=named.tool.records).text
    except Refusal as refusal:
        yield f"its result cannot leave: {type(refusal).__name__}"
        return
    leaving = catalog_tool("x", Tool("x", "x", "x", named.tool.output_schema, {}, reads_only=True))
    try:
        leaving.check(json.loads(text))
    except InvalidArguments as error:
        yield f"its result is not what its output schema says: {error.message}"


def _escaped(path: str, query: str) -> bool:
    segments = [unquote(segment) for segment in path.split("/")]
    return "admin" in segments or ".." in segments or "x1" in dict(parse_qsl(query))
