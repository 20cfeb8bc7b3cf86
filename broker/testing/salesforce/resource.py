"""One path of the REST API: the session first, then whether it answers the method, then the answer."""

from collections.abc import Callable, Mapping
from typing import Any

from msgspec import DecodeError
from msgspec.json import decode, encode
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from broker.testing.salesforce.errors import ServiceError, method_not_allowed, resource_missing
from broker.testing.salesforce.objects import find_object
from broker.testing.salesforce.schema import SObject

Answer = tuple[int, Any]
"""A status, and what becomes the JSON body; None is no body."""
Handler = Callable[[Request, bytes], Answer | Response]


class Resource:
    """Answers one path; what its handlers refuse is answered by `refuse`."""

    def __init__(self, authorise: Callable[[Request], dict[str, str]], handlers: Mapping[str, Handler]) -> None:
        self._authorise = authorise
        self._handlers = dict(handlers)
        if "GET" in handlers:
            self._handlers["HEAD"] = handlers["GET"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        request = Request(scope, receive)
        headers = self._authorise(request)
        if not self._handlers:
            raise resource_missing()
        handler = self._handlers.get(request.method)
        if handler is None:
            raise method_not_allowed(request.method, ",".join(sorted(self._handlers)))
        answer = handler(request, await request.body())
        response = answer if isinstance(answer, Response) else as_json(*answer)
        response.headers.update(headers)
        await response(scope, receive, send)


def refuse(_: Request, error: Exception) -> Response:
    """Answer a ServiceError, or a request that no route takes, as the REST API does."""
    refusal = error if isinstance(error, ServiceError) else resource_missing()
    return as_json(refusal.status, refusal.body())


def as_json(status: int, body: Any) -> Response:
    """Make an answer of a JSON value."""
    content = b"" if body is None else encode(body)
    return Response(content, status, media_type="application/json;charset=UTF-8")


def data_path(request: Request) -> str:
    """Return the path of the API version that is asked."""
    return f"/services/data/v{request.path_params['version']}"


def sobject_of(name: str) -> SObject:
    """Return the object that a path names, or refuse."""
    sobject = find_object(name)
    if sobject is None:
        raise resource_missing()
    return sobject


def values_of(body: bytes) -> dict[str, Any]:
    """Read a body that is one JSON object."""
    try:
        return decode(body, type=dict[str, Any])
    except DecodeError as error:
        raise ServiceError(400, "JSON_PARSER_ERROR", str(error)) from None
