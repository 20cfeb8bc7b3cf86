"""JSON-RPC as MCP uses it: what is sent, what comes back, and what a server may say while it works."""

import json
from collections.abc import Mapping
from typing import Any, Protocol

from broker.connector import errors

Message = dict[str, Any]
MODERN = "2026-07-28"
HANDSHAKE = "2025-11-25"
HANDSHAKES = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
CLIENT = {"name": "agent-access-manager", "version": "1"}

METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
RESOURCE_NOT_FOUND = -32002  # until 2026-07-28
LACKS_CAPABILITY = -32021
_DEEPEST = 64


class RpcError(Exception):
    """The server answered with a protocol error. Its words are for operators only."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(code)
        self.code = code
        self.words = message
        self.data = data


class Listener(Protocol):
    """What is done with what a server says while it works on a request."""

    async def progress(self, params: Mapping[str, Any]) -> None:
        """Take progress."""
        ...

    async def logged(self, params: Mapping[str, Any]) -> None:
        """Take a log message."""
        ...

    async def asked(self, method: str, params: Mapping[str, Any]) -> Mapping[str, Any]:
        """Answer a question to the client; raise `ClientCannot` if it cannot be asked."""
        ...

    def changed(self, method: str) -> None:
        """Note that the server says that one of its lists has changed."""
        ...

    async def updated(self, uri: str) -> None:
        """Take that a resource has changed to which there is a subscription."""
        ...

    def acknowledged(self) -> None:
        """Note that the server has taken a subscription."""
        ...


class Deaf:
    """For requests of the broker's own: nobody is told or asked anything."""

    async def progress(self, params: Mapping[str, Any]) -> None:
        """Tell nobody."""

    async def logged(self, params: Mapping[str, Any]) -> None:
        """Tell nobody."""

    async def asked(self, method: str, params: Mapping[str, Any]) -> Mapping[str, Any]:  # noqa: ARG002
        """Refuse."""
        raise errors.ClientCannot

    def changed(self, method: str) -> None:
        """Note nothing."""

    async def updated(self, uri: str) -> None:
        """Tell nobody."""

    def acknowledged(self) -> None:
        """Note nothing."""


def encoded(message: Message) -> bytes:
    """Return a message as one line; raise `InvalidArguments` for what JSON has no words for."""
    try:
        return json.dumps(message, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    except (ValueError, RecursionError):
        raise errors.InvalidArguments("The arguments cannot be sent to an MCP server as they are.") from None


def parsed(text: bytes | str) -> Message:
    """Return one message; raise `UpstreamMalformed` for what is none."""
    try:
        message = json.loads(text)
    except (ValueError, RecursionError):
        raise errors.UpstreamMalformed(detail="a message that is no JSON") from None
    if not isinstance(message, dict) or message.get("jsonrpc") != "2.0":
        raise errors.UpstreamMalformed(detail="a message that is no JSON-RPC 2.0")
    return message


def result_of(message: Message) -> Message:
    """Return the result of a response; raise `RpcError`, or `UpstreamMalformed` for what is neither."""
    match message:
        case {"error": {"code": int(code), **more}}:
            raise RpcError(code, str(more.get("message", ""))[:500], more.get("data"))
        case {"result": dict(result)}:
            return result
    raise errors.UpstreamMalformed(detail="a response without a result")


async def take(message: Message, number: int, listener: Listener) -> Message | None:
    """Take one message that came while request `number` was worked on.

    Returns the response to that request; the answer to a question of the server's must be sent by `answer_to`. What is
    for another request, or for nobody, is passed over.
    """
    if "method" not in message:
        return message if message.get("id") == number and type(message.get("id")) is int else None
    if "id" not in message:
        await _notified(message, number, listener)
    return None


async def _notified(message: Message, number: int, listener: Listener) -> None:
    params = message.get("params")
    params = params if isinstance(params, dict) else {}
    match message["method"]:
        case "notifications/progress" if params.get("progressToken") == number:
            await listener.progress(params)
        case "notifications/message":
            await listener.logged(params)
        case "notifications/resources/updated" if isinstance(params.get("uri"), str):
            await listener.updated(params["uri"])
        case "notifications/subscriptions/acknowledged":
            listener.acknowledged()
        case str(method) if method.endswith("/list_changed"):
            listener.changed(method)


async def answer_to(question: Message, listener: Listener) -> Message:
    """Return the response to a request of the server's."""
    head = {"jsonrpc": "2.0", "id": question["id"]}
    if question["method"] == "ping":
        return {**head, "result": {}}
    params = question.get("params")
    try:
        answer = await listener.asked(str(question["method"]), params if isinstance(params, dict) else {})
    except errors.ClientCannot:
        return {**head, "error": {"code": METHOD_NOT_FOUND, "message": "The client cannot be asked this."}}
    return {**head, "result": dict(answer)}


def refusal_of(error: RpcError) -> errors.Refusal:
    """Return the refusal that stands for a server's protocol error.

    None says that the server is not well: it is there, and an agent may have brought the error about, for all agents.
    """
    detail = f"MCP error {error.code}: {error.words}"
    if error.code == RESOURCE_NOT_FOUND:
        return errors.UpstreamNotFound("The server has no such resource.", detail=detail)
    if error.code == LACKS_CAPABILITY:
        return errors.ClientCannot(detail=detail, needs=_capabilities(error.data))
    if error.code in (INVALID_PARAMS, METHOD_NOT_FOUND):
        return errors.UpstreamRejected(detail=detail)
    return errors.UpstreamRejected("The server answered with an error of its own.", detail=detail)


def _capabilities(data: Any) -> list[str]:
    """Return the names of what a server says that the client lacks."""
    needed = data.get("requiredCapabilities") if isinstance(data, dict) else None
    return sorted(name for name in ("elicitation", "sampling", "roots") if isinstance(needed, dict) and name in needed)
