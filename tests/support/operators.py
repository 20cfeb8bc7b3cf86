"""A client of the operators' socket that is nobody's but the tests'."""

import contextlib
import http.client
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode


class OperatorRefused(Exception):  # noqa: N818 - refusing is what the broker does
    """The broker has refused an operator's request."""

    def __init__(self, status: int, answer: dict[str, Any]) -> None:
        super().__init__(str(answer))
        self.status = status
        self.code: str = answer["code"]
        self.message: str = answer["message"]
        self.detail: str | None = answer["detail"]


class OperatorsClient:
    """Asks the operators' door of one broker."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def get(self, path: str, **query: Any) -> Any:
        """Ask for something."""
        return self.ask("GET", path + (f"?{urlencode(query)}" if query else ""))

    def post(self, path: str, body: Any = None) -> Any:
        """Ask for something to be done."""
        return self.ask("POST", path, body)

    def put(self, path: str, body: Any) -> Any:
        """Ask for something to be put in place."""
        return self.ask("PUT", path, body)

    def delete(self, path: str) -> Any:
        """Ask for something to be taken away."""
        return self.ask("DELETE", path)

    def ask(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Any:
        """Ask; raise `OperatorRefused` if the answer is a refusal."""
        with self._asked(method, path, body, headers) as response:
            answer = json.loads(response.read())
            if response.status >= 400:
                raise OperatorRefused(response.status, answer)
            return answer

    @contextlib.contextmanager
    def export(self) -> Iterator[Iterator[bytes]]:
        """Yield the lines of an export, without their ends."""
        with self._asked("GET", "/v1/trail/export", None, None) as response:
            yield (line.removesuffix(b"\n") for line in response)

    @contextlib.contextmanager
    def _asked(
        self, method: str, path: str, body: Any, headers: dict[str, str] | None
    ) -> Iterator[http.client.HTTPResponse]:
        connection = http.client.HTTPConnection("localhost", timeout=60)
        connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.sock.settimeout(60)
        try:
            connection.sock.connect(str(self.path))
            connection.request(method, path, None if body is None else json.dumps(body), headers or {})
            with connection.getresponse() as response:
                yield response
        finally:
            connection.close()
