"""The agents' Unix socket: the daemon's end of `aam stdio`.

Each line is `{"proof": …, "message": <JSON-RPC>}`. The proof is `{"token": "<JWT-SVID>"}`, or `{"agent": "<name>"}` or
null for the process at the other end. It is checked for every message; a connection belongs to its first identity.
"""

import json
import logging
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
from broker.errors import AgentBarred, Refusal, SessionOfAnother, Unauthenticated
from broker.identity import Peer, Proof, described, socket_peer

logger = logging.getLogger(__name__)

Messages = MemoryObjectSendStream[SessionMessage | Exception]


class AgentsSocket:
    """Serves MCP to local agents, one connection for each relay."""

    def __init__(self, server: McpServer, entrance: Entrance, request_bytes: int) -> None:
        self._server = server.sdk
        self._entrance = entrance
        self._longest = request_bytes + (16 << 10)  # a message and its proof
        self._connections: set[anyio.CancelScope] = set()

    async def serve(self, stream: anyio.abc.SocketStream) -> None:
        """Serve one connection until the relay leaves or it is cut."""
        with anyio.CancelScope() as cut:
            self._connections.add(cut)
            try:
                async with stream:
                    await self._serve(stream)
            except (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError):
                pass  # the relay left
            except Exception as error:  # noqa: BLE001 - one connection's end is nobody else's
                logger.error("a connection on the agents' socket failed", extra={"exception": _name(error)})  # noqa: TRY400
            finally:
                self._connections.discard(cut)

    def cut(self) -> None:
        """End every connection."""
        for connection in list(self._connections):
            connection.cancel()

    async def _serve(self, stream: anyio.abc.SocketStream) -> None:
        peer = await anyio.to_thread.run_sync(
            described, socket_peer(stream.extra(anyio.abc.SocketAttribute.raw_socket))
        )
        to_server, from_client = anyio.create_memory_object_stream[SessionMessage | Exception](0)
        to_client, from_server = anyio.create_memory_object_stream[SessionMessage](0)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._write, stream, from_server)
            tasks.start_soon(self._read, stream, peer, to_server, to_client.clone())
            await self._server.run(from_client, to_client, self._server.create_initialization_options())
            tasks.cancel_scope.cancel()

    async def _read(
        self,
        stream: anyio.abc.SocketStream,
        peer: Peer,
        to_server: Messages,
        to_client: MemoryObjectSendStream[SessionMessage],
    ) -> None:
        lines = BufferedByteReceiveStream(stream)
        owner: str | None = None
        async with to_server, to_client:
            while True:
                try:
                    line = await lines.receive_until(b"\n", self._longest)
                except (anyio.EndOfStream, anyio.IncompleteRead):
                    return
                except anyio.DelimiterNotFound:
                    await to_client.send(_answer(None, types.PARSE_ERROR, "The message is too large."))
                    return
                try:
                    proof, message = _envelope(line, peer)
                except ValueError:
                    await to_client.send(_answer(None, types.PARSE_ERROR, "The line is no message with its proof."))
                    continue
                try:
                    caller = await self._entrance.admit(proof, "stdio", f"uid:{peer.uid}")
                    owner = owner or caller.identity.spiffe_id
                    if owner != caller.identity.spiffe_id:
                        raise SessionOfAnother
                except (Unauthenticated, AgentBarred) as refusal:
                    await _refuse(message, refusal, to_client)
                    continue
                await to_server.send(SessionMessage(message, metadata=ServerMessageMetadata(request_context=caller)))

    async def _write(
        self, stream: anyio.abc.SocketStream, from_server: MemoryObjectReceiveStream[SessionMessage]
    ) -> None:
        async for answer in from_server:
            text = answer.message.model_dump_json(by_alias=True, exclude_unset=True)
            await stream.send(text.encode() + b"\n")


def _envelope(line: bytes, peer: Peer) -> tuple[Proof, types.JSONRPCMessage]:
    """Read one line; raise `ValueError` if it is not what a relay sends."""
    try:
        envelope: Any = json.loads(line)
        message = types.jsonrpc_message_adapter.validate_python(envelope["message"], by_name=False)
        match envelope.get("proof"):
            case {"token": str(token)}:
                return Proof(token=token), message
            case {"agent": str(agent)}:
                return Proof(peer=peer, agent=agent), message
            case None:
                return Proof(peer=peer), message
    except (ValidationError, RecursionError, KeyError, TypeError, AttributeError):
        pass
    raise ValueError("not a message with its proof")


async def _refuse(
    message: types.JSONRPCMessage, refusal: Refusal, to_client: MemoryObjectSendStream[SessionMessage]
) -> None:
    if isinstance(message, types.JSONRPCRequest):
        error = as_error(refusal).error
        await to_client.send(_answer(message.id, error.code, error.message, error.data))


def _answer(request_id: types.RequestId | None, code: int, message: str, data: Any = None) -> SessionMessage:
    return SessionMessage(
        types.JSONRPCError(jsonrpc="2.0", id=request_id, error=types.ErrorData(code=code, message=message, data=data))
    )


def _name(error: Exception) -> str:
    inner = error
    while isinstance(inner, ExceptionGroup):
        inner = inner.exceptions[0]
    return type(inner).__name__
