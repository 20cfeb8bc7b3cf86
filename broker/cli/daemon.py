"""The commands' side of the operators' socket."""

import contextlib
import http.client
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from broker.errors import DaemonUnreachable, Refusal

Directory = Annotated[
    Path,
    typer.Option("--dir", "-d", envvar="AAM_DIR", help="The directory of the broker's documents.", show_default="."),
]
HERE = Path()
_TIMEOUT = 120.0  # seconds: a grant's test waits for the service


class Refused(Refusal):
    """The broker refused, in its own words."""

    def __init__(self, code: str, message: str, detail: str | None) -> None:
        super().__init__(message, detail=detail)
        self.code = code  # type: ignore[misc] # the code is the broker's


class Daemon:
    """Asks the running broker; every method raises a `Refusal` if it cannot or will not."""

    def __init__(self, directory: Path) -> None:
        self.socket = operators_socket(directory)

    def get(self, path: str, **query: str | int) -> Any:
        """Ask for something."""
        return self._ask("GET", path + _query(query))

    def post(self, path: str, body: Any = None) -> Any:
        """Ask for something to be done."""
        return self._ask("POST", path, body)

    def put(self, path: str, body: Any) -> Any:
        """Ask for something to be put in place."""
        return self._ask("PUT", path, body)

    def delete(self, path: str) -> Any:
        """Ask for something to be taken away."""
        return self._ask("DELETE", path)

    @contextlib.contextmanager
    def stream(self, path: str, **query: str | int) -> Iterator[Iterator[bytes]]:
        """Yield the lines of an answer as they come, without their ends."""
        with self._connection() as connection:
            response = self._send(connection, "GET", path + _query(query), None)
            if response.status >= http.client.BAD_REQUEST:
                raise _refusal(response.read())
            yield (line.removesuffix(b"\n") for line in response)

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        with self._connection() as connection:
            response = self._send(connection, method, path, body)
            text = response.read()
            if response.status >= http.client.BAD_REQUEST:
                raise _refusal(text)
            return json.loads(text)

    def _send(
        self, connection: http.client.HTTPConnection, method: str, path: str, body: Any
    ) -> http.client.HTTPResponse:
        try:
            connection.request(method, path, None if body is None else json.dumps(body))
            return connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            raise DaemonUnreachable(
                f"No broker answers on {self.socket}; start one with 'aam serve DIR', or name its DIR with --dir.",
                detail=str(error),
            ) from None

    @contextlib.contextmanager
    def _connection(self) -> Iterator[http.client.HTTPConnection]:
        connection = _UnixConnection(self.socket)
        try:
            yield connection
        finally:
            connection.close()


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=_TIMEOUT)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def operators_socket(directory: Path) -> Path:
    """Return where the broker of these documents listens for operators."""
    return _listen_path(directory, "operators_socket", "run/operators.sock")


def agents_socket(directory: Path) -> Path:
    """Return where the broker of these documents listens for local agents."""
    return _listen_path(directory, "agents_socket", "run/agents.sock")


def _listen_path(directory: Path, key: str, default: str) -> Path:
    """Read just this from the Broker document: the commands need no more of the documents than that."""
    reader = YAML(typ="safe", pure=True)
    for path in sorted(directory.glob("*.y*ml")):
        with contextlib.suppress(YAMLError, OSError, UnicodeDecodeError, AttributeError):
            for document in reader.load_all(path.read_text()):
                if document.get("kind") == "Broker":
                    listen = document.get("spec", {}).get("listen") or {}
                    return (directory / str(listen.get(key, default))).absolute()
    return (directory / default).absolute()


def quoted(name: str) -> str:
    """Return a name as one segment of a path."""
    return quote(name, safe="")


def _query(values: dict[str, str | int]) -> str:
    return "?" + "&".join(f"{name}={quoted(str(value))}" for name, value in values.items()) if values else ""


def _refusal(text: bytes) -> Refusal:
    try:
        said = json.loads(text)
        return Refused(str(said["code"]), str(said["message"]), said.get("detail"))
    except (ValueError, KeyError, TypeError):
        return DaemonUnreachable("What answers on the operators' socket is no broker.", detail=os.fsdecode(text[:100]))
