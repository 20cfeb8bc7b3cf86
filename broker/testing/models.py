"""A service of models with behaviour: OpenAI's and Anthropic's APIs, OpenRouter's ways, exact usage, and faults."""

import asyncio
import json
import queue
import threading
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs

from starlette.types import Receive, Scope, Send

from broker.testing.certificates import CertificateAuthority
from broker.testing.server import LoopbackServer, bind

KEY = "sk-CANARY-0123456789-abcdefghijklmnopqrstuvwxyz"
SECRET_WORDS = "org-internal-7731 said no"
"""Words of the provider that no agent may read."""


@dataclass
class Behaviour:
    """How the service answers: whole, exactly, at once, unless it is told otherwise."""

    words: tuple[str, ...] = ("Revenue", " grew", " by", " 4", "%.")
    usage: Mapping[str, int] | None = field(default_factory=lambda: {"input": 11, "output": 5})
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    error: Any = None
    """The body of an error; without it, one with the provider's own words."""
    ignores_cap: bool = False
    stops_after: int | None = None
    """Words after which a stream just stops."""
    drops_after: int | None = None
    """Words after which the connection is cut."""
    events: tuple[Any, ...] | None = None
    """The events of a stream instead of words: values, or what they are as text."""
    fails_after: int | None = None
    """Words after which an error comes in the stream."""
    holds_after: int | None = None
    """Words after which nothing comes until the service is let go on."""
    piece: int | None = None
    """Bytes that come at a time; whole events, without it."""
    openrouter: bool = False
    """Comments, a generation id, the cost in the usage, and errors as OpenRouter has them."""
    cost: Any = 0.000625
    generation: str = "gen-1234"
    late: int = 0
    """How often `/generation` knows nothing of it yet."""
    says: Mapping[str, Any] = field(default_factory=dict)
    """What `/generation` says of it otherwise than it is."""


@dataclass(frozen=True)
class Seen:
    """One request as it came."""

    path: str
    headers: Mapping[str, str]
    body: Any
    text: bytes


class ModelService:
    """The service. A test says how it behaves: for the next requests in turn, and for all after them."""

    def __init__(self, directory: Path, *, tls: bool = True) -> None:
        authority = CertificateAuthority(directory)
        listener = bind(0)
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{listener.getsockname()[1]}"
        self.authority = authority.certificate_file.read_text()
        self.behaves = Behaviour()
        self.next: list[Behaviour] = []
        self.seen: list[Seen] = []
        self.arrived: queue.Queue[str] = queue.Queue()
        self.lookups: list[str] = []
        """The generations that were asked for."""
        self.generations: dict[str, list[Any]] = {}
        """Of each generation how often it is not known yet, and what is known of it then."""
        self.left = threading.Event()
        """Set when a client has left before its answer was whole."""
        self.free = threading.Event()
        self._server = LoopbackServer(self._answer, authority.issue("models") if tls else None, listener)

    def __enter__(self) -> Self:
        self._server.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.free.set()
        self._server.__exit__(None, None, None)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        text = b""
        while True:
            message = await receive()
            text += message.get("body", b"")
            if not message.get("more_body"):
                break
        body = json.loads(text) if text else {}
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        given = {headers.get("authorization"), headers.get("x-api-key"), headers.get("api-key")}
        allowed = bool(given & {f"Bearer {KEY}", KEY})
        if scope["path"].endswith("/generation") and allowed:
            return await self._tell(send, parse_qs(scope["query_string"].decode()).get("id", [""])[0])
        self.seen.append(Seen(scope["path"], headers, body, text))
        behaviour = self.next.pop(0) if self.next else self.behaves
        self.arrived.put(scope["path"])
        if not allowed:
            behaviour = Behaviour(status=401)
        return await self._respond(scope, receive, send, behaviour, body)

    async def _respond(self, scope: Scope, receive: Receive, send: Send, behaviour: Behaviour, body: Any) -> None:
        more = dict(behaviour.headers)
        if behaviour.openrouter:
            more["X-Generation-Id"] = behaviour.generation
            self._generated(behaviour, body)
        path = scope["path"]
        if scope["method"] == "GET":
            return await _whole(send, 200, more, {"object": "list", "data": [{"id": "small"}, {"id": "large"}]})
        if behaviour.status != 200:
            error = behaviour.error or {"error": {"message": SECRET_WORDS, "type": "server_error", "code": None}}
            return await _whole(send, behaviour.status, more, error)
        api = {"completions": "chat", "responses": "responses", "messages": "messages"}.get(path.rpartition("/")[2])
        if api is None:
            return await _whole(send, 200, more, _embeddings(body, behaviour))
        words = _capped(behaviour, body)
        if not body.get("stream"):
            if behaviour.holds_after is not None and not await self._held(receive):
                return None
            return await _whole(send, 200, more, _ANSWERS[api](body, behaviour, words))
        events = _STREAMS[api](body, behaviour, words) if behaviour.events is None else _given(behaviour.events)
        return await self._stream(scope, receive, send, behaviour, more, events)

    def _generated(self, behaviour: Behaviour, body: Any) -> None:
        """Keep what OpenRouter knows of a generation, as soon as there is one."""
        if behaviour.generation not in self.generations and body:
            data = {"id": behaviour.generation, "model": body.get("model"), "total_cost": behaviour.cost}
            data |= {"is_byok": False, "upstream_inference_cost": None, "cancelled": False}
            self.generations[behaviour.generation] = [behaviour.late, data | dict(behaviour.says)]

    async def _tell(self, send: Send, generation: str) -> None:
        """Answer as `/generation` does: what is asked for too early it does not know yet."""
        self.lookups.append(generation)
        known = self.generations.get(generation)
        if known is None or known[0] > 0:
            if known is not None:
                known[0] -= 1
            error = {"error": {"code": 404, "message": f"Generation {generation} not found"}}
            return await _whole(send, 404, {}, error)
        return await _whole(send, 200, {}, {"data": known[1]})

    async def _stream(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        behaviour: Behaviour,
        more: Mapping[str, str],
        events: AsyncIterator[tuple[int, str]],
    ) -> None:
        await send(_start(200, {**more, "content-type": "text/event-stream"}))
        if behaviour.openrouter:
            await send(_part(": OPENROUTER PROCESSING\n\n"))
        async for word, event in events:
            if word == behaviour.drops_after:
                scope["state"]["transport"].abort()
                return
            if word == behaviour.stops_after:
                break
            if word == behaviour.holds_after and not await self._held(receive):
                return
            size = behaviour.piece or len(event)
            for start in range(0, len(event), size):
                await send(_part(event[start : start + size]))
                await asyncio.sleep(0.001 if behaviour.piece else 0)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _held(self, receive: Receive) -> bool:
        """Wait until the service is let go on; False if the client leaves before that."""
        leaving = asyncio.ensure_future(receive())
        try:
            while not self.free.is_set():
                await asyncio.wait([leaving], timeout=0.005)
                if leaving.done():
                    self.left.set()
                    return False
            return True
        finally:
            leaving.cancel()


def _capped(behaviour: Behaviour, body: Any) -> tuple[str, ...]:
    """Return as many words as the cap lets through: a word is a token here."""
    caps = [body.get(name) for name in ("max_completion_tokens", "max_tokens", "max_output_tokens")]
    cap = next((cap for cap in caps if cap is not None), None)
    return behaviour.words if cap is None or behaviour.ignores_cap else behaviour.words[:cap]


def _openai_usage(behaviour: Behaviour, given: str = "prompt", made: str = "completion") -> dict[str, Any] | None:
    usage = behaviour.usage
    if usage is None:
        return None
    said: dict[str, Any] = {
        f"{given}_tokens": usage["input"],
        f"{made}_tokens": usage["output"],
        "total_tokens": usage["input"] + usage["output"],
        f"{given}_tokens_details": {"cached_tokens": usage.get("cached", 0)},
        f"{made}_tokens_details": {"reasoning_tokens": usage.get("reasoning", 0)},
    }
    return {**said, "cost": behaviour.cost, "is_byok": False} if behaviour.openrouter else said


def _chat(body: Any, behaviour: Behaviour, words: tuple[str, ...]) -> Any:
    finish = "length" if len(words) < len(behaviour.words) else "stop"
    message = {"role": "assistant", "content": "".join(words)}
    choices = [{"index": n, "message": message, "finish_reason": finish} for n in range(body.get("n", 1))]
    answer = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": body["model"], "choices": choices}
    usage = _openai_usage(behaviour)
    more = {"provider": "Somewhere"} if behaviour.openrouter else {}
    return {**answer, **more, **({"usage": usage} if usage else {})}


def _message(body: Any, behaviour: Behaviour, words: tuple[str, ...]) -> Any:
    usage = behaviour.usage
    said = {"input_tokens": usage["input"], "output_tokens": usage["output"]} if usage else None
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": body["model"],
        "content": [{"type": "text", "text": "".join(words)}],
        "stop_reason": "max_tokens" if len(words) < len(behaviour.words) else "end_turn",
        "stop_sequence": None,
        **({"usage": said} if said else {}),
    }


def _response(body: Any, behaviour: Behaviour, words: tuple[str, ...]) -> Any:
    cut = len(words) < len(behaviour.words)
    text = {"type": "output_text", "text": "".join(words), "annotations": []}
    item = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": [text]}
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "status": "incomplete" if cut else "completed",
        "model": body["model"],
        "output": [item],
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": _openai_usage(behaviour, "input", "output"),
    }


def _embeddings(body: Any, behaviour: Behaviour) -> Any:
    given = body["input"] if isinstance(body["input"], list) else [body["input"]]
    data = [{"object": "embedding", "index": n, "embedding": [0.25, 0.5]} for n in range(len(given))]
    usage = behaviour.usage
    said = {"usage": {"prompt_tokens": usage["input"], "total_tokens": usage["input"]}} if usage else {}
    return {"object": "list", "model": body["model"], "data": data, **said}


async def _chat_stream(body: Any, behaviour: Behaviour, words: tuple[str, ...]) -> AsyncIterator[tuple[int, str]]:
    wants_usage = bool((body.get("stream_options") or {}).get("include_usage"))
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": body["model"]}

    def chunk(delta: Any, finish: str | None = None, **more: Any) -> str:
        choices = [{"index": 0, "delta": delta, "finish_reason": finish}]
        return _event({**head, "choices": choices, **({"usage": None} if wants_usage else {}), **more})

    yield -1, chunk({"role": "assistant", "content": ""})
    for number, word in enumerate(words):
        if number == behaviour.fails_after:
            error = {"code": 502, "message": SECRET_WORDS, "metadata": {"error_type": "provider_unavailable"}}
            yield -1, chunk({}, "error", error=error)
            return
        yield number, chunk({"content": word})
    usage = _openai_usage(behaviour)
    finish = "length" if len(words) < len(behaviour.words) else "stop"
    yield len(words), chunk({}, finish)
    if usage and (wants_usage or behaviour.openrouter):
        yield -1, _event({**head, "choices": [], "usage": usage})
    yield -1, "data: [DONE]\n\n"


async def _message_stream(body: Any, behaviour: Behaviour, words: tuple[str, ...]) -> AsyncIterator[tuple[int, str]]:
    usage = behaviour.usage
    start = {**_message(body, behaviour, ()), "stop_reason": None, "content": []}
    start["usage"] = {"input_tokens": usage["input"], "output_tokens": 1} if usage else {}
    yield -1, _named("message_start", message=start)
    yield -1, _named("content_block_start", index=0, content_block={"type": "text", "text": ""})
    yield -1, _named("ping")
    for number, word in enumerate(words):
        if number == behaviour.fails_after:
            yield -1, _named("error", error={"type": "overloaded_error", "message": SECRET_WORDS})
            return
        yield number, _named("content_block_delta", index=0, delta={"type": "text_delta", "text": word})
    yield -1, _named("content_block_stop", index=0)
    reason = "max_tokens" if len(words) < len(behaviour.words) else "end_turn"
    said = {"output_tokens": usage["output"]} if usage else {}
    yield len(words), _named("message_delta", delta={"stop_reason": reason, "stop_sequence": None}, usage=said)
    yield -1, _named("message_stop")


async def _response_stream(body: Any, behaviour: Behaviour, words: tuple[str, ...]) -> AsyncIterator[tuple[int, str]]:
    whole = _response(body, behaviour, words)
    begun = {**whole, "status": "in_progress", "output": [], "usage": None}
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    item = {**whole["output"][0], "status": "in_progress", "content": []}
    part = {"type": "output_text", "text": "", "annotations": []}
    yield -1, _named("response.created", response=begun, sequence_number=0)
    yield -1, _named("response.output_item.added", item=item, output_index=0, sequence_number=1)
    yield -1, _named("response.content_part.added", part=part, **place, sequence_number=2)
    for number, word in enumerate(words):
        if number == behaviour.fails_after:
            failed = {**begun, "status": "failed", "error": {"code": "server_error", "message": SECRET_WORDS}}
            yield -1, _named("response.failed", response=failed, sequence_number=3 + number)
            return
        yield number, _named("response.output_text.delta", delta=word, **place, logprobs=[], sequence_number=3 + number)
    kind = "response.incomplete" if whole["status"] == "incomplete" else "response.completed"
    yield len(words), _named(kind, response=whole, sequence_number=3 + len(words))


async def _given(events: tuple[Any, ...]) -> AsyncIterator[tuple[int, str]]:
    for number, event in enumerate(events):
        yield number, event if isinstance(event, str) else _event(event)


_ANSWERS = {"chat": _chat, "messages": _message, "responses": _response}
_STREAMS = {"chat": _chat_stream, "messages": _message_stream, "responses": _response_stream}


def _event(value: Any) -> str:
    return f"data: {json.dumps(value)}\n\n"


def _named(kind: str, **members: Any) -> str:
    return f"event: {kind}\n{_event({'type': kind, **members})}"


def _start(status: int, headers: Mapping[str, str]) -> Any:
    fields = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http.response.start", "status": status, "headers": fields}


def _part(text: str) -> Any:
    return {"type": "http.response.body", "body": text.encode(), "more_body": True}


async def _whole(send: Send, status: int, headers: Mapping[str, str], value: Any) -> None:
    text = json.dumps(value).encode()
    fields = {**headers, "content-type": "application/json", "content-length": str(len(text))}
    await send(_start(status, fields))
    await send({"type": "http.response.body", "body": text})
