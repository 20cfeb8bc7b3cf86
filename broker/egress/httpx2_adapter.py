"""Lets Authlib, which speaks `httpx2`, reach a token endpoint through a `Client`."""

import httpx2

from broker.egress.client import Client, Dispatch
from broker.egress.secret import Secret


class EgressTransport(httpx2.AsyncBaseTransport):
    """Hands each request to egress; connections, hosts, caps and redirects are egress's."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send the request and return a response that holds no trace of it."""
        wanted = {name: value for name, value in request.headers.items() if name in {"content-type", "accept"}}
        authentication = request.headers.get("authorization")  # the client's own, at the token endpoint
        answer = await self._client.send(
            request.method,
            str(request.url),
            wanted,
            await request.aread() or None,
            Dispatch(),
            None if authentication is None else Secret(authentication),
        )
        return httpx2.Response(answer.status, headers=dict(answer.headers), content=answer.body)
