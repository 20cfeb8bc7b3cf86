"""The Broker document against its machine: listeners and paths that 'aam serve' would refuse are mistakes already."""

import ipaddress
import os
import ssl
from pathlib import Path
from typing import Any

from broker.documents.files import read_whole
from broker.documents.findings import Findings, value_at
from broker.documents.models import BrokerDocument, ListenPart
from broker.documents.source import Place, Source, key_of

_LARGEST_KEY = 1 << 20  # bytes
LONGEST_SOCKET_PATH = 100  # bytes; sun_path holds 108 on Linux and 104 elsewhere

_LISTEN = ("spec", "listen")
_SOCKETS: dict[Place, Any] = {
    (*_LISTEN, name): ListenPart.model_fields[name].default for name in ("agents_socket", "operators_socket")
}
_SOCKETS[(*_LISTEN, "proxy", "socket")] = None
_METRICS = (*_LISTEN, "metrics")
_PATHS = {
    **_SOCKETS,
    ("spec", "store"): BrokerDocument.model_fields["store"].default,
    ("spec", "key", "path"): None,
    (*_METRICS, "token_file"): None,
}


def check_listeners(findings: Findings) -> None:
    """Check each Broker document, and what is right in one that has mistakes of its own."""
    sources = [document.source for document in findings.of("Broker")]
    for source in (*sources, *findings.with_mistakes("Broker")):
        _check_protection(findings, source)
        _check_paths(findings, source)
        _check_tls(findings, source, (*_LISTEN, "tls"))
        _check_tls(findings, source, (*_METRICS, "tls"))


def _check_protection(findings: Findings, source: Source) -> None:
    http = findings.right(source, (*_LISTEN, "http"))
    protected = any(value_at(source.value, (*_LISTEN, key)) for key in ("tls", "behind_tls_proxy"))
    if http is None or protected or ipaddress.ip_address(http.rpartition(":")[0].strip("[]")).is_loopback:
        return
    findings.warn(
        source,
        (*_LISTEN, "http"),
        "is reachable from the network without TLS, which 'aam serve' refuses: write 'tls' here, give it --tls-cert "
        "and --tls-key, or say 'behind_tls_proxy: true' if a proxy that alone reaches it terminates TLS",
    )


def _check_paths(findings: Findings, source: Source) -> None:
    first: dict[str, Place] = {}
    for place in sorted(_PATHS, key=lambda place: place in source.lines):  # what is written is wrong, not a default
        name = findings.right(source, place) or _PATHS[place]
        if name is None:
            continue
        path = _path(findings, source, name)
        if first.setdefault(path, place) != place:
            findings.wrong(source, place, f"is the path of {key_of(first[path])} too; each needs its own")
        if place in _SOCKETS:
            _check_length(findings, source, place, name, path)


def _check_length(findings: Findings, source: Source, place: Place, name: str, path: str) -> None:
    """Note a path that no socket can have; where only this directory makes it so, another machine's may be shorter."""
    if (length := len(os.fsencode(path))) > LONGEST_SOCKET_PATH:
        note = findings.wrong if len(os.fsencode(name)) > LONGEST_SOCKET_PATH else findings.warn
        note(
            source,
            place,
            f"{path} has {length} bytes, and 'aam serve' refuses a socket's path of over {LONGEST_SOCKET_PATH}: "
            "write a shorter one, as /run/aam/agents.sock",
        )


def _check_tls(findings: Findings, source: Source, place: Place) -> None:
    certificate, key = (
        _readable(findings, source, (*place, "certificate")),
        _key_file(findings, source, (*place, "key")),
    )
    if certificate is None or key is None:
        return
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(certificate, key, password="")  # an empty one, so that nobody is asked
    except OSError as error:  # ssl.SSLError is one
        findings.wrong(source, place, _tls_words(error, certificate, key))


def _readable(findings: Findings, source: Source, place: Place) -> str | None:
    name = findings.right(source, place)
    if name is None or findings.named(source, place, name) is None:
        return None
    return os.path.abspath(findings.files.on_disk(findings.files.place(source.file, name)))  # noqa: PTH100 - as _path


def _key_file(findings: Findings, source: Source, place: Place) -> str | None:
    """Return the path of a private key that can be read; its digest is nobody's business, and not the set's."""
    name = findings.right(source, place)
    if name is None:
        return None
    path = _path(findings, source, name)
    try:
        read_whole(Path(path), _LARGEST_KEY)
    except OSError as error:
        findings.wrong(source, place, f"{name} cannot be read: {error.strerror}")
        return None
    return path


def _tls_words(error: OSError, certificate: str, key: str) -> str:
    if getattr(error, "reason", None) == "KEY_VALUES_MISMATCH":
        return f"the private key {key} does not belong to the certificate {certificate}"
    return (
        f"{certificate} and {key} cannot be used: a certificate chain and its private key in PEM form, "
        "without a passphrase, are expected"
    )


def _path(findings: Findings, source: Source, name: str) -> str:
    return os.path.abspath(findings.files.directory / findings.files.place(source.file, name))  # noqa: PTH100 - links are kept
