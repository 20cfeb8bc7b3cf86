"""What a connector's function is given: calls to one base URL, authorised, retried once when the token has expired."""

import re
from collections.abc import Callable, Mapping
from typing import Any, Protocol
from urllib.parse import quote, urlencode

import msgspec

from broker.egress.client import Client, Dispatch, Response
from broker.egress.reach import climbs, origin
from broker.egress.secret import Secret
from broker.egress.streamed import Streamed
from broker.errors import EgressDenied, InvalidArguments, UpstreamUnauthorized

_PLACE = re.compile(r"\{(\w+)\}")
_COOKIE_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_COOKIE_VALUE = re.compile(r"[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e,]*")
# What egress writes itself: who calls, where, and how the message is framed
_OURS = frozenset(
    {"authorization", "proxy-authorization", "cookie", "host", "content-length", "transfer-encoding", "connection"}
    | {"upgrade", "te", "trailer", "expect", "accept-encoding"}
)


class Authorization(Protocol):
    """The credential of one grant, for the length of one attempt."""

    async def header(self) -> Secret | None:
        """Return the `Authorization` header's value that is current now; None where a call goes without."""
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
        self._origin = origin(base_url)
        self._base = base_url.rstrip("/")
        self._authorization = authorization
        self._expired = expired
        self._dispatch = Dispatch()
        self._spent: Secret | None = None
        """The header that this session has had renewed: one renewal is what an attempt gets."""

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

    async def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None,
        cookies: Mapping[str, str] | None = None,
    ) -> Response:
        """Send a whole request under the base URL's origin, with the credential.

        A credential that has expired is renewed and the request repeated: once in a session, however many requests it
        makes. What a caller's headers say of authorization, cookies, host or framing is left out; `cookies` are sent.
        """
        if (wanted := origin(url)) != self._origin:
            raise EgressDenied(detail=f"{wanted} is not the service that this session is bound to")
        plain = {name: value for name, value in headers.items() if name.lower() not in _OURS}
        if cookies:
            plain["Cookie"] = _cookie(cookies)
        for last in (False, True):
            header = await self._authorization.header()
            response = await self._client.send(method, url, plain, body, self._dispatch, header)
            if header is None or not self._expired(response):
                return response
            if last or self._spent not in (None, header):
                break
            self._spent = header
            await self._authorization.renew(header)
        raise UpstreamUnauthorized(detail="a token that was just issued is refused as expired")

    async def stream(self, url: str, headers: Mapping[str, str], body: bytes) -> Streamed:
        """Post a request whose answer is read as it comes; otherwise as `send`."""
        if (wanted := origin(url)) != self._origin:
            raise EgressDenied(detail=f"{wanted} is not the service that this session is bound to")
        for last in (False, True):
            header = await self._authorization.header()
            answer = await self._client.stream("POST", url, headers, body, self._dispatch, header)
            if header is None or not self._expired(Response(answer.status, answer.headers, b"")):
                return answer
            answer.close()
            if last or self._spent not in (None, header):
                break
            self._spent = header
            await self._authorization.renew(header)
        raise UpstreamUnauthorized(detail="a token that was just issued is refused as expired")


def _cookie(cookies: Mapping[str, str]) -> str:
    """Write cookies (RFC 6265 §4.1.1); none may be two."""
    if not all(_COOKIE_NAME.fullmatch(name) and _COOKIE_VALUE.fullmatch(value) for name, value in cookies.items()):
        raise InvalidArguments("A cookie holds characters that do not belong in one.")
    return "; ".join(f"{name}={value}" for name, value in cookies.items())


def _fill(template: str, values: Mapping[str, str]) -> str:
    def segment(place: re.Match[str]) -> str:
        value = values[place[1]]
        # quote() leaves dots alone, and ".." would climb the path, at the service too if it decodes twice
        if not value or climbs(value):
            raise InvalidArguments(f"{place[1]!r} must not be empty, and no part of it dots.")
        return quote(value, safe="")

    return _PLACE.sub(segment, template)
