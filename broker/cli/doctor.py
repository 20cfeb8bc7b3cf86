"""`aam doctor`."""

import datetime
import os
import ssl
import stat
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer
from cryptography import x509

from broker.cli.daemon import Daemon, agents_socket, operators_socket, quoted
from broker.cli.output import PROBLEM, AsJson, console, plain, print_json
from broker.documents import Invalid, Snapshot, load
from broker.errors import DaemonUnreachable, Refusal
from broker.vault import read_key

app = typer.Typer(pretty_exceptions_enable=False)

_SOON = 14 * 86400  # seconds before a certificate's end that are worth a warning
_BUILT = 1_790_000_000  # a clock before this (September 2026) is wrong


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: how it is, and how to mend it."""

    what: str
    state: Literal["fine", "warning", "wrong"]
    said: str
    mend: str = ""


@app.command(epilog="Example: aam doctor ./access")
def doctor(
    directory: Annotated[Path, typer.Argument(help="The directory of the documents.")] = Path(),
    *,
    as_json: AsJson = False,
) -> None:
    """Find what keeps the broker from working: documents, keys, clock, TLS, sockets, store, connectors, grants."""
    findings = list(examine(directory))
    wrong = any(finding.state == "wrong" for finding in findings)
    if as_json:
        print_json({"ok": not wrong, "findings": [asdict(finding) for finding in findings]})
        raise typer.Exit(PROBLEM if wrong else 0)
    colours = {"fine": "green", "warning": "yellow", "wrong": "red"}
    for finding in findings:
        colour = colours[finding.state]
        what = f"[bold]{plain(finding.what):<14}[/bold]"
        console.print(f"[{colour}]{finding.state:<8}[/{colour}] {what} {plain(finding.said)}")
        if finding.mend:
            console.print(f"{'':<24}[dim]mend:[/dim] {plain(finding.mend)}")
    raise typer.Exit(PROBLEM if wrong else 0)


def examine(directory: Path) -> Iterator[Finding]:
    """Look at everything, from what needs nothing to what needs a running broker."""
    yield _clock()
    try:
        snapshot = load(directory)
    except Invalid as invalid:
        yield Finding("documents", "wrong", f"{len(invalid.problems)} mistakes", f"aam check {directory}")
        return
    warnings = f", {len(snapshot.warnings)} warnings" if snapshot.warnings else ""
    yield Finding("documents", "fine", f"{len(snapshot.files)} files, digest {snapshot.digest[:12]}{warnings}")
    yield _key(snapshot)
    yield from _tls(snapshot)
    yield from _trust(snapshot)
    yield from _daemon(directory, snapshot)


def _clock() -> Finding:
    if time.time() < _BUILT:
        return Finding("clock", "wrong", "it stands before this program was written", "set it; run an NTP client")
    return Finding("clock", "fine", datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"))


def _key(snapshot: Snapshot) -> Finding:
    source = snapshot.broker.key
    try:
        key = read_key(source.source, source.where(snapshot.base))
    except Refusal as refusal:
        return Finding("vault key", "wrong", refusal.message, "put the key where the Broker document says it is")
    if source.source == "environment":
        return Finding(
            "vault key",
            "warning",
            f"key {key.key_id} comes from the environment",
            "whoever can read the process's environment can read it; prefer keyring or a file",
        )
    return Finding("vault key", "fine", f"key {key.key_id} from {source.source}")


def _tls(snapshot: Snapshot) -> Iterator[Finding]:
    tls = snapshot.broker.listen.tls
    if tls is None:
        return
    certificate, key = snapshot.base / tls.certificate, snapshot.base / tls.key
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(certificate, key)
        end = x509.load_pem_x509_certificate(certificate.read_bytes()).not_valid_after_utc
    except (OSError, ValueError) as error:
        yield Finding(
            "TLS", "wrong", f"certificate and key do not load: {error}", "check that both are right and match"
        )
        return
    left = (end - datetime.datetime.now(datetime.UTC)).total_seconds()
    if left <= 0:
        yield Finding("TLS", "wrong", f"the certificate ended at {end.isoformat()}", "renew it")
    elif left < _SOON:
        yield Finding("TLS", "warning", f"the certificate ends at {end.isoformat()}", "renew it")
    else:
        yield Finding("TLS", "fine", f"the certificate holds until {end.date()}")
    if key.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        yield Finding("TLS key", "warning", "others may read the private key", f"chmod 600 {key}")


def _trust(snapshot: Snapshot) -> Iterator[Finding]:
    for name, source in snapshot.trust_sources.items():
        if source.bundle is not None and not source.bundle.keys:
            yield Finding(f"trust {name}", "wrong", "its bundle has no usable key", "publish the current bundle")
        elif snapshot.trust_domains[name].development:
            yield Finding(f"trust {name}", "warning", "is a development domain", "name your own for production")


def _daemon(directory: Path, snapshot: Snapshot) -> Iterator[Finding]:
    daemon = Daemon(directory)
    try:
        status = daemon.get("/v1/status")
    except DaemonUnreachable as refusal:
        yield Finding("broker", "wrong", refusal.message, f"aam serve {directory}")
        yield from _leftovers(directory, snapshot)
        return
    except Refusal as refusal:
        yield Finding("broker", "wrong", refusal.message, "run this as an operator")
        return
    yield from _sockets(directory)
    if status["documents"]["digest"] != snapshot.digest:
        yield Finding("in force", "warning", "what is loaded is not what is on disk", "see the broker's log")
    trouble = status["trouble"]
    yield (
        Finding("store", "wrong", f"the broker says {trouble['status']}", "free the disk, or see the broker's log")
        if trouble
        else Finding("store", "fine", f"{status['trail']['records']} records in {status['trail']['log']}")
    )
    for name in snapshot.connections:
        yield _grant(name, status["grants"].get(name), daemon)


def _leftovers(directory: Path, snapshot: Snapshot) -> Iterator[Finding]:
    store = snapshot.base / snapshot.broker.store
    if store.exists() and not os.access(store, os.W_OK):
        yield Finding("store", "wrong", f"{store} cannot be written", "run the broker as the store's owner")
    socket = operators_socket(directory)
    if socket.exists():
        yield Finding("sockets", "warning", f"{socket} is there, but nothing answers", "the next start takes it away")


def _sockets(directory: Path) -> Iterator[Finding]:
    operators, agents = operators_socket(directory), agents_socket(directory)
    if operators.stat().st_mode & stat.S_IRWXO:
        yield Finding("sockets", "wrong", "everyone may reach the operators' socket", f"chmod 600 {operators}")
    elif not agents.exists():
        yield Finding("sockets", "wrong", f"{agents} is gone", "restart the broker")
    else:
        yield Finding("sockets", "fine", f"{agents.parent}")


def _grant(name: str, status: str | None, daemon: Daemon) -> Finding:
    what = f"grant {name}"
    if status is None:
        return Finding(what, "wrong", "no account is connected", f"aam grants add {name} --help")
    try:
        return Finding(what, "fine", str(daemon.post(f"/v1/grants/{quoted(name)}/test")["answer"]))
    except Refusal as refusal:
        detail = f" ({refusal.detail})" if refusal.detail else ""
        return Finding(what, "wrong", f"{refusal.message} [{refusal.code}]{detail}", _MEND.get(refusal.code, ""))


_MEND = {
    "upstream_unreachable": "check the connector's url, name resolution, certificate authority and the way out",
    "egress_denied": "name the host under reach.hosts, or its range under reach.private_ranges, in the connector",
    "reauthorization_needed": "revoke the grant and add it again; at the service, approve the app for its user",
    "grant_misplaced": "check the connector's url and oauth endpoints against the account's instance",
    "upstream_forbidden": "give the account's user access to the API",
    "upstream_unauthorized": "check the account at the service; revoke the grant and add it again",
}
