"""The relay's end: MCP on stdin and stdout, each line sent to the agents' socket with a proof beside it.

Imports little: it starts with every agent. It holds no secret: the proof is a token, read from its file or fetched from
the Workload API for every message, or the process itself, which the daemon's kernel vouches for. A broker that restarts
is found again with the next message; what was asked and not answered is answered here, so no client waits for ever.
"""

import contextlib
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

_NOT_ADMITTED, _PARSE_ERROR = -32001, -32700  # as the broker says it; JSON-RPC 2.0 §5.1
_END = b'{"end":true}\n'
_LONGEST_TOKEN = 16384
_RESTART_SECONDS = 5.0  # how long a broker that was there is waited for
_AGAIN_SECONDS = 0.1
_ANSWER_SECONDS = 10.0
_speaking = threading.Lock()


class Relay:
    """One client's way to the broker."""

    def __init__(
        self, agents_socket: str, token_file: str | None, agent: str | None, fetch: Callable[[], str] | None = None
    ) -> None:
        self._path = agents_socket
        self._token_file = token_file
        self._fetch = fetch
        """Where a token is asked for, for each message, if it is: raises `OSError`."""
        self._agent = agent
        self._link: _Link | None = None
        self._opening: list[bytes] = []
        """What began a session of the handshake revisions, to be said again to a broker that has restarted."""
        self._reached = False

    def run(self) -> int:
        """Relay until the client leaves and everything is answered; return the exit status."""
        for line in sys.stdin.buffer:
            if message := line.strip():
                self._pass_on(message)
        if self._link is not None:
            self._link.end()
        return 0 if self._reached else 1

    def _pass_on(self, message: bytes) -> None:
        asked = _parse(message)
        if not asked:
            _answer(None, {"code": _PARSE_ERROR, "message": "The line is not a JSON-RPC message."})
            return
        if asked.get("method") == "initialize":
            self._opening = []
        try:
            self._linked().send(self._envelope(message), asked)
            if asked.get("method") in {"initialize", "notifications/initialized"}:
                self._opening.append(message)
        except _NoProof as problem:
            _refuse(asked.get("id"), "proof_missing", str(problem))
        except OSError as error:
            self._reached = False
            _refuse(
                asked.get("id"),
                "daemon_unreachable",
                f"No broker answers on {self._path} ({error.strerror or error}); start one with 'aam serve'.",
            )

    def _linked(self) -> "_Link":
        if self._link is None or self._link.ended:
            connection = _connect(self._path, _RESTART_SECONDS if self._reached else 0)
            answers = connection.makefile("rb")
            connection.settimeout(_ANSWER_SECONDS)
            for said in self._opening:  # alone on the line, so what comes is the answer to it
                connection.sendall(self._envelope(said))
                if "id" in _parse(said) and "result" not in _parse(answers.readline()):
                    raise ConnectionRefusedError("the broker does not take the session up again")
            connection.settimeout(None)
            self._link, self._reached = _Link(connection, answers), True
        return self._link

    def _envelope(self, message: bytes) -> bytes:
        return b'{"proof":' + self._proof() + b',"message":' + message + b"}\n"

    def _proof(self) -> bytes:
        if self._fetch is not None:
            try:
                return json.dumps({"token": self._fetch()}).encode()
            except OSError as error:
                raise _NoProof(f"The Workload API gives no token: {error.strerror}.") from None
        if self._token_file is None:
            return json.dumps({"agent": self._agent} if self._agent is not None else None).encode()
        try:
            token = Path(self._token_file).read_text()[:_LONGEST_TOKEN].strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not text"
            raise _NoProof(f"The token file {self._token_file} cannot be read: {reason}.") from None
        return json.dumps({"token": token}).encode()


class _NoProof(Exception):  # noqa: N818 - it says what is missing
    """There is nothing to show the broker."""


class _Link:
    """One connection to the broker, and what was asked on it and is not answered yet."""

    def __init__(self, connection: socket.socket, answers: IO[bytes]) -> None:
        self.ended = False
        self._connection = connection
        self._answers = answers
        self._waiting: dict[Any, None] = {}
        self._changing = threading.Lock()
        self._copying = threading.Thread(target=self._copy, daemon=True)
        self._copying.start()

    def send(self, envelope: bytes, asked: dict[str, Any]) -> None:
        """Send a message; raise `OSError` if the connection had ended before."""
        with self._changing:
            if self.ended:
                raise ConnectionResetError("the broker closed the connection")
            if "id" in asked and "method" in asked:
                self._waiting[_key(asked["id"])] = None
            elif asked.get("method") == "notifications/cancelled" and isinstance(asked.get("params"), dict):
                self._waiting.pop(_key(asked["params"].get("requestId")), None)  # it will not be answered
        with contextlib.suppress(OSError):  # the copying ends too, and says so to everyone who waits
            self._connection.sendall(envelope)

    def end(self) -> None:
        """Say that nothing more will be asked, and wait for what was."""
        with contextlib.suppress(OSError):
            self._connection.sendall(_END)
        self._copying.join()

    def _copy(self) -> None:
        """Copy what the broker says, a whole line at a time; answer what it leaves unanswered."""
        with contextlib.suppress(OSError):
            for line in self._answers:
                if line.endswith(b"\n"):
                    self._note_answer(_parse(line))
                    _say(line)
        with self._changing:
            self.ended = True
            waiting, self._waiting = self._waiting, {}
        self._connection.close()
        for key in waiting:
            _refuse(
                json.loads(key),
                "daemon_unreachable",
                "The broker closed the connection before it answered; whether a change was made is in its trail.",
            )

    def _note_answer(self, said: dict[str, Any]) -> None:
        with self._changing:
            if "method" not in said:
                self._waiting.pop(_key(said.get("id")), None)


def _connect(path: str, patience: float) -> socket.socket:
    deadline = time.monotonic() + patience
    while True:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.connect(path)
        except OSError:
            connection.close()
            if time.monotonic() >= deadline:
                raise
            time.sleep(_AGAIN_SECONDS)
        else:
            return connection


def _parse(line: bytes) -> dict[str, Any]:
    """Return a message's members; none, if it is no message."""
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return message if isinstance(message, dict) else {}


def _key(request_id: Any) -> str:
    return json.dumps(request_id)


def _refuse(request_id: Any, code: str, words: str) -> None:
    """Answer a request here, so that its client shows why; a notification has no answer."""
    sys.stderr.write(f"aam stdio: {words}\n")
    sys.stderr.flush()
    if request_id is not None:
        _answer(request_id, {"code": _NOT_ADMITTED, "message": words, "data": {"code": code}})


def _answer(request_id: Any, error: dict[str, Any]) -> None:
    _say(json.dumps({"jsonrpc": "2.0", "id": request_id, "error": error}).encode() + b"\n")


def _say(line: bytes) -> None:
    """Write a line for the client; once it has left, there is nothing more to do."""
    try:
        with _speaking:
            sys.stdout.buffer.write(line)
            sys.stdout.buffer.flush()
    except OSError as error:
        sys.stderr.write(f"aam stdio: the answers cannot be passed on: {error.strerror}\n")
        os._exit(1)  # the main thread waits on stdin, which nothing else ends
