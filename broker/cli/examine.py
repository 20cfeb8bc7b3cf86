"""What `aam doctor` looks at, from what needs nothing to what needs a running broker; and how to mend each."""

import contextlib
import datetime
import ipaddress
import os
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from cryptography import x509

from broker.app.listeners import http_socket, tls_context
from broker.app.metrics import bind_metrics
from broker.cli.daemon import Daemon, ListenerUntrusted, agents_socket, operators_socket, quoted
from broker.cli.output import counted
from broker.documents import Invalid, Snapshot, load
from broker.errors import DaemonUnreachable, ListenerRefused, Refusal
from broker.identity import Endpoint, SpiffeId
from broker.vault import read_key

_SOON = 14 * 86400  # seconds before a certificate's end that are worth a warning
_BUILT = 1_790_000_000  # a clock before this (September 2026) is wrong
_SQLITE = b"SQLite format 3\0"
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: how it is, and how to mend it."""

    what: str
    state: Literal["fine", "warning", "wrong"]
    said: str
    mend: str = ""


def examine(directory: Path) -> Iterator[Finding]:
    """Look at everything."""
    yield _clock()
    snapshot = None
    try:
        snapshot = load(directory)
    except Invalid as invalid:
        said = f"{counted(len(invalid.problems), 'mistake')}, the first: {invalid.problems[0]}"
        yield Finding("documents", "wrong", said, f"aam check {directory}")
    if snapshot is not None:
        warnings = f", {counted(len(snapshot.warnings), 'warning')}" if snapshot.warnings else ""
        files = counted(len(snapshot.files), "file")
        yield Finding("documents", "fine", f"{files}, digest {snapshot.digest[:12]}{warnings}")
        yield _key(snapshot)
        yield from _tls(snapshot)
        yield from _trust(snapshot)
        yield from _snapshots(snapshot)
    yield from _daemon(directory, snapshot)


# --- What needs no broker ---------------------------------------------------------------------------------------------


def _clock() -> Finding:
    if time.time() < _BUILT:
        return Finding("clock", "wrong", "it stands before this program was written", "set it; run an NTP client")
    return Finding("clock", "fine", datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"))


def _key(snapshot: Snapshot) -> Finding:
    source = snapshot.broker.key
    where = source.where(snapshot.base)
    if source.source == "environment" and where not in os.environ:
        return Finding("vault key", "warning", f"{where} is not set here; the broker's own environment must have it")
    try:
        key = read_key(source.source, where)
    except Refusal as refusal:
        return Finding("vault key", "wrong", refusal.message, _mend_key(source.source, Path(where)))
    if source.source == "environment":
        return Finding(
            "vault key",
            "warning",
            f"key {key.key_id} comes from the environment",
            "whoever can read the process's environment can read it; prefer keyring or a file",
        )
    return Finding("vault key", "fine", f"key {key.key_id} from {source.source}")


def _mend_key(source: str, path: Path) -> str:
    if source == "file" and path.is_file():
        if path.stat().st_mode & _OTHERS:
            return f"chmod 600 {path}"
        return "32 random bytes in base64 are expected; restore the key from its backup: no other opens the grants"
    return "put the key where the Broker document says it is"


def _tls(snapshot: Snapshot) -> Iterator[Finding]:
    tls = snapshot.broker.listen.tls
    if tls is None:
        return
    file, key = snapshot.base / tls.certificate, snapshot.base / tls.key
    try:
        tls_context(file, key)
        certificate = x509.load_pem_x509_certificate(file.read_bytes())
    except (OSError, ValueError) as error:
        yield Finding("TLS", "wrong", f"{file} cannot be read: {error}", "a certificate chain in PEM form is expected")
        return
    except ListenerRefused as refusal:
        yield Finding("TLS", "wrong", refusal.message, "mend the files, or what the Broker document says of them")
        return
    yield _lifetime(certificate)
    host = urlsplit(snapshot.broker.audience).hostname or ""
    if host and not _is_for(certificate, host):
        yield Finding(
            "TLS name",
            "wrong",
            f"the certificate is not for {host}, which agents call",
            "get one that is, or mend the Broker document's audience",
        )
    if key.stat().st_mode & _OTHERS:
        yield Finding("TLS key", "warning", "others may read the private key", f"chmod 600 {key}")


def _lifetime(certificate: x509.Certificate) -> Finding:
    now = datetime.datetime.now(datetime.UTC)
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if begin > now:
        return Finding("TLS", "wrong", f"the certificate begins at {begin.isoformat()}", "compare the clocks")
    if end <= now:
        return Finding("TLS", "wrong", f"the certificate ended at {end.isoformat()}", "renew it")
    if (end - now).total_seconds() < _SOON:
        return Finding("TLS", "warning", f"the certificate ends at {end.isoformat()}", "renew it")
    return Finding("TLS", "fine", f"the certificate holds until {end.date()}")


def _is_for(certificate: x509.Certificate, host: str) -> bool:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return False
    try:
        return ipaddress.ip_address(host) in names.get_values_for_type(x509.IPAddress)
    except ValueError:
        _, _, domain = host.partition(".")  # RFC 6125 §6.4.3: a wildcard stands for one label
        return bool({host, f"*.{domain}"} & set(names.get_values_for_type(x509.DNSName)))


def _trust(snapshot: Snapshot) -> Iterator[Finding]:
    for name, source in snapshot.trust_sources.items():
        if source.bundle is not None and not source.bundle.keys and not source.bundle.authorities:
            yield Finding(f"trust {name}", "wrong", "its bundle has no usable key", "publish the current bundle")
        elif source.workload_api is not None and not _listens(source.workload_api):
            yield Finding(
                f"trust {name}",
                "wrong",
                "there is no Workload API where it says",
                "start the SPIRE agent, or mend the path",
            )
        elif snapshot.trust_domains[name].development:
            yield Finding(f"trust {name}", "warning", "is a development domain", "name your own for production")


def _listens(endpoint: Endpoint) -> bool:
    """Tell whether there is a socket; who listens on a port is not to be seen from here."""
    kind, _, path = endpoint.target.partition(":")
    return kind != "unix" or Path(path).is_socket()


def _snapshots(snapshot: Snapshot) -> Iterator[Finding]:
    for name, connection in snapshot.connections.items():
        if connection.connector.describe is not None and connection.snapshot is None:
            yield Finding(
                f"connector {name}",
                "warning",
                "nothing is pinned, so it has no tools",
                f"aam connector snapshot {name}",
            )


# --- What the running broker says -------------------------------------------------------------------------------------


def _daemon(directory: Path, snapshot: Snapshot | None) -> Iterator[Finding]:
    try:
        daemon = Daemon(directory)
        status = daemon.get("/v1/status")
    except ListenerUntrusted as refusal:
        yield Finding("broker", "wrong", refusal.message, "find out what it is; the broker's user owns its documents")
        return
    except DaemonUnreachable as refusal:
        yield Finding("broker", "wrong", refusal.message, f"aam serve {directory}")
        yield from _leftovers(directory, snapshot)
        return
    except Refusal as refusal:
        yield Finding("broker", "wrong", refusal.message, _MEND.get(refusal.code, "run this as an operator"))
        return
    yield Finding("broker", "fine", f"{status['version']}, process {status['pid']}")
    yield _sockets(directory)
    yield from _in_force(status, snapshot)
    yield from _issuers(status)
    yield from _noticed(status)
    trouble = status["trouble"]
    yield (
        Finding("store", "wrong", f"the broker says {trouble['status']}", "free the disk, or see the broker's log")
        if trouble
        else Finding("store", "fine", f"{status['trail']['records']} records in {status['trail']['log']}")
    )
    if snapshot is not None:
        yield from _agents(directory, snapshot)
    for name in status["connectors"]:
        yield _grant(name, status["grants"].get(name), daemon)


def _leftovers(directory: Path, snapshot: Snapshot | None) -> Iterator[Finding]:
    """Say what may have kept it from starting."""
    socket = operators_socket(directory)
    if socket.exists():
        yield Finding("sockets", "warning", f"{socket} is there, but nothing answers", "the next start takes it away")
    if snapshot is None:
        return
    store = snapshot.base / snapshot.broker.store
    if store.exists() and not os.access(store, os.W_OK):
        yield Finding("store", "wrong", f"{store} cannot be written", "run the broker as the store's owner")
    elif store.exists() and not _may_be_a_store(store):
        yield Finding("store", "wrong", f"{store} is no database", "restore it from a backup, or move it away")
    yield from _listener(snapshot)


def _may_be_a_store(path: Path) -> bool:
    """Look at its first bytes without opening it as a database; an empty file becomes one."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(_SQLITE)) in {b"", _SQLITE}


def _listener(snapshot: Snapshot) -> Iterator[Finding]:
    """Open the listeners of agents and of monitoring as the broker does, and close them at once."""
    try:
        http_socket(snapshot.broker, tls=snapshot.broker.listen.tls is not None).close()
    except ListenerRefused as refusal:
        yield Finding("listener", "wrong", refusal.message, "change listen.http, or end what listens there already")
    if (metrics := snapshot.broker.listen.metrics) is None:
        return
    try:
        with contextlib.ExitStack() as bound:
            bind_metrics(bound, metrics, snapshot.base)
    except ListenerRefused as refusal:
        yield Finding(
            "metrics", "wrong", refusal.message, "mend listen.metrics in the Broker document, or its token file"
        )


def _sockets(directory: Path) -> Finding:
    operators, agents = operators_socket(directory), agents_socket(directory)
    try:
        mode = operators.stat().st_mode
    except OSError as error:
        return Finding("sockets", "wrong", f"{operators}: {error.strerror}", "restart the broker")
    if mode & stat.S_IRWXO:
        return Finding("sockets", "wrong", "everyone may reach the operators' socket", f"chmod 600 {operators}")
    if not agents.exists():
        return Finding("sockets", "wrong", f"{agents} is gone", "restart the broker")
    return Finding("sockets", "fine", str(agents.parent))


def _in_force(status: dict[str, Any], snapshot: Snapshot | None) -> Iterator[Finding]:
    if snapshot is not None and status["documents"]["digest"] != snapshot.digest:
        yield Finding("in force", "warning", "what is loaded is not what is on disk", "see the broker's log")
    for name, domain in status["trust_domains"].items():
        if domain["stale"]:
            yield Finding(
                f"trust {name}",
                "wrong",
                "its bundle could not be renewed for too long, so its agents are refused",
                "check the bundle's URL or the Workload API; see the broker's log",
            )
        elif domain["takes_svids"] and not domain["keys"] and not domain["authorities"]:
            yield Finding(
                f"trust {name}",
                "wrong",
                "the broker has no key of it, so none of its agents can come in",
                "check the bundle's URL, its file or the Workload API; see the broker's log",
            )
        elif domain["development"] and not status["development"]:
            yield Finding(
                f"trust {name}", "warning", "development is switched off, so its agents are refused",
                "aam serve --development, on a developer's machine",
            )  # fmt: skip


def _issuers(status: dict[str, Any]) -> Iterator[Finding]:
    for name, issuer in status.get("issuers", {}).items():
        if issuer["needs_keys"] and not issuer["keys"]:
            yield Finding(
                f"issuer {name}",
                "wrong",
                "the broker has no key of it, so its tokens are refused",
                f"see that {issuer['issuer']} can be reached, and the broker's log",
            )


def _noticed(status: dict[str, Any]) -> Iterator[Finding]:
    """Say what calls have met that somebody must look at."""
    if status.get("overruns"):
        said = f"{counted(status['overruns'], 'call')} cost more than was held, so a model is not used with a budget"
        yield Finding("budgets", "warning", said, "aam budget overruns, then aam budget acknowledge")
    for name in status.get("drifted", []):
        yield Finding(
            f"tool {name}",
            "warning",
            "is refused: its server describes it otherwise than was approved",
            "aam connector snapshot, and approve what has changed; or ask whoever runs the server",
        )


def _agents(directory: Path, snapshot: Snapshot) -> Iterator[Finding]:
    """Look for agents that run as the broker's own user: they could read whatever it can."""
    owner = operators_socket(directory).stat().st_uid
    for agent in snapshot.registry.agents.values():
        domain = snapshot.trust_domains[SpiffeId.parse(agent.workload).trust_domain]
        if f"unix:uid:{owner}" in agent.selectors and not domain.development:
            yield Finding(f"agent {agent.name}", "wrong", "runs as the broker's own user", "give it a user of its own")


def _grant(name: str, status: str | None, daemon: Daemon) -> Finding:
    what = f"grant {name}"
    if status is None:
        return Finding(what, "wrong", "no account is connected", f"aam grants add {name} --help")
    try:
        return Finding(what, "fine", str(daemon.post(f"/v1/grants/{quoted(name)}/test")["answer"]))
    except Refusal as refusal:
        if refusal.code == "operator_forbidden":
            return Finding(what, "warning", f"not tried: {refusal.message}", "run this as an admin")
        detail = f" ({refusal.detail})" if refusal.detail else ""
        mend = _MEND.get(refusal.code, f"aam grants test {name}; see the broker's log")
        return Finding(what, "wrong", f"{refusal.message} [{refusal.code}]{detail}", mend)


_LOOK = "check the account at the service; revoke the grant and add it again"
_LATER = "look at the service's own status page; try again later"
_MEND = {
    "documents_invalid": "name the directory of one set of documents",
    "upstream_unreachable": "check the connector's url, name resolution, certificate authority and the way out",
    "upstream_timeout": "check the way to the service, or raise limits.total_seconds in the connector",
    "upstream_redirected": "give the connector the url that the service redirects to",
    "upstream_malformed": "check that the connector's url is the service's own",
    "upstream_not_found": "check the connector's url and the settings, api_version above all",
    "upstream_failed": _LATER,
    "upstream_busy": _LATER,
    "egress_denied": "name the host under reach.hosts, or its range under reach.private_ranges, in the connector",
    "reauthorization_needed": "revoke the grant and add it again; at the service, approve the app for its user",
    "grant_unavailable": "aam grants add",
    "grant_misplaced": "check the connector's url and oauth endpoints against the account's instance",
    "vault_unreadable": "the vault's key is not the one that sealed the grant: restore it, or add the grant again",
    "upstream_forbidden": "give the account's user access to the API",
    "upstream_unauthorized": _LOOK,
}
