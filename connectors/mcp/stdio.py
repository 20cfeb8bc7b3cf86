"""A server that is a program: one for all calls of a grant, spoken to in lines, in one session of the protocol."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Mapping
from typing import Any

from broker.connector import Process, Session, errors
from connectors.mcp.messages import (
    CLIENT,
    HANDSHAKE,
    HANDSHAKES,
    MODERN,
    Deaf,
    Listener,
    Message,
    RpcError,
    answer_to,
    encoded,
    parsed,
    result_of,
    take,
)

_PREFIX = "io.modelcontextprotocol/"
_MOST_UNREAD = 100  # of what a server tells in the course of one call; of more, nobody is told
_MOST_WAITING = 16  # questions that nobody has taken yet; a program that asks more is ended
_MOST_BYTES = 4 << 20  # of both
_MOST_UNANSWERED = 1000  # requests that are remembered because their responses never came
_FAREWELL_SECONDS = 1.0
_WELL_SECONDS = 2.0  # in which a program that was too slow must say that it is well


class Inbox:
    """What has come for one request; its own task takes it, so that no client that is slow holds up another's."""

    def __init__(self) -> None:
        self._came: asyncio.Queue[tuple[Message | errors.Refusal, int]] = asyncio.Queue()
        self._bytes = 0

    def put(self, message: Message | errors.Refusal, size: int = 0) -> None:
        """Take what there is always room for: the response, or that there will be none."""
        self._bytes += size
        self._came.put_nowait((message, size))

    def offer(self, message: Message, size: int) -> None:
        """Take what a server asks, or raise `_Flooded`; or what it tells, if there is room."""
        asks = "id" in message
        if self._came.qsize() < (_MOST_WAITING if asks else _MOST_UNREAD) and self._bytes + size <= _MOST_BYTES:
            self.put(message, size)
        elif asks:
            raise _Flooded

    async def get(self) -> Message | errors.Refusal:
        """Return what has come next."""
        message, size = await self._came.get()
        self._bytes -= size
        return message


class _Flooded(Exception):  # noqa: N818 - it is the program's error
    """The program says more than anybody can take."""


class Peer:
    """The protocol's session with one running program. It is attached to the program, and ends with it."""

    def __init__(self, process: Process, capabilities: Mapping[str, Any], seconds: float) -> None:
        self.modern = False
        self.said: Message = {}
        self.turn = asyncio.Lock()
        """Held by a call during which the server may ask something: nothing else says which call it is about."""
        self._process = process
        self._capabilities = dict(capabilities)
        self._seconds = seconds
        self._ids = itertools.count(1)
        self._inboxes: dict[int, Inbox] = {}
        self._unanswered: set[int] = set()
        """Requests that nobody waits for any more, and that the program may still be at work on."""
        self._followers: dict[str, set[Inbox]] = {}
        """Who has subscribed to a resource, by its URI."""
        self._reader = asyncio.create_task(self._read())
        self._looking: asyncio.Task[None] | None = None
        self._opening = asyncio.create_task(self._open())

    @property
    def in_doubt(self) -> bool:
        """Whether it may still be at work on what nobody waits for: what it then says is about nobody knows what."""
        return bool(self._unanswered)

    async def ready(self) -> None:
        """Return once the server has said what it is; raise what kept it from that."""
        try:
            await asyncio.shield(self._opening)
        except RpcError as error:
            raise errors.UpstreamFailed(detail=f"the server refuses the handshake: {error.code}") from None
        except errors.Refusal as refusal:
            raise refusal.anew() from None

    async def request(
        self,
        method: str,
        params: Mapping[str, Any],
        listener: Listener | None = None,
        *,
        meta: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,  # noqa: ARG002 - of the other transport
    ) -> Message:
        """Send a request and return its result; raise `RpcError`, or that the program ended or took too long."""
        number = next(self._ids)
        said = {**(meta or {}), "progressToken": number, **(self._envelope() if self.modern else {})}
        inbox = self._inboxes[number] = Inbox()
        try:
            async with asyncio.timeout(self._seconds):
                body = {**params} if method == "initialize" else {**params, "_meta": said}
                await self._send({"jsonrpc": "2.0", "id": number, "method": method, "params": body})
                return result_of(await self._answer(inbox, number, listener or Deaf()))
        except TimeoutError:
            await self._cancel(number)
            self._look_after()
            raise errors.UpstreamTimeout(detail="the program did not answer in time") from None
        except asyncio.CancelledError:
            await self._cancel(number)
            raise
        finally:
            self._given_up(number)

    async def follow(self, uri: str, listener: Listener) -> None:
        """Subscribe to a resource, and tell what the server says of it until the program ends."""
        inbox = Inbox()
        self._followers.setdefault(uri, set()).add(inbox)
        try:
            await self.request("resources/subscribe", {"uri": uri})
            listener.acknowledged()
            await self._answer(inbox, 0, listener)
        finally:
            self._followers[uri].discard(inbox)
            if not self._followers[uri]:
                del self._followers[uri]
                with contextlib.suppress(errors.Refusal, RpcError):
                    await asyncio.shield(self.request("resources/unsubscribe", {"uri": uri}))

    async def _open(self) -> None:
        params = {"protocolVersion": HANDSHAKE, "capabilities": self._capabilities, "clientInfo": CLIENT}
        try:
            try:
                self.said = await self.request("initialize", params)
                if self.said.get("protocolVersion") not in HANDSHAKES:
                    raise errors.UpstreamMalformed(detail="the server speaks no version of MCP that is known here")
                await self._send({"jsonrpc": "2.0", "method": "notifications/initialized"})
            except RpcError:  # it may know the other era only
                self.modern = True
                self.said = await self.request("server/discover", {})
        except BaseException:
            self._process.kill()
            raise

    def _envelope(self) -> Message:
        return {
            f"{_PREFIX}protocolVersion": MODERN,
            f"{_PREFIX}clientInfo": CLIENT,
            f"{_PREFIX}clientCapabilities": self._capabilities,
        }

    async def _send(self, message: Message) -> None:
        await self._process.send(encoded(message))

    async def _answer(self, inbox: Inbox, number: int, listener: Listener) -> Message:
        """Take what comes for a request until that is its answer."""
        if self._reader.done():
            raise errors.UpstreamInterrupted(detail="the program has ended")
        while True:
            message = await inbox.get()
            if isinstance(message, errors.Refusal):
                raise message
            if "method" in message and "id" in message:
                await self._send(await answer_to(message, listener))
            elif (response := await take(message, number, listener)) is not None:
                return response

    async def _read(self) -> None:
        """Hand on what the program says until it ends; then nobody waits in vain."""
        ended: errors.Refusal = errors.UpstreamInterrupted(detail="the program ended before it answered")
        try:
            async for line in self._process.lines():
                with contextlib.suppress(errors.UpstreamMalformed):  # a banner, or a print that was left in
                    await self._hand_on(parsed(line), len(line))
        except errors.Refusal as refusal:
            ended = refusal
        except _Flooded:
            ended = errors.UpstreamTooLarge(detail="the program says more than anybody can take")
        finally:
            self._process.kill()
            for inbox in (*self._inboxes.values(), *(one for some in self._followers.values() for one in some)):
                inbox.put(ended.anew())

    async def _hand_on(self, message: Message, size: int) -> None:
        if "method" not in message:
            self._responded(message)
            return
        inboxes = list(self._inboxes.values())
        if message["method"] == "notifications/resources/updated":
            params = message.get("params")
            inboxes = list(self._followers.get(str(params.get("uri")), ())) if isinstance(params, dict) else []
        elif "id" in message and not self._is_about_one(message, inboxes):
            await self._send(await answer_to(message, Deaf()))  # which call it is about, nothing says
            return
        elif message["method"] == "notifications/progress":
            params = message.get("params")
            number = params.get("progressToken") if isinstance(params, dict) else None
            inboxes = [self._inboxes[number]] if type(number) is int and number in self._inboxes else []
        elif (self.in_doubt or len(inboxes) > 1) and not str(message["method"]).endswith("/list_changed"):
            return  # which call it is about, nothing says
        for inbox in inboxes:
            inbox.offer(message, size)

    def _is_about_one(self, question: Message, inboxes: list[Inbox]) -> bool:
        """Tell whether it is known whom a question is for; a ping is for nobody."""
        return question["method"] != "ping" and not self.in_doubt and self.turn.locked() and len(inboxes) == 1

    def _responded(self, message: Message) -> None:
        """Hand a response to whoever waits for it; there is one to each request."""
        number = message.get("id")
        if type(number) is not int:
            return
        if (inbox := self._inboxes.pop(number, None)) is not None:
            inbox.put(message)
        elif len(self._unanswered) < _MOST_UNANSWERED:  # of more, it is not known any more which
            self._unanswered.discard(number)

    def _given_up(self, number: int) -> None:
        """Note that nobody waits for a request any more; the program may not have answered it."""
        if number in self._inboxes and len(self._unanswered) < _MOST_UNANSWERED:
            self._unanswered.add(number)
        self._inboxes.pop(number, None)

    def _look_after(self) -> None:
        """Ask a program that was too slow whether it is well; one that does not even say so is ended."""
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())

    async def _look(self) -> None:
        number = next(self._ids)
        inbox = self._inboxes[number] = Inbox()
        method = "server/discover" if self.modern else "ping"
        params = {"_meta": self._envelope()} if self.modern else {}
        try:
            async with asyncio.timeout(_WELL_SECONDS):
                await self._send({"jsonrpc": "2.0", "id": number, "method": method, "params": params})
                await self._answer(inbox, number, Deaf())
        except (TimeoutError, errors.Refusal):
            self._process.kill()
        finally:
            self._inboxes.pop(number, None)

    async def _cancel(self, number: int) -> None:
        with contextlib.suppress(errors.Refusal, TimeoutError):
            async with asyncio.timeout(_FAREWELL_SECONDS):
                params = {"requestId": number}
                await self._send({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params})


@contextlib.asynccontextmanager
async def program(session: Session, capabilities: Mapping[str, Any], *, asks: bool) -> AsyncIterator[Peer]:
    """Yield the session's program, ready to be spoken to. If it may ask the client, one call has it for itself.

    Raises `ConnectorBusy` if others have it all the while.
    """
    while True:
        process = await session.process()
        if process.attached is None:
            process.attached = Peer(process, capabilities, session.limits.total_seconds)
        peer: Peer = process.attached
        process.calls += 1
        try:
            await peer.ready()
            if not asks:
                yield peer
                return
            async with _turn(peer, session.limits.total_seconds):
                if process.alive and not peer.in_doubt:
                    yield peer
                    return
                process.blameless = process.blameless or process.alive
                process.kill()  # it may be about to ask this caller what another's call is about
        finally:
            process.calls -= 1


@contextlib.asynccontextmanager
async def _turn(peer: Peer, seconds: float) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(seconds):
            await peer.turn.acquire()
    except TimeoutError:
        raise errors.ConnectorBusy(detail="a program that may ask has one call at a time") from None
    try:
        yield
    finally:
        peer.turn.release()
