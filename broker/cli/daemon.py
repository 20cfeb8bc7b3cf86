"""The commands' side of the operators' socket."""

import contextlib
import http.client
import json
import os
import socket
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from broker.errors import DaemonUnreachable, DocumentsInvalid, OperatorUnknown, Refusal

Directory = Annotated[
    Path,
    typer.Option(
        "--dir",
        "-d",
        envvar="AAM_DIR",
        help="The directory of the broker's documents.",
        show_default=".",
        exists=True,
        file_okay=False,
    ),
]
Documents = Annotated[
    Path | None,
    typer.Argument(help="The directory of the broker's documents.", show_default=".", exists=True, file_okay=False),
]
HERE = Path()
_TIMEOUT = 120.0  # seconds: a grant's test waits for the service
_LARGEST_DOCUMENT = 1 << 20


class Refused(Refusal):
    """The broker refused, in its own words."""

    def __init__(self, code: str, message: str, detail: str | None) -> None:
        super().__init__(message, detail=detail)
        self.code = code  # type: ignore[misc] # the code is the broker's


class ListenerUntrusted(DaemonUnreachable):
    """Another user's process listens on the operators' socket; nothing was sent to it."""


class Daemon:
    """Asks the running broker; every method raises a `Refusal` if it cannot or will not."""

    def __init__(self, directory: Path) -> None:
        self.socket = operators_socket(directory)
        self._directory = directory
        self._trusted = _trusted_users(directory, self.socket)

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
        """Yield the lines of an answer as they come, without their ends; the answer may end too early."""
        with self._answer("GET", path + _query(query)) as response:
            yield self._lines(response)

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        with self._answer(method, path, body) as response:
            try:
                return json.loads(response.read())
            except (OSError, http.client.HTTPException, ValueError) as error:
                raise self._unreachable(error) from None

    @contextlib.contextmanager
    def _answer(self, method: str, path: str, body: Any = None) -> Iterator[http.client.HTTPResponse]:
        connection = _UnixConnection(self.socket, self._trusted)
        try:
            try:
                connection.request(method, path, body if body is None or isinstance(body, bytes) else json.dumps(body))
                response = connection.getresponse()
                refusal = _refusal(response) if response.status >= http.client.BAD_REQUEST else None
            except (OSError, http.client.HTTPException) as error:
                raise self._unreachable(error) from None
            if refusal is not None:
                raise refusal
            yield response
        finally:
            connection.close()

    def _lines(self, response: http.client.HTTPResponse) -> Iterator[bytes]:
        try:
            for line in response:
                yield line.removesuffix(b"\n")
        except (OSError, http.client.HTTPException) as error:
            raise self._unreachable(error) from None

    def _unreachable(self, error: Exception) -> Refusal:
        if isinstance(error, PermissionError):
            return OperatorUnknown(
                f"You may not reach the operators' socket {self.socket}; run as the broker's user, or join the "
                "operators_group.",
                detail=str(error),
            )
        if not self._directory.is_dir() or _broker_document(self._directory) is None:
            message = f"There is no Broker document in {self._directory}; name its directory with --dir."
        else:
            message = f"No broker answers on {self.socket}; start one with 'aam serve {self._directory}'."
        return DaemonUnreachable(message, detail=str(error))


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, trusted: set[int]) -> None:
        super().__init__("localhost", timeout=_TIMEOUT)
        self._path = path
        self._trusted = trusted

    def connect(self) -> None:
        """Connect; raise `ListenerUntrusted` before anything is sent, if whoever listens may not be the broker."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))
        uid = listener_uid(self.sock)
        if uid not in self._trusted:
            raise ListenerUntrusted(
                f"A process of user id {uid} listens on {self._path}: that is neither root, nor you, nor the owner of "
                "the Broker document or of the socket's directory. Nothing was sent to it."
            )


def listener_uid(connection: socket.socket) -> int:
    """Return the user of the process that listens: `broker.identity` tells it too, but takes its time to load."""
    if sys.platform == "darwin":  # pragma: no cover - xucred of <sys/ucred.h>
        return int(struct.unpack_from("2I", connection.getsockopt(0, 0x001, 76))[1])
    return int(struct.unpack("iII", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1])


def _trusted_users(directory: Path, path: Path) -> set[int]:
    """Return who may be the broker: root, oneself, whoever wrote where it listens, and whose place that is."""
    found = _broker_document(directory)
    owners = [place.stat().st_uid for place in (found[0], path.parent) if place.exists()] if found else []
    return {0, os.getuid(), *owners}


def documents_directory(context: typer.Context, argument: Path | None, option: Path) -> Path:
    """Return the directory that a command was given: as an argument, or else with --dir or in AAM_DIR."""
    if argument is None:
        return option
    source = context.get_parameter_source("directory")
    if source is not None and source.name == "COMMANDLINE":
        raise typer.BadParameter("Name the directory once: as an argument, or with --dir.")
    return argument


def operators_socket(directory: Path) -> Path:
    """Return where the broker of these documents listens for operators."""
    return _listen_path(directory, "operators_socket", "run/operators.sock")


def agents_socket(directory: Path) -> Path:
    """Return where the broker of these documents listens for local agents."""
    return _listen_path(directory, "agents_socket", "run/agents.sock")


def _listen_path(directory: Path, key: str, default: str) -> Path:
    file, document = _broker_document(directory) or (directory / "broker.yaml", {})
    listen = document["spec"].get("listen") if isinstance(document.get("spec"), dict) else None
    path = listen.get(key, default) if isinstance(listen, dict) else default
    return (file.parent / str(path)).absolute()


def _broker_document(directory: Path) -> tuple[Path, dict[str, Any]] | None:
    """Find the Broker document and its file: the commands need no more of the documents than that.

    Raises `DocumentsInvalid` if there are several: whoever chose among them would choose where keys are sent.
    """
    found = list(_broker_documents(directory))
    if len(found) > 1:
        (first, _), (second, _), *_ = found
        raise DocumentsInvalid(
            f"There is more than one Broker document in {directory}: {first} and {second}; name the directory of one."
        )
    return found[0] if found else None


def _broker_documents(directory: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    for folder, folders, names in os.walk(directory):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if name.lower().endswith((".yaml", ".yml")) and not name.startswith("."):
                for document in _documents(Path(folder, name)):
                    if isinstance(document, dict) and document.get("kind") == "Broker":
                        yield Path(folder, name), document


def _documents(path: Path) -> Iterator[Any]:
    with contextlib.suppress(YAMLError, OSError, ValueError, RecursionError):  # 'aam check' says what is wrong
        if not path.is_file() or path.stat().st_size > _LARGEST_DOCUMENT:
            return
        text = path.read_text()
        if "Broker" in text:  # reading YAML takes its time, and most documents are not this one
            yield from YAML(typ="safe", pure=True).load_all(text)


def quoted(name: str) -> str:
    """Return a name as one segment of a path."""
    return quote(name, safe="")


def _query(values: dict[str, str | int]) -> str:
    return "?" + "&".join(f"{name}={quoted(str(value))}" for name, value in values.items()) if values else ""


def _refusal(response: http.client.HTTPResponse) -> Refusal:
    text = response.read()
    try:
        said = json.loads(text)
        return Refused(str(said["code"]), str(said["message"]), said.get("detail"))
    except (ValueError, KeyError, TypeError):
        return DaemonUnreachable("What answers on the operators' socket is no broker.", detail=os.fsdecode(text[:100]))
