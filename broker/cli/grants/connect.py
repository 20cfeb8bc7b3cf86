"""`aam grants connect`: the authorization code flow, in the operator's own browser."""

import http.server
import socket
import threading
import time
import webbrowser
from typing import Annotated, Any
from urllib.parse import parse_qs, urlsplit

import typer

from broker.cli.daemon import HERE, Daemon, Directory, quoted
from broker.cli.grants.add import Connector
from broker.cli.output import PROBLEM, AsJson, console, counted, fail, plain, print_json, problems, stop
from broker.errors import Refusal

_SECONDS = 300.0
_POLL_SECONDS = 1.0
_FEW = 20  # tools that are named


def connect(
    connector: Connector,
    scope: Annotated[list[str] | None, typer.Option(help="A scope to ask for; without it, the document's.")] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port of 127.0.0.1 that is registered; 0: any.")] = 0,
    directory: Directory = HERE,
    *,
    callback: Annotated[
        bool, typer.Option("--callback", help="Have the browser come back to the broker's own consent.url instead.")
    ] = False,
    browser: Annotated[bool, typer.Option(help="Open a browser; or only print the link.")] = True,
    as_json: AsJson = False,
) -> None:
    """Connect the organisation's account: sign in and consent in your browser. PKCE, state and issuer are checked."""
    try:
        daemon = Daemon(directory)
        if callback:
            grant = _through_the_broker(daemon, connector, scope, as_json=as_json, browser=browser)
        else:
            grant = _through_loopback(daemon, connector, scope, port, as_json=as_json, browser=browser)
    except Refusal as refusal:
        fail(refusal, as_json=as_json)
    if grant is None:
        stop("Nobody consented in time; begin again.", as_json=as_json, status=PROBLEM)
    if as_json:
        print_json(grant)
    else:
        _print(connector, grant)


def _through_loopback(
    daemon: Daemon, connector: str, scope: list[str] | None, port: int, *, as_json: bool, browser: bool
) -> Any:
    """Listen on this computer for the browser's way back (RFC 8252 §7.3), and hand what it brings to the broker."""
    try:
        listener = _Listener(port)
    except OSError as error:
        stop(f"Port {port} of this computer cannot be used: {error.strerror}.", as_json=as_json, status=PROBLEM)
    with listener:
        begun = _begin(daemon, connector, scope, f"http://127.0.0.1:{listener.server_address[1]}/callback")
        _send(begun["url"], as_json=as_json, browser=browser)
        answer = listener.wait()
    if answer is None:
        return None
    if "error" in answer:
        stop(f"The service says: {answer['error'][:100]}.", as_json=as_json, status=PROBLEM)
    return daemon.post(f"/v1/grants/connect/{quoted(begun['ticket'])}", answer)


def _through_the_broker(
    daemon: Daemon, connector: str, scope: list[str] | None, *, as_json: bool, browser: bool
) -> Any:
    begun = _begin(daemon, connector, scope, None)
    _send(begun["url"], as_json=as_json, browser=browser)
    deadline = time.monotonic() + _SECONDS
    while time.monotonic() < deadline:
        found = daemon.post(f"/v1/grants/connect/{quoted(begun['ticket'])}", {})
        if "waiting" not in found:
            return found
        time.sleep(_POLL_SECONDS)
    return None


def _begin(daemon: Daemon, connector: str, scope: list[str] | None, redirect_uri: str | None) -> Any:
    wanted = {"connector": connector, "scopes": scope, "redirect_uri": redirect_uri}
    return daemon.post("/v1/grants/connect", {name: value for name, value in wanted.items() if value})


def _send(url: str, *, as_json: bool, browser: bool) -> None:
    """Say where to consent; with --json, on stderr, so that stdout stays JSON."""
    (problems if as_json else console).print(f"Sign in and consent here:\n  {plain(url)}")
    if browser:
        threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()


def _print(connector: str, grant: Any) -> None:
    scopes = " ".join(grant["scopes"]) or "what the service gives its app"
    console.print(f"[green]Connected[/green] {plain(connector)}, with: {plain(scopes)}")
    may = grant["may"]
    console.print(f"It is good for {counted(len(may), 'tool')}" + (":" if may else ", by their scopes."))
    for name in may[:_FEW]:
        console.print(f"  {plain(name)}")
    if len(may) > _FEW:
        console.print(f"  and {len(may) - _FEW} more: aam grants show {plain(connector)}")


class _Listener(http.server.HTTPServer):
    """Takes one answer on the loopback interface. What else asks is told nothing."""

    address_family = socket.AF_INET
    timeout = 1.0

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", port), _Callback)
        self.answer: dict[str, str] | None = None

    def wait(self) -> dict[str, str] | None:
        """Return what a browser brought back; None if none came in time."""
        deadline = time.monotonic() + _SECONDS
        while self.answer is None and time.monotonic() < deadline:
            self.handle_request()
        return self.answer


class _Callback(http.server.BaseHTTPRequestHandler):
    server: _Listener
    timeout = 5.0

    def do_GET(self) -> None:
        """Take the answer, once, if it is one."""
        parts = urlsplit(self.path)
        values = {name: found[0] for name, found in parse_qs(parts.query).items() if len(found) == 1}
        known: dict[str, str] = {name: values[name] for name in ("state", "code", "iss", "error") if name in values}
        good = parts.path == "/callback" and "state" in known and ("code" in known or "error" in known)
        if good and self.server.answer is None:
            self.server.answer = known
        body = b"Go back to the terminal in which you began." if good else b"There is nothing here."
        self.send_response(200 if good else 404)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing: the request holds the code."""
