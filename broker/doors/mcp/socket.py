"""The agents' Unix socket: the daemon's end of `aam stdio`.

Each line is `{"proof": …, "message": <JSON-RPC>}`. The proof is `{"token": "<JWT-SVID>"}`, or `{"agent": "<name>"}` or
null for the process at the other end. It is checked for every message; a connection belongs to its first identity, and
one that belongs to nobody after ten seconds is closed.
`{"end": true}` says that no more will be asked: the connection is closed once everything is answered. A connection that
just closes cuts what it had asked for.
"""

import contextlib
import json
import logging
import math
from collections import Counter
from functools import partial
from typing import Any

import anyio
import anyio.abc
import mcp_types as types
from anyio.streams.buffered import BufferedByteReceiveStream
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.shared.message import ServerMessageMetadata, SessionMessage
from pydantic import ValidationError

from broker.control import Barred
from broker.doors.entrance import Entrance
from broker.doors.mcp.refusals import as_error
from broker.doors.mcp.server import McpServer
from broker.doors.mcp.streams import OpenStreams, Stream
from broker.errors import AgentBarred, TooManyConnections, Unauthenticated
from broker.identity import Peer, Proof, WorkloadIdentity, described, socket_peer
from broker.identity.bundle import unique_keys

logger = logging.getLogger(__name__)

_MOST_CONNECTIONS = 1024
_MOST_OF_A_USER = 256
_UNOWNED_SECONDS = 10.0  # how long a connection may belong to nobody
_SHORT_LINE = 64 << 10
_MOST_LONG_LINES = 64  # at once, of connections that belong to nobody; the others wait for a place
_MOST_DESCRIBED = 4  # at once, each in a thread
_MOST_WAITING = 256  # requests of one connection that are not answered yet; the next is read after an answer
_LAST_WORDS_SECONDS = 2.0  # for what is said last to be written
_GONE = (anyio.EndOfStream, anyio.IncompleteRead, anyio.BrokenResourceError, anyio.ClosedResourceError, OSError)

ToServer = MemoryObjectSendStream[SessionMessage | Exception]
ToClient = MemoryObjectSendStream[SessionMessage]


class AgentsSocket:
    """Serves MCP to local agents, one connection for each relay."""

    def __init__(self, server: McpServer, entrance: Entrance, request_bytes: int) -> None:
        self._server = server.sdk
        self._entrance = entrance
        self._longest = request_bytes + (16 << 10)  # a message and its proof
        self._streams = OpenStreams()
        self._users: Counter[int] = Counter()
        self._unowned: dict[Stream, int] = {}  # of which user; the oldest comes first
        self._long_lines = anyio.Semaphore(_MOST_LONG_LINES)
        self._describing = anyio.CapacityLimiter(_MOST_DESCRIBED)  # whose executable is large delays nobody's call

    async def serve(self, socket: anyio.abc.SocketStream) -> None:
        """Serve one connection until the relay leaves or it is cut."""
        async with socket:
            try:
                peer = socket_peer(socket.extra(anyio.abc.SocketAttribute.raw_socket))
            except OSError:
                return  # it left before anybody could be asked who it was
            if not self._has_room(peer.uid):
                await self._turn_away(socket, peer)
                return
            self._users[peer.uid] += 1
            try:
                with self._streams.opened() as stream:
                    stream.scope.deadline = anyio.current_time() + _UNOWNED_SECONDS
                    self._unowned[stream] = peer.uid
                    await self._serve(_Connection(socket, await self._described(peer), stream))
                if stream.owner is None and stream not in self._unowned:  # it had to make room
                    await self._turn_away(socket, peer)
            except Exception as error:  # noqa: BLE001 - one connection's end is nobody else's
                logger.error("a connection on the agents' socket failed", extra={"exception": _name(error)})  # noqa: TRY400
            finally:
                self._unowned.pop(stream, None)
                self._users -= Counter([peer.uid])

    def cut(self, barred: Barred) -> None:
        """End the connections of barred agents."""
        self._streams.cut(barred)

    def _has_room(self, uid: int) -> bool:
        """Tell whether one more may come. Of too many, the oldest that is nobody's goes, of the user who has most."""
        if self._users[uid] >= _MOST_OF_A_USER:
            return self._cut_oldest(uid)
        if len(self._streams) >= _MOST_CONNECTIONS:
            return any(self._cut_oldest(most) for most, _ in Counter(self._unowned.values()).most_common(1))
        return True

    def _cut_oldest(self, uid: int) -> bool:
        oldest = next((stream for stream, user in self._unowned.items() if user == uid), None)
        if oldest is None:
            return False
        del self._unowned[oldest]
        oldest.scope.cancel()
        return True

    def _has_owner(self, stream: Stream, identity: WorkloadIdentity) -> None:
        self._streams.belongs(stream, identity.spiffe_id)
        stream.principal = identity.principal
        stream.scope.deadline = math.inf
        self._unowned.pop(stream, None)

    async def _described(self, peer: Peer) -> Peer:
        describe = partial(described, peer, digest=self._entrance.wants_digests())
        return await anyio.to_thread.run_sync(describe, limiter=self._describing)

    async def _turn_away(self, socket: anyio.abc.SocketStream, peer: Peer) -> None:
        refusal = TooManyConnections()
        await self._entrance.turn_away(refusal, "stdio", f"uid:{peer.uid}")
        with contextlib.suppress(*_GONE), anyio.move_on_after(_LAST_WORDS_SECONDS):
            await socket.send(_line(_error(None, as_error(refusal).error)))

    async def _serve(self, connection: "_Connection") -> None:
        to_server, from_client = anyio.create_memory_object_stream[SessionMessage | Exception](0)
        to_client, from_server = anyio.create_memory_object_stream[SessionMessage](0)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(connection.write, from_server)
            tasks.start_soon(self._read, connection, to_server, to_client.clone())
            await self._server.run(from_client, to_client, self._server.create_initialization_options())
            tasks.cancel_scope.deadline = anyio.current_time() + _LAST_WORDS_SECONDS

    async def _read(self, connection: "_Connection", to_server: ToServer, to_client: ToClient) -> None:
        lines = BufferedByteReceiveStream(connection.socket)
        async with to_server, to_client:
            with connection.reading, contextlib.suppress(*_GONE):
                while True:
                    try:
                        line = await self._line(lines, connection)
                    except anyio.DelimiterNotFound:
                        await to_client.send(_problem(types.PARSE_ERROR, "The message is too large."))
                        return
                    await self._take(line, connection, to_server, to_client)

    async def _line(self, lines: BufferedByteReceiveStream, connection: "_Connection") -> bytes:
        if connection.stream.owner is not None:
            return await lines.receive_until(b"\n", self._longest)
        with contextlib.suppress(anyio.DelimiterNotFound):
            return await lines.receive_until(b"\n", _SHORT_LINE)
        async with self._long_lines:  # what has come is kept
            return await lines.receive_until(b"\n", self._longest)

    async def _take(self, line: bytes, connection: "_Connection", to_server: ToServer, to_client: ToClient) -> None:
        """Pass one message on to the server, or answer it here: what has no valid proof goes no further."""
        try:
            envelope = _parse(line, connection.peer)
        except ValueError:
            await to_client.send(_problem(types.PARSE_ERROR, "The line is no message with its proof."))
            return
        if envelope is None:
            connection.end()
            return
        proof, message = envelope
        try:
            caller = await self._entrance.admit(proof, "stdio", connection.source, connection.stream.principal)
        except (Unauthenticated, AgentBarred) as refusal:
            if isinstance(message, types.JSONRPCRequest):
                await to_client.send(_error(message.id, as_error(refusal).error))
            return
        self._has_owner(connection.stream, caller.identity)
        if isinstance(message, types.JSONRPCRequest) and not await connection.asks(message.id):
            await to_client.send(_problem(types.INVALID_REQUEST, "This id is in use.", message.id))
            return
        if isinstance(message, types.JSONRPCNotification) and message.method == "notifications/cancelled":
            connection.settled((message.params or {}).get("requestId"))  # it will not be answered
        await to_server.send(SessionMessage(message, metadata=ServerMessageMetadata(request_context=caller)))


class _Connection:
    """One relay: whose process it is, and what it has asked and not been told yet."""

    def __init__(self, socket: anyio.abc.SocketStream, peer: Peer, stream: Stream) -> None:
        self.socket = socket
        self.peer = peer
        self.source = f"uid:{peer.uid}"
        self.stream = stream
        self.reading = anyio.CancelScope()
        self._waiting: set[types.RequestId] = set()
        self._places = anyio.Semaphore(_MOST_WAITING)
        self._ending = False

    async def asks(self, request_id: types.RequestId) -> bool:
        """Note a request, as soon as there is a place for it; False if one of that id is waiting already."""
        if request_id in self._waiting:
            return False
        await self._places.acquire()
        self._waiting.add(request_id)
        return True

    def settled(self, request_id: Any) -> None:
        """Note that a request has its answer, or needs none any more."""
        if isinstance(request_id, str | int) and request_id in self._waiting:
            self._waiting.remove(request_id)
            self._places.release()
            self._leave_if_done()

    def end(self) -> None:
        """Note that nothing more will be asked."""
        self._ending = True
        self._leave_if_done()

    def _leave_if_done(self) -> None:
        if self._ending and not self._waiting:
            self.reading.cancel()

    async def write(self, from_server: MemoryObjectReceiveStream[SessionMessage]) -> None:
        """Send what the server says, a line each, until it has no more to say or nobody listens."""
        async with from_server:
            with contextlib.suppress(*_GONE):
                async for said in from_server:
                    await self.socket.send(_line(said))
                    if isinstance(said.message, types.JSONRPCResponse | types.JSONRPCError):
                        self.settled(said.message.id)


def _parse(line: bytes, peer: Peer) -> tuple[Proof, types.JSONRPCMessage] | None:
    """Read one line: a message with its proof, or None for the end; raise `ValueError` for anything else."""
    try:
        envelope: Any = json.loads(line, object_pairs_hook=unique_keys)
        match envelope:
            case {"end": True, **more} if not more:
                return None
            case {"proof": given, "message": dict(said), **more} if not more:
                message = types.jsonrpc_message_adapter.validate_python(said, by_name=False)
                if "id" in said and isinstance(message, types.JSONRPCNotification):
                    raise ValueError("a request under no proper id, which is owed an answer")
                return _proof(given, peer), message
    except (ValidationError, RecursionError):
        pass
    raise ValueError("neither a message with its proof nor the end")


def _proof(given: Any, peer: Peer) -> Proof:
    match given:
        case {"token": str(token), **more} if not more:
            return Proof(token=token)
        case {"agent": str(agent), **more} if not more:
            return Proof(peer=peer, agent=agent)
        case None:
            return Proof(peer=peer)
    raise ValueError("no proof")


def _error(request_id: types.RequestId | None, error: types.ErrorData) -> SessionMessage:
    return SessionMessage(types.JSONRPCError(jsonrpc="2.0", id=request_id, error=error))


def _problem(code: int, words: str, request_id: types.RequestId | None = None) -> SessionMessage:
    return _error(request_id, types.ErrorData(code=code, message=words))


def _line(said: SessionMessage) -> bytes:
    return said.message.model_dump_json(by_alias=True, exclude_unset=True).encode() + b"\n"


def _name(error: Exception) -> str:
    inner = error
    while isinstance(inner, ExceptionGroup):
        inner = inner.exceptions[0]
    return type(inner).__name__
