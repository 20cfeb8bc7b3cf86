"""Requests for models: who sends them, which API they speak, and their answers back as bytes.

An agent's proof is the API key: `Authorization: Bearer`, or `x-api-key` as Anthropic's clients have it.
"""

import asyncio
import contextlib
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from urllib.parse import parse_qs

from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from broker.connector import Api
from broker.control import Budgets
from broker.documents import Documents
from broker.doors.entrance import Caller, Entrance
from broker.doors.mcp.certificates import certified
from broker.doors.mcp.streams import OpenStreams
from broker.doors.models.answering import Answering, Headers
from broker.doors.models.generation import Generations
from broker.doors.models.listing import Listing
from broker.doors.models.own import own_spending
from broker.doors.models.shapes import Shape
from broker.errors import (
    AgentBarred,
    ArgumentsTooLarge,
    Cut,
    InternalError,
    ModelRequestInvalid,
    ProofMalformed,
    Refusal,
    Unauthenticated,
    UnknownApi,
)
from broker.identity import Proof
from broker.models import model_of
from broker.pipeline import ModelCalls, ModelRequest, Origin

logger = logging.getLogger(__name__)

_PATHS: dict[str, tuple[Api, Shape]] = {
    "/v1/chat/completions": ("chat", "openai"),
    "/v1/responses": ("responses", "responses"),
    "/v1/embeddings": ("embeddings", "openai"),
    "/v1/messages": ("messages", "anthropic"),
}
_RUN = re.compile(r"(?!0{32})[0-9a-f]{32}")


class ModelsDoor:
    """Serves the APIs of models."""

    def __init__(
        self,
        documents: Documents,
        entrance: Entrance,
        calls: ModelCalls,
        listing: Listing,
        streams: OpenStreams,
        budgets: Budgets,
        generations: Generations,
    ) -> None:
        self._documents = documents
        self._entrance = entrance
        self._calls = calls
        self._listing = listing
        self._streams = streams
        self._budgets = budgets
        self._generations = generations

    def posted(self) -> dict[str, ASGIApp]:
        """Return what serves a call, by its path. It answers everything that happens."""
        return {path: self._posted(api, shape) for path, (api, shape) in _PATHS.items()}

    def routes(self) -> list[Route]:
        """Return what else is served, and where."""
        lists = [
            Route(path, self._got(self._list), methods=["GET"]) for path in ("/v1/models", "/v1/models/{model:path}")
        ]
        own = Route("/v1/key", self._got(self._own), methods=["GET"])
        generation = Route("/v1/generation", self._got(self._generation), methods=["GET"])
        return [*lists, own, generation, Route("/v1/{other:path}", self._got(self._nothing))]

    def _posted(self, api: Api, shape: Shape) -> ASGIApp:
        async def serve(scope: Scope, receive: Receive, send: Send) -> None:
            answering = Answering(send, shape)
            await self._guarded(scope, answering, lambda caller: self._call(api, scope, receive, answering, caller))

        return serve

    def _got(self, shown: Callable[[Scope, Answering, Caller], Awaitable[None]]) -> ASGIApp:
        async def serve(scope: Scope, receive: Receive, send: Send) -> None:
            del receive
            headers = Headers(scope)
            answering = Answering(send, "anthropic" if headers.get("anthropic-version") else "openai")
            await self._guarded(scope, answering, lambda caller: shown(scope, answering, caller))

        return _App(serve)

    async def _guarded(self, scope: Scope, answering: Answering, serve: Callable[[Caller], Awaitable[None]]) -> None:
        """Serve an admitted caller; answer every refusal in the API's own shape."""
        source = scope["client"][0] if scope.get("client") else "unknown"
        try:
            caller = await self._entrance.admit(await self._proof(scope, source), "models", source)
            await serve(caller)
        except Refusal as refusal:
            if not isinstance(refusal, Unauthenticated | AgentBarred):
                logger.info("model call refused", extra={"code": refusal.code, "call_id": refusal.call_id})
            await answering.refuse(refusal)
        except _Left:
            pass
        except Exception as error:  # noqa: BLE001 - whatever it is, nothing of it reaches an agent
            logger.error("the models door failed", extra={"exception": type(error).__name__})  # noqa: TRY400
            await answering.refuse(InternalError())
        finally:
            answering.quiet()

    async def _proof(self, scope: Scope, source: str) -> Proof:
        try:
            return certified(scope, _key(Headers(scope)))
        except Unauthenticated as refusal:
            await self._entrance.turn_away(refusal, "models", source)
            raise

    async def _call(self, api: Api, scope: Scope, receive: Receive, answering: Answering, caller: Caller) -> None:
        headers = Headers(scope)
        with self._streams.opened(caller.identity.spiffe_id) as stream:
            body = await _read(receive, self._documents.current.broker.caps.request_bytes)
            alias, fields = model_of(body)
            origin = _origin(caller, headers)
            request = ModelRequest(caller.identity, api, alias, body, fields, origin, headers.get("anthropic-beta"))
            answering.call_id = request.call_id
            if bytes(fields.get("stream", b"")) == b"true":
                answering.stays_alive()
            async with _leaving(receive):
                answer = await self._calls.call(request, answering.passing)
            await answering.end(answer)
        if stream.scope.cancelled_caught:
            await answering.refuse(Cut())

    async def _nothing(self, scope: Scope, answering: Answering, caller: Caller) -> None:
        del scope, answering, caller
        raise UnknownApi(f"There is no such API here; there is {', '.join(_PATHS)} by POST, and /v1/models by GET.")

    async def _list(self, scope: Scope, answering: Answering, caller: Caller) -> None:
        wanted = scope["path_params"].get("model")
        await answering.whole(self._listing.of(caller.identity.spiffe_id, wanted, answering.shape))

    async def _generation(self, scope: Scope, answering: Answering, caller: Caller) -> None:
        """Tell an agent what became of a call of its own."""
        ids = parse_qs(scope["query_string"].decode("latin-1")).get("id", [])
        if len(ids) != 1:
            raise ModelRequestInvalid("Which call is meant is said by 'id', once: GET /v1/generation?id=…", field="id")
        await answering.whole(await self._generations.of(caller.identity.spiffe_id, ids[0]))

    async def _own(self, _scope: Scope, answering: Answering, caller: Caller) -> None:
        """Tell an agent of its own caps, and how much of them is left."""
        agent = self._documents.current.registry.agents[caller.identity.spiffe_id]
        await answering.whole(own_spending(agent, await self._budgets.of_agent(agent.workload)))


class _App:
    """An ASGI application: Starlette takes a function for one that answers requests with responses."""

    def __init__(self, serve: ASGIApp) -> None:
        self._serve = serve

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._serve(scope, receive, send)


def _key(headers: Headers) -> str | None:
    """Return what stands in the place of an API key; None if there is none."""
    given = headers.all("authorization")
    keys = headers.all("x-api-key")
    if not given and not keys:
        return None
    if len(given) > 1 or len(keys) > 1:
        raise ProofMalformed("Exactly one key is expected.")
    found = set(keys)
    if given:
        scheme, _, token = given[0].partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise ProofMalformed("The key is expected as 'Authorization: Bearer <token>' or 'x-api-key: <token>'.")
        found.add(token)
    if len(found) > 1:
        raise ProofMalformed("'Authorization' and 'x-api-key' hold different keys; send one.")
    return found.pop()


def _origin(caller: Caller, headers: Headers) -> Origin:
    traceparent = headers.get("traceparent")
    if traceparent is None and (run := headers.get("x-aam-run")) and _RUN.fullmatch(run):
        traceparent = f"00-{run}-{run[:15]}1-00"
    return Origin(
        transport=caller.transport,
        source=caller.source,
        client=headers.get("user-agent"),
        protocol=headers.get("anthropic-version"),
        traceparent=traceparent,
    )


async def _read(receive: Receive, most: int) -> bytes:
    message: Message = await receive()
    body: bytes = message.get("body", b"")
    parts, size = [body], len(body)
    while message.get("more_body"):
        message = await receive()
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > most:
            break
    if size > most:
        raise ArgumentsTooLarge(f"A request may have {most} bytes at most.")
    if message["type"] == "http.disconnect":
        raise ModelRequestInvalid("The request ended before it was whole.")
    return b"".join(parts) if len(parts) > 1 else body


@contextlib.asynccontextmanager
async def _leaving(receive: Receive) -> AsyncIterator[None]:
    """Cut what is done inside once the caller has left: nobody waits for it, and it is paid for by the token."""
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - a coroutine runs in one
    gone = asyncio.Event()

    def left(watching: asyncio.Future[Message]) -> None:
        if not watching.cancelled():
            gone.set()
            task.cancel()

    watching = asyncio.ensure_future(_next(receive))
    watching.add_done_callback(left)
    try:
        yield
    except asyncio.CancelledError:
        if not gone.is_set() or task.uncancel() > 0:
            raise
        raise _Left from None
    finally:
        watching.remove_done_callback(left)
        watching.cancel()


async def _next(receive: Receive) -> Message:
    return await receive()


class _Left(Exception):  # noqa: N818 - nothing is wrong
    """The caller has left."""
