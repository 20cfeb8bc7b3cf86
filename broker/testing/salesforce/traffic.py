"""What arrived: counters and the list of requests, for the sentence "it was never asked"."""

from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import unquote_plus

from starlette.types import ASGIApp, Receive, Scope, Send

DATA_PATH = "/services/data/"
TOKEN_PATH = "/services/oauth2/token"
WRITING_METHODS = frozenset({"POST", "PUT", "PATCH", "DELETE"})


@dataclass(frozen=True, slots=True)
class SeenRequest:
    """A request without its headers and body, where the secrets are; `query` is kept for data resources only."""

    method: str
    path: str
    query: str


class Traffic:
    """Counts every request on its way in, before any check or fault, so that zero means none was even tried."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.requests: list[SeenRequest] = []
        self.token_requests = 0
        self.api_requests = 0
        self.writes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Note the request and pass it on."""
        self._note(scope["method"], scope["path"], scope["query_string"].decode("latin-1"))
        await self._app(scope, receive, send)

    def counters(self) -> dict[str, Any]:
        """Write everything noted as JSON values."""
        return {
            "token_requests": self.token_requests,
            "api_requests": self.api_requests,
            "writes": self.writes,
            "requests": [asdict(request) for request in self.requests],
        }

    def _note(self, method: str, path: str, query: str) -> None:
        is_data = path.startswith(DATA_PATH)
        self.requests.append(SeenRequest(method, path, unquote_plus(query) if is_data else ""))
        self.token_requests += path == TOKEN_PATH
        self.api_requests += is_data
        self.writes += is_data and method in WRITING_METHODS
