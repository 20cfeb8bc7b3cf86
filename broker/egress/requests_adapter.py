"""Lets a blocking client built on `requests` work through a `Session`, holding no token."""

from collections.abc import Mapping

import requests
from anyio import from_thread
from requests.adapters import BaseAdapter

from broker.egress.session import Session


def requests_session(session: Session) -> requests.Session:
    """Return a `requests` session whose every request leaves through `session`.

    Use it in a worker thread (`anyio.to_thread`): each request runs on the event loop, so that cancelling the call cuts
    the upstream request.
    """
    blocking = requests.Session()
    blocking.trust_env = False
    blocking.adapters.clear()
    blocking.mount("https://", _ThroughEgress(session))
    return blocking


class _ThroughEgress(BaseAdapter):
    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,  # noqa: ARG002, FBT001, FBT002 - requests' own signature
        timeout: float | tuple[float, float] | tuple[float, None] | None = None,  # noqa: ARG002
        verify: bool | str = True,  # noqa: ARG002, FBT001, FBT002
        cert: bytes | str | tuple[bytes | str, bytes | str] | None = None,  # noqa: ARG002
        proxies: Mapping[str, str] | None = None,  # noqa: ARG002
    ) -> requests.Response:
        body = request.body.encode() if isinstance(request.body, str) else request.body
        answer = from_thread.run(
            self._session.send, str(request.method), str(request.url), dict(request.headers), body or None
        )
        response = requests.Response()
        response.status_code = answer.status
        response.headers.update(answer.headers)
        response._content = answer.body  # noqa: SLF001 - it has been read whole; requests has no public way to say so
        response._content_consumed = True  # type: ignore[attr-defined] # noqa: SLF001
        response.encoding = "utf-8"
        response.url = str(request.url)
        response.request = request
        return response

    def close(self) -> None:
        """Nothing to close: the connections are egress's."""
