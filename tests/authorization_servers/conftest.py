"""Two authorization servers that are not ours, each a process of its own on loopback."""

import contextlib
import json
import os
import re
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
import requests
from joserfc.jwk import RSAKey

from broker.egress import Client, Egress, Limits, Reach, Secret
from broker.oauth import AuthorizationServer, OAuthClient
from broker.testing.certificates import CertificateAuthority
from tests.support.idp import absent, oidc_provider
from tests.support.low_tls import anyio_backend
from tests.support.ports import free_port

__all__ = ["anyio_backend"]  # a fixture

HERE = Path(__file__).parent
CALLBACK = "http://127.0.0.1:1717/callback"
SECRET = "a-secret-of-the-client-0123456789"


@dataclass(frozen=True)
class Served:
    """A running authorization server, and a client that reaches it."""

    name: str
    server: AuthorizationServer
    client: Client
    ca_file: Path
    key: str

    def app(self, method: Any) -> OAuthClient:
        """Return the client that is registered for a way of authentication."""
        if method == "private_key_jwt":
            return OAuthClient("by-private-key-jwt", method, Secret(self.key))
        return OAuthClient(f"by-{method.replace('_', '-')}", method, Secret(SECRET))

    def consent(self, url: str) -> str:
        """Go through the pages as a person's browser, and return where it is sent back to."""
        browser = requests.Session()
        browser.trust_env = False  # the environment's own authorities would stand in for this one
        browser.verify = str(self.ca_file)
        answer = browser.get(url, allow_redirects=False, timeout=60)
        for _ in range(12):
            where = answer.headers.get("location", "")
            if where.startswith(CALLBACK):
                return where
            if answer.is_redirect:
                answer = browser.get(requests.compat.urljoin(answer.url, where), allow_redirects=False, timeout=60)
                continue
            answer = browser.post(*_form(answer), allow_redirects=False, timeout=60)
        raise AssertionError(answer.text)


def _form(page: requests.Response) -> tuple[str, dict[str, str]]:
    """Fill in a page's form: sign in as jane, or say yes."""
    action = re.search(r'<form[^>]*action="([^"]*)"', page.text)
    fields = dict(re.findall(r'<input[^>]*name="([^"]+)"[^>]*value="([^"]*)"', page.text))
    fields |= {"login": "jane", "password": "jane"} if "password" in page.text else {"answer": "accept"}
    return requests.compat.urljoin(page.url, action[1] if action else page.url), fields


def _clients(key: RSAKey) -> list[dict[str, Any]]:
    """Describe a client for each way of authentication, by the names of RFC 7591."""
    common = {
        "redirect_uris": [CALLBACK],
        "grant_types": ["authorization_code", "refresh_token", "client_credentials"],
        "response_types": ["code"],
        "scope": "openid offline_access api write",
    }
    by_secret = [
        {**common, "client_id": f"by-{method.replace('_', '-')}", "client_secret": SECRET,
         "token_endpoint_auth_method": method}
        for method in ("client_secret_basic", "client_secret_post")
    ]  # fmt: skip
    jwks = {"keys": [{**key.as_dict(private=False), "use": "sig", "alg": "RS256", "kid": "1"}]}
    by_key = {**common, "client_id": "by-private-key-jwt", "token_endpoint_auth_method": "private_key_jwt"}
    return [*by_secret, {**by_key, "jwks": jwks, "token_endpoint_auth_signing_alg": "RS256"}]


@dataclass(frozen=True)
class Running:
    """The process, as far as it is the same for every test."""

    name: str
    port: int
    where: dict[str, str]
    authority: CertificateAuthority
    key: str


@contextlib.contextmanager
def _running(name: str, place: Path) -> Iterator[Running]:
    authority = CertificateAuthority(place)
    certificate = authority.issue("server")
    key, port = RSAKey.generate_key(2048, auto_kid=False), free_port()
    command = _command(name, str(certificate.key_file), str(certificate.certificate_file), port, _clients(key))
    log = place / "log"
    environment = {**os.environ, "AUTHLIB_INSECURE_TRANSPORT": "1"}
    with log.open("w") as output, subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=output, text=True, env=environment, cwd=place
    ) as process:  # fmt: skip
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            while line and not line.startswith("{"):
                line = process.stdout.readline()
            assert line, log.read_text()
            pem = key.as_pem(private=True).decode()
            yield Running(name, port, json.loads(line), authority, pem)
        finally:
            process.kill()


def _command(name: str, key: str, certificate: str, port: int, clients: list[dict[str, Any]]) -> list[str]:
    """Return what serves one of the two; skip without it."""
    if name == "oidc-provider":
        native = [{**client, "application_type": "native"} for client in clients]
        scopes = ["openid", "offline_access", "api", "write"]
        where = {"issuer": f"https://localhost:{port}", "certificate": certificate, "key": key}
        return oidc_provider({**where, "clients": native, "scopes": scopes})
    python = os.environ.get("AAM_IAM_PYTHON")
    if python is None:
        absent("AAM_IAM_PYTHON names no Python that has pytest-iam")
    return [python, str(HERE / "pytest_iam_server.py"), key, certificate, str(port), json.dumps(clients)]


@pytest.fixture(scope="module", params=["oidc-provider", "pytest-iam"])
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Start one of the two, or say why it cannot be."""
    with _running(request.param, tmp_path_factory.mktemp(request.param)) as running:
        yield running


@pytest.fixture
async def served(running: Running) -> AsyncIterator[Served]:
    """Reach it, as a connector's document would describe it."""
    egress = Egress()
    url = f"https://localhost:{running.port}"
    reach = Reach(frozenset({f"localhost:{running.port}"}), (ip_network("127.0.0.0/8"), ip_network("::1/128")))
    client = egress.client(reach, Limits(), running.authority.certificate_file.read_text())
    server = AuthorizationServer(
        url + running.where["token"],
        url,
        issuer=url,
        authorization_endpoint=url + running.where["authorization"],
        revocation_endpoint=url + running.where["revocation"],
        says_issuer=running.name == "oidc-provider",
        # RFC 7523 §3 as it was: this one wants its token endpoint to be the audience
        proof_audience=None if running.name == "oidc-provider" else url + running.where["token"],
    )
    yield Served(running.name, server, client, running.authority.certificate_file, running.key)
    await egress.close()
