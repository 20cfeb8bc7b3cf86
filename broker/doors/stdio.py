"""The relay's end: MCP on stdin and stdout, each line sent to the agents' socket with a proof beside it.

Holds nothing and imports little: it starts with every agent. The proof is a token file, read again for every message,
or the process itself, which the daemon's kernel vouches for.
"""

import json
import os
import socket
import sys
import threading
from pathlib import Path

UNREACHABLE = -32001
_END = b'{"end":true}\n'
_LONGEST_TOKEN = 16384


def relay(agents_socket: str, token_file: str | None, agent: str | None) -> int:
    """Relay until either side ends; return the exit status."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.connect(agents_socket)
    except OSError as error:
        return _no_daemon(agents_socket, error)
    ended = threading.Event()
    answers = threading.Thread(target=_copy_answers, args=(connection, ended), daemon=True)
    answers.start()
    try:
        for line in sys.stdin.buffer:
            if line.strip():
                connection.sendall(b'{"proof":' + _proof(token_file, agent) + b',"message":' + line.strip() + b"}\n")
        ended.set()
        connection.sendall(_END)
        answers.join()  # the broker closes once everything is answered
    except OSError:
        sys.stderr.write("aam stdio: the broker closed the connection\n")
        return 1
    return 0


def _proof(token_file: str | None, agent: str | None) -> bytes:
    if token_file is not None:
        try:
            token = Path(token_file).read_text()[:_LONGEST_TOKEN].strip()
        except (OSError, UnicodeDecodeError) as error:
            # an empty token is refused by the broker, with words that reach the agent's developer
            sys.stderr.write(f"aam stdio: the token file {token_file} cannot be read: {error}\n")
            token = ""
        return json.dumps({"token": token}).encode()
    return json.dumps({"agent": agent} if agent is not None else None).encode()


def _copy_answers(connection: socket.socket, ended: threading.Event) -> None:
    """Copy what the broker says to stdout, a whole line at a time; when it leaves first, so does the relay."""
    reason = "the broker closed the connection"
    try:
        with connection.makefile("rb") as lines:
            for line in lines:
                if line.endswith(b"\n"):
                    sys.stdout.buffer.write(line)
                    sys.stdout.buffer.flush()
        if ended.is_set():
            return
    except OSError as error:
        reason = f"the answers cannot be passed on: {error.strerror}"
    sys.stderr.write(f"aam stdio: {reason}\n")
    sys.stderr.flush()
    os._exit(1)  # the main thread waits on stdin, which nothing else ends


def _no_daemon(agents_socket: str, error: OSError) -> int:
    """Answer the first request, so that the client shows why; then end."""
    reason = f"No broker answers on {agents_socket} ({error.strerror}); start one with 'aam serve'."
    sys.stderr.write(f"aam stdio: {reason}\n")
    line = sys.stdin.buffer.readline()
    try:
        request_id = json.loads(line).get("id")
    except (ValueError, AttributeError, RecursionError):
        request_id = None
    problem = {"code": UNREACHABLE, "message": reason, "data": {"code": "daemon_unreachable"}}
    sys.stdout.buffer.write(json.dumps({"jsonrpc": "2.0", "id": request_id, "error": problem}).encode() + b"\n")
    sys.stdout.buffer.flush()
    return 1
