"""What a connector's function is given: calls to one base URL, authorised, retried once when the token has expired."""

import contextlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Protocol
from urllib.parse import quote, urlencode

import msgspec

from broker.egress.client import Client, Dispatch, Limits, Patience, Response, Streamed
from broker.egress.processes import Process
from broker.egress.reach import climbs, origin
from broker.egress.secret import Secret
from broker.errors import EgressDenied, InvalidArguments, UpstreamUnauthorized

_PLACE = re.compile(r"\{(\w+)\}")
_COOKIE_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_COOKIE_VALUE = re.compile(r"[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e,]*")
_FIRST_ERROR = 400  # of HTTP's status codes
_REFUSED = "the service refuses the credential, even a token that was just issued"
# What egress writes itself: who calls, where, and how the message is framed
_OURS = frozenset(
    {"authorization", "proxy-authorization", "cookie", "host", "content-length", "transfer-encoding", "connection"}
    | {"upgrade", "te", "trailer", "expect", "accept-encoding"}
)


class Authorization(Protocol):
    """The credential of one grant, for the length of one attempt."""

    async def header(self) -> Secret | None:
        """Return the `Authorization` header's value that is current now; None where the service asks for none."""
        ...

    async def renew(self, spent: Secret) -> None:
        """Replace a header that the service refused; does nothing if another call has replaced it already."""
        ...


Launch = Callable[[Secret | None], Awaitable[Process]]
"""Returns the running process that serves one grant, started with its credential if need be."""


class Session:
    """Calls to one service for one attempt. `sent` tells whether any of them has left.

    `launch` starts the service itself, where its connector's document names a program to run.
    """

    def __init__(
        self,
        client: Client,
        base_url: str,
        authorization: Authorization,
        expired: Callable[[Response], bool],
        launch: Launch | None = None,
    ) -> None:
        self._client = client
        self._origin = "" if launch is not None else origin(base_url)  # a program has none that could be called
        self._base = base_url.rstrip("/")
        self._authorization = authorization
        self._expired = expired
        self._launch = launch
        self._dispatch = Dispatch()
        self._spent: Secret | None = None
        """The header that this session has had renewed: one renewal is what an attempt gets."""

    @property
    def base_url(self) -> str:
        """The one URL under which everything is called."""
        return self._base

    @property
    def limits(self) -> Limits:
        """The caps on each of its requests."""
        return self._client.limits

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
        plain = self._plain(url, headers)
        if cookies:
            plain["Cookie"] = _cookie(cookies)
        for last in (False, True):
            header = await self._authorization.header()
            response = await self._client.send(method, url, plain, body, self._dispatch, header)
            if header is None or not self._expired(response):
                return response
            if not await self._renewed(header, last=last):
                break
        raise UpstreamUnauthorized(detail=_REFUSED)

    @contextlib.asynccontextmanager
    async def stream(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, *, lasting: bool = False
    ) -> AsyncIterator[Streamed]:
        """Send a request as `send` does, and yield the answer, whose body is taken as it comes.

        A `lasting` answer may take as long as it likes.
        Of an answer with an error status, its status and headers say whether the credential has expired.
        """
        streamed = await self._opened(method, url, headers, body, "lasting" if lasting else "whole")
        try:
            yield streamed
        finally:
            streamed.close()

    async def open(self, url: str, headers: Mapping[str, str], body: bytes) -> Streamed:
        """Post a request as `stream` does; whoever asked closes the answer, which lasts as long as something comes."""
        return await self._opened("POST", url, headers, body, "silence")

    async def _opened(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, patience: Patience
    ) -> Streamed:
        plain = self._plain(url, headers)
        for last in (False, True):
            header = await self._authorization.header()
            answer = await self._client.open(method, url, plain, body, self._dispatch, header, patience)
            if header is None or not self._has_expired(answer):
                return answer
            answer.close()
            if not await self._renewed(header, last=last):
                break
        raise UpstreamUnauthorized(detail=_REFUSED)

    async def process(self) -> Process:
        """Return the program that is this service, running with this session's credential.

        From then on, being cut off means that the outcome is unknown.
        """
        if self._launch is None:
            raise EgressDenied(detail="this connector's document names no program to run")
        process = await self._launch(await self._authorization.header())
        self._dispatch.sent = True
        return process

    def _has_expired(self, streamed: Streamed) -> bool:
        return streamed.status >= _FIRST_ERROR and self._expired(
            Response(streamed.status, streamed.headers, b"", streamed.challenge)
        )

    def _plain(self, url: str, headers: Mapping[str, str]) -> dict[str, str]:
        if (wanted := origin(url)) != self._origin:
            raise EgressDenied(detail=f"{wanted} is not the service that this session is bound to")
        return {name: value for name, value in headers.items() if name.lower() not in _OURS}

    async def _renewed(self, header: Secret | None, *, last: bool) -> bool:
        """Have a refused header replaced, if this attempt has that still to its credit."""
        if header is None or last or self._spent not in (None, header):
            return False
        self._spent = header
        await self._authorization.renew(header)
        return True


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
