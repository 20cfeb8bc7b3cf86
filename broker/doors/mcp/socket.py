"""The agents' Unix socket: the daemon's end of `aam stdio`.

Each line is `{"proof": …, "message": <JSON-RPC>}`. The proof is `{"token": "<JWT-SVID>"}`, or `{"agent": "<name>"}` or
null for the process at the other end. It is checked for every message; a connection belongs to its first identity.
`{"end": true}` says that no more will be asked: the connection is closed once everything is answered. A connection that
just closes cuts what it had asked for.
"""

import contextlib
import json
import logging
from collections import Counter
from typing import Any

import anyio
import anyio.abc
import mcp_types as types
from anyio.streams.buffered import BufferedByteReceiveStream
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.shared.message import ServerMessageMetadata, SessionMessage
from pydantic import ValidationError

from broker.doors.entrance import Entrance
from broker.doors.mcp.refusals import as_error
from broker.doors.mcp.server import McpServer
from broker.doors.mcp.streams import Barred, OpenStreams, Stream
from broker.errors import AgentBarred, TooManyConnections, Unauthenticated
from broker.identity import Peer, Proof, described, socket_peer
from broker.identity.bundle import unique_keys

logger = logging.getLogger(__name__)

_MOST_CONNECTIONS = 1024
_MOST_OF_A_USER = 256
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

    async def serve(self, socket: anyio.abc.SocketStream) -> None:
        """Serve one connection until the relay leaves or it is cut."""
        async with socket:
            try:
                peer = socket_peer(socket.extra(anyio.abc.SocketAttribute.raw_socket))
            except OSError:
                return  # it left before anybody could be asked who it was
            if len(self._streams) >= _MOST_CONNECTIONS or self._users[peer.uid] >= _MOST_OF_A_USER:
                await self._turn_away(socket, peer)
                return
            self._users[peer.uid] += 1
            try:
                with self._streams.opened() as stream:
                    await self._serve(_Connection(socket, await anyio.to_thread.run_sync(described, peer), stream))
            except Exception as error:  # noqa: BLE001 - one connection's end is nobody else's
                logger.error("a connection on the agents' socket failed", extra={"exception": _name(error)})  # noqa: TRY400
            finally:
                self._users -= Counter([peer.uid])

    def cut(self, barred: Barred) -> None:
        """End the connections of barred agents."""
        self._streams.cut(barred)

    async def _turn_away(self, socket: anyio.abc.SocketStream, peer: Peer) -> None:
        refusal = TooManyConnections()
        await self._entrance.turn_away(refusal, "stdio", f"uid:{peer.uid}")
        with contextlib.suppress(*_GONE):
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
                        line = await lines.receive_until(b"\n", self._longest)
                    except anyio.DelimiterNotFound:
                        await to_client.send(_problem(types.PARSE_ERROR, "The message is too large."))
                        return
                    await self._take(line, connection, to_server, to_client)

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
            caller = await self._entrance.admit(proof, "stdio", connection.source, connection.stream.owner)
        except (Unauthenticated, AgentBarred) as refusal:
            if isinstance(message, types.JSONRPCRequest):
                await to_client.send(_error(message.id, as_error(refusal).error))
            return
        connection.stream.owner = caller.identity.spiffe_id
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
