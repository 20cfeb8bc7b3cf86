"""One call of a server: in the client's own era where the server speaks it, within what the document lets through."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import mcp_types as types
from pydantic import BaseModel, ValidationError

from broker.connector import ConnectorDocument, Session, ToolCall, errors
from connectors.mcp.drift import Watch
from connectors.mcp.messages import Message, RpcError, refusal_of
from connectors.mcp.sessions import SessionLost, Sessions
from connectors.mcp.settings import McpSettings
from connectors.mcp.upstream import ASKS, Upstream, connected, speaks_handshake, speaks_modern

_QUESTIONS = {"elicitation/create": "elicitation", "sampling/createMessage": "sampling", "roots/list": "roots"}
_LEVELS = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")
_MOST_ROUNDS = 10
_MOST_DONE = 2**43  # of which a thousandth is a number that every client of JSON can hold
_LONGEST_STATE = 2500  # characters of a server's own state; sealed, it is longer
_MOST_QUESTIONS = 16
_LOG_LEVEL = "io.modelcontextprotocol/logLevel"


class Server:
    """A configured server, as its tools see it."""

    def __init__(self, document: ConnectorDocument, settings: McpSettings, pin: Mapping[str, Any]) -> None:
        self._document = document
        self._settings = settings
        self._pin = pin
        self._watch = Watch(pin, settings.check_seconds)
        self._sessions = Sessions() if settings.sessions == "caller" else None

    async def call(
        self,
        call: ToolCall,
        session: Session,
        method: str,
        params: Mapping[str, Any],
        result: type[BaseModel],
        *,
        pinned: tuple[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Message:
        """Make one request for a client, and return its result, which is what MCP says that it is.

        `pinned` is the definition, by kind and name, that must still be as it was approved.
        """
        exchange = _Exchange(call, self._settings, self._watch)
        for last in (False, True):
            try:
                answer = await self._made(exchange, session, method, params, pinned, headers or {})
                break
            except SessionLost:
                if last:
                    raise errors.UpstreamFailed(detail="the server loses a session that it has just begun") from None
        if answer.get("resultType") == "input_required":
            return exchange.asked_again(answer)
        return _checked(answer, result)

    async def _made(
        self,
        exchange: "_Exchange",
        session: Session,
        method: str,
        params: Mapping[str, Any],
        pinned: tuple[str, str] | None,
        headers: Mapping[str, str],
    ) -> Message:
        try:
            async with connected(
                session,
                self._document,
                self._settings,
                modern=self._modern(exchange),
                capabilities=exchange.capabilities,
                sessions=self._sessions,
                caller=exchange.caller,
            ) as upstream:
                if pinned is not None:
                    await self._watch.check(upstream, *pinned, exchange.grant)
                if exchange.log_level is not None and "logging" in self._pin.get("capabilities", ()):
                    await exchange.want_logs(upstream)
                return await exchange.made(upstream, method, params, headers)
        except RpcError as error:
            raise refusal_of(error) from None

    async def follow(self, call: ToolCall, session: Session) -> Message:
        """Keep a subscription to a resource until the client wants it no more.

        `total_seconds` is how long the server may take until it has taken it.
        """
        exchange = _Exchange(call, self._settings, self._watch)
        try:
            async with asyncio.timeout(session.limits.total_seconds) as exchange.opening:
                return await self._followed(exchange, call, session)
        except TimeoutError:
            raise errors.UpstreamTimeout(detail="the server did not take the subscription in time") from None

    async def _followed(self, exchange: "_Exchange", call: ToolCall, session: Session) -> Message:
        modern = speaks_modern(self._pin)
        try:
            async with connected(session, self._document, self._settings, modern=modern, asks=False) as upstream:
                following = asyncio.ensure_future(upstream.follow(call.arguments["uri"], exchange))
                unwanted = asyncio.ensure_future(call.dialogue.ended())
                try:
                    await asyncio.wait([following, unwanted], return_when=asyncio.FIRST_COMPLETED)
                    if following.done():
                        following.result()
                        raise errors.UpstreamInterrupted("The server has ended the subscription.")
                finally:
                    for task in (following, unwanted):
                        task.cancel()
                    await asyncio.wait([following, unwanted])
        except RpcError as error:
            raise refusal_of(error) from None
        return {}

    def _modern(self, exchange: "_Exchange") -> bool:
        """Choose the era: the client's own where it may be asked something, the cheaper one otherwise."""
        if not speaks_modern(self._pin):
            return False
        return not (exchange.waits and speaks_handshake(self._pin))


class _Exchange:
    """One call's dialogue with the client, within what the document lets through. Satisfies `Listener`."""

    def __init__(self, call: ToolCall, settings: McpSettings, watch: Watch) -> None:
        self._call = call
        self.caller = f"{call.caller} {call.grant}"
        self.grant = call.grant
        self._dialogue = call.dialogue
        self._lets = settings.lets
        self._watch = watch
        self.capabilities: dict[str, Any] = {
            name: call.dialogue.capabilities[name]
            for name in ASKS
            if name in settings.lets and name in call.dialogue.capabilities
        }
        self.waits = call.dialogue.waits and bool({*self.capabilities, *settings.lets})
        self.log_level = call.dialogue.log_level if "logging" in settings.lets else None
        self._query = json.dumps(call.arguments, sort_keys=True)
        self.opening: asyncio.Timeout | None = None
        """How long the server may take until it has taken a subscription."""

    async def progress(self, params: Mapping[str, Any]) -> None:
        """Tell the client how far it is."""
        done, total = params.get("progress"), params.get("total")
        if _counts(done) and (total is None or _counts(total)):
            await self._call.emit(*_whole(done, total))  # type: ignore[arg-type] # what it is was just seen to

    async def logged(self, params: Mapping[str, Any]) -> None:
        """Tell the client a message that is serious enough."""
        level, logger = params.get("level"), params.get("logger")
        if self.log_level not in _LEVELS or level not in _LEVELS:
            return
        if _LEVELS.index(level) >= _LEVELS.index(self.log_level):
            await self._dialogue.log(level, params.get("data"), logger if isinstance(logger, str) else None)

    async def asked(self, method: str, params: Mapping[str, Any]) -> Mapping[str, Any]:
        """Ask the client, if the document lets that through and the client can be asked."""
        if not self._dialogue.waits or _QUESTIONS.get(method) not in self.capabilities:
            raise errors.ClientCannot
        return await self._dialogue.ask(method, params)

    def changed(self, method: str) -> None:
        """Look at the definitions again before the next call."""
        if method in ("notifications/tools/list_changed", "notifications/prompts/list_changed"):
            self._watch.forget()

    async def updated(self, uri: str) -> None:
        """Tell the client that a resource has changed: the one to which it has subscribed."""
        if uri == self._call.arguments.get("uri"):
            await self._dialogue.updated(uri)

    def acknowledged(self) -> None:
        """Note that the server has taken the subscription, which may now last."""
        if self.opening is not None and not self.opening.expired():
            self.opening.reschedule(None)
        self._dialogue.begun()

    async def want_logs(self, upstream: Upstream) -> None:
        """Tell a server of the handshake era how serious its messages must be."""
        if not upstream.modern:
            await upstream.request("logging/setLevel", {"level": self.log_level})

    async def made(
        self, upstream: Upstream, method: str, params: Mapping[str, Any], headers: Mapping[str, str]
    ) -> Message:
        """Make the request; of a client that can be asked at once, again for every answer that the server needs."""
        meta = {_LOG_LEVEL: self.log_level} if upstream.modern and self.log_level is not None else {}
        more = self._answered()
        for _ in range(_MOST_ROUNDS):
            answer = await upstream.request(method, {**params, **more}, self, meta=meta, headers=headers)
            if answer.get("resultType") != "input_required" or not self._dialogue.waits:
                return answer
            more = await self._answers(answer)
        raise errors.UpstreamMalformed(detail="the server asks without end")

    def asked_again(self, answer: Message) -> Message:
        """Return what the client is answered where the server needs something of it first.

        The server's own state is sealed: it comes back from this agent, for this tool and these arguments, or not.
        """
        questions, state = _questions(answer), answer.get("requestState")
        if not all(_QUESTIONS[one["method"]] in self.capabilities for one in questions.values()):
            raise errors.ClientCannot(needs=sorted({_QUESTIONS[one["method"]] for one in questions.values()}))
        if state is not None and (not isinstance(state, str) or len(state) > _LONGEST_STATE):
            raise errors.UpstreamMalformed(detail="the server's state is no text, or too long")
        for one in questions.values():
            self._dialogue.asks(one["method"])
        sealed = self._call.cursors.seal(self._query, [state, sorted(questions)])
        return {"resultType": "input_required", "inputRequests": questions, "requestState": sealed}

    def _answered(self) -> Message:
        """Return what the client answers to what it was asked the last time; raise `RequestStateInvalid`."""
        sealed, answers = self._dialogue.state, self._dialogue.answers
        if sealed is None:  # whatever is answered here was asked by nobody: it is no way around policies and the trail
            return {}
        try:
            state, asked = self._call.cursors.open(self._query, sealed)
        except errors.CursorInvalid:
            raise errors.RequestStateInvalid from None
        given = {name: answers[name] for name in asked if name in answers} if answers is not None else {}
        return {"inputResponses": given, **({} if state is None else {"requestState": state})}

    async def _answers(self, answer: Message) -> Message:
        """Ask the client everything that a server of the 2026-07-28 era needs, now."""
        questions, state = _questions(answer), answer.get("requestState")
        given = {
            name: dict(await self.asked(one["method"], one.get("params") or {})) for name, one in questions.items()
        }
        return {"inputResponses": given, **({} if state is None else {"requestState": state})}


def _questions(answer: Message) -> dict[str, Message]:
    """Return what a server needs of the client; raise `UpstreamMalformed` for what nobody can be asked."""
    questions = answer.get("inputRequests") or {}
    if not isinstance(questions, dict) or len(questions) > _MOST_QUESTIONS:
        raise errors.UpstreamMalformed(detail="the server asks for what is no list of questions, or too many")
    for one in questions.values():
        if not isinstance(one, dict) or one.get("method") not in _QUESTIONS:
            raise errors.UpstreamMalformed(detail="the server asks for something that no client can be asked")
    return questions


def _checked(answer: Message, result: type[BaseModel]) -> Message:
    """Return a result that is one, without what the server says beside it; raise `UpstreamMalformed`."""
    kept = {name: value for name, value in answer.items() if name not in ("_meta", "resultType", "ttlMs", "cacheScope")}
    try:
        result.model_validate(kept, by_name=False)
    except ValidationError as error:
        place = "/".join(map(str, error.errors(include_input=False, include_url=False)[0]["loc"]))[:100]
        raise errors.UpstreamMalformed(detail=f"the server's result is no {result.__name__}: {place}") from None
    return kept


def _counts(value: Any) -> bool:
    """Tell whether it is a number that progress can be: finite, and no larger than clients can write."""
    return type(value) in (int, float) and -_MOST_DONE <= value <= _MOST_DONE


def _whole(done: float, total: float | None) -> tuple[int, int | None]:
    """Return progress in whole numbers: of fractions, thousandths."""
    if float(done).is_integer() and (total is None or float(total).is_integer()):
        return int(done), None if total is None else int(total)
    return int(done * 1000), None if total is None else int(total * 1000)


RESULTS: Mapping[str, type[BaseModel]] = {
    "tools/call": types.CallToolResult,
    "resources/read": types.ReadResourceResult,
    "prompts/get": types.GetPromptResult,
    "completion/complete": types.CompleteResult,
}
