"""Agents with certificates: over mutual TLS, and through a proxy that has ended it."""

import http.client
import json
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote, urlsplit

from cryptography import x509

from tests.support.clients import MODERN, Answered, request
from tests.support.documents import Written
from tests.support.low_x509 import Authority, Svid

_PATIENCE = 60.0


def trust(written: Written, authority: Authority, domain: str = "prod", *more: Authority) -> None:
    """Add authorities to a trust domain's bundle file."""
    name = domain.partition(".")[0]
    signer = written.partner if name == "partner" else written.prod
    bundle = signer.bundle()
    bundle["keys"] += [one.entry for one in (authority, *more)]
    written.put(f"{name}.json", json.dumps(bundle))


def forwarded(svid: Svid, **changes: str | None) -> str:
    """Return the header that Envoy writes for a caller; a key given as None is left out, others are replaced."""
    chain = quote(svid.pem, safe="")
    leaf = quote(Svid(svid.certificates[:1], svid.key).pem, safe="")
    names = svid.certificates[0].extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    uri = names.get_values_for_type(x509.UniformResourceIdentifier)[0]
    pairs = {
        "By": "spiffe://prod/proxy",
        "Cert": f'"{leaf}"',
        "Chain": f'"{chain}"',
        "Subject": '"O=workload"',
        "URI": uri,
    }
    pairs = {key: value for key, value in {**pairs, **changes}.items() if value is not None}
    return ";".join(f"{key}={value}" for key, value in pairs.items())


@dataclass
class Caller:
    """Calls tools over connections of any kind, each request on a new one unless it is kept."""

    connect: Callable[[], http.client.HTTPConnection]
    host: str
    headers: dict[str, str]
    kept: http.client.HTTPConnection | None = None

    def __enter__(self) -> Self:
        """Use one connection for all requests, as long as this lasts."""
        self.kept = self.connect()
        return self

    def __exit__(self, *_: object) -> None:
        if self.kept is not None:
            self.kept.close()

    def ask(self, method: str, params: dict[str, Any] | None = None, **headers: str) -> Answered:
        """Ask for something on the 2026-07-28 wire."""
        name = (params or {}).get("name")
        own = {
            "Host": self.host,
            "Content-Type": "application/json",
            "Accept": "application/json, text/event-stream",
            "MCP-Protocol-Version": MODERN,
            "Mcp-Method": method,
            **({"Mcp-Name": name} if name else {}),
        }
        response, raw = self.send(
            "POST", "/mcp", {**own, **headers}, json.dumps(request(method, params or {}, 1)).encode()
        )
        text = raw.decode()
        body = next((line[6:] for line in text.splitlines() if line.startswith("data: ")), text)
        return Answered(response.status, json.loads(body), raw)

    def send(
        self, method: str, path: str, headers: dict[str, str], body: bytes | None = None
    ) -> tuple[http.client.HTTPResponse, bytes]:
        """Send any request."""
        connection = self.kept or self.connect()
        try:
            connection.request(method, path, body, {"Host": self.host, **self.headers, **headers})
            response = connection.getresponse()
            return response, response.read()
        finally:
            if self.kept is None:
                connection.close()

    def read(self, **headers: str) -> Answered:
        """Call the tool that reads a note."""
        return self.ask("tools/call", {"name": "notes_notes_read", "arguments": {"id": "n1"}}, **headers)


def through_proxy(where: str, host: str, header: str | None = None) -> Caller:
    """Speak as the proxy does that has seen a caller's certificate."""
    headers = {} if header is None else {"X-Forwarded-Client-Cert": header}

    def connect() -> http.client.HTTPConnection:
        if where.startswith("http://"):
            return http.client.HTTPConnection(urlsplit(where).netloc, timeout=_PATIENCE)
        connection = http.client.HTTPConnection("localhost", timeout=_PATIENCE)
        connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.sock.settimeout(_PATIENCE)
        connection.sock.connect(where)
        return connection

    return Caller(connect, host, headers)


def over_tls(url: str, authority_file: Path, files: tuple[Path, Path] | None, token: str | None = None) -> Caller:
    """Connect to the broker's own listener, with a certificate (its chain and its key) if there is one."""
    context = ssl.create_default_context(cafile=str(authority_file))
    if files is not None:
        context.load_cert_chain(*files)
    netloc = urlsplit(url).netloc
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    return Caller(lambda: http.client.HTTPSConnection(netloc, timeout=_PATIENCE, context=context), netloc, headers)
