"""What a connector's function is given: calls to one base URL, authorised, retried once when the token has expired."""

import re
from collections.abc import Callable, Mapping
from typing import Any, Protocol
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from broker.egress.client import Client, Dispatch, Response
from broker.egress.secret import Secret
from broker.errors import EgressDenied, InvalidArguments, UpstreamUnauthorized

_PLACE = re.compile(r"\{(\w+)\}")


class Authorization(Protocol):
    """The credential of one grant, for the length of one attempt."""

    async def header(self) -> Secret:
        """Return the `Authorization` header's value that is current now."""
        ...

    async def renew(self, spent: Secret) -> None:
        """Replace a header that the service refused; does nothing if another call has replaced it already."""
        ...


class Session:
    """Calls to one service for one attempt. `sent` tells whether any of them has left."""

    def __init__(
        self, client: Client, base_url: str, authorization: Authorization, expired: Callable[[Response], bool]
    ) -> None:
        self._client = client
        self._origin = _origin(base_url)
        self._base = base_url.rstrip("/")
        self._authorization = authorization
        self._expired = expired
        self._dispatch = Dispatch()

    @property
    def base_url(self) -> str:
        """The one URL under which everything is called."""
        return self._base

    @property
    def sent(self) -> bool:
        """Whether a request had been sent: from then on, being cut off means that the outcome is unknown."""
        return self._dispatch.sent

    async def call(
        self,
        method: str,
        template: str,
        *,
        query: Mapping[str, str] | None = None,
        json: Any = None,
        **values: str,
    ) -> Response:
        """Call a path under the base URL; each `{name}` in the template is one escaped segment of it."""
        url = self._base + _fill(template, values) + (f"?{urlencode(query)}" if query else "")
        body = None if json is None else msgspec.json.encode(json)
        headers = {} if body is None else {"Content-Type": "application/json"}
        return await self.send(method, url, headers, body)

    async def send(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> Response:
        """Send a whole request under the base URL's origin, with the credential; renew and repeat once on expiry."""
        if _origin(url) != self._origin:
            raise EgressDenied(detail=f"{_origin(url)} is not the service that this session is bound to")
        plain = {name: value for name, value in headers.items() if name.lower() not in {"authorization", "cookie"}}
        for last in (False, True):
            header = await self._authorization.header()
            response = await self._client.send(
                method, url, {**plain, "Authorization": header.reveal()}, body, self._dispatch
            )
            if not self._expired(response):
                return response
            if not last:
                await self._authorization.renew(header)
        raise UpstreamUnauthorized(detail="a token that was just issued is refused as expired")


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{(parts.hostname or '').lower()}:{parts.port or 443}"


def _fill(template: str, values: Mapping[str, str]) -> str:
    def segment(place: re.Match[str]) -> str:
        value = values[place[1]]
        # quote() leaves dots alone, and ".." would climb the path
        if value in {"", ".", ".."}:
            raise InvalidArguments(f"{place[1]!r} must not be empty or dots.")
        return quote(value, safe="")

    return _PLACE.sub(segment, template)
