"""Kinto, oidc-provider and the broker, each a process or a thread of its own, over TLS on loopback.

`AAM_KINTO_PYTHON` names a Python that has kinto, `AAM_NODE_MODULES` a node_modules with oidc-provider.
"""

import contextlib
import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from broker.connector import Connector
from broker.connector.installed import find_connector
from broker.testing.certificates import CertificateAuthority
from broker.testing.server import LoopbackServer, bind
from tests.kinto.people import CALLBACK, PUBLIC, Person
from tests.support.broker import ServedBroker
from tests.support.documents import ANALYST, AUDIENCE, HEAD, OTHER, write_documents
from tests.support.idp import absent, oidc_provider
from tests.support.issuers import issuer_document
from tests.support.notes import Notes, NotesService
from tests.support.ports import free_port

SECRET = "the-brokers-secret-at-the-provider-0123"
LOOPBACK = ["127.0.0.0/8", "::1/128"]

KINTO = """\
[app:main]
use = egg:kinto
kinto.storage_backend = kinto.core.storage.memory
kinto.permission_backend = kinto.core.permission.memory
kinto.cache_backend = kinto.core.cache.memory
kinto.userid_hmac_secret = 0123456789abcdef
kinto.bucket_create_principals = system.Authenticated
kinto.includes = kinto.plugins.openid kinto.plugins.default_bucket
kinto.paginate_by = 3
multiauth.policies = idp
multiauth.policy.idp.use = kinto.plugins.openid.OpenIDConnectPolicy
multiauth.policy.idp.issuer = {issuer}
multiauth.policy.idp.client_id = broker-kinto
multiauth.policy.idp.userid_field = sub
multiauth.policy.idp.verification_ttl_seconds = 1
kinto.http_scheme = https
kinto.http_host = {host}
[server:main]
use = egg:waitress#main
host = 127.0.0.1
port = {port}
"""

POLICIES = "---\n".join(
    f"{HEAD}kind: AgentPolicy\nmetadata: {{name: {name}-kinto}}\nspec:\n  identity: {{workload: {workload}}}\n"
    "  tools: [{resource: kinto.records, actions: [search, read, create, update, delete]},"
    " {resource: kinto.server, actions: [read]}]\n"
    for name, workload in (("analyst", ANALYST), ("other", OTHER))
)


@dataclass(frozen=True)
class Place:
    """Where everything is."""

    kinto: str
    issuer: str
    authority: CertificateAuthority

    def person(self, name: str) -> Person:
        """Return somebody with a browser."""
        return Person(name, self.issuer, str(self.authority.certificate_file))


@contextlib.contextmanager
def _process(command: list[str], log: Path, port: int, **environment: str) -> Iterator[None]:
    """Run a server until it takes connections, and end it afterwards."""
    with log.open("w") as output, subprocess.Popen(
        command, stdout=output, stderr=output, env={**os.environ, **environment}
    ) as process:  # fmt: skip
        try:
            while True:
                assert process.poll() is None, log.read_text()
                with contextlib.suppress(OSError), socket.create_connection(("localhost", port), timeout=1):
                    break
                time.sleep(0.05)
            yield
        finally:
            process.kill()


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Serve oidc-provider, kinto, and the TLS in front of kinto."""
    python = os.environ.get("AAM_KINTO_PYTHON")
    if python is None:
        absent("AAM_KINTO_PYTHON names no Python that has kinto")
    directory = tmp_path_factory.mktemp("kinto")
    authority = CertificateAuthority(directory)
    issuer = f"https://localhost:{free_port()}"
    idp = oidc_provider(_provider(issuer, authority))  # skips where there is none
    listener = bind(0)
    front = f"https://localhost:{listener.getsockname()[1]}"
    port = free_port()
    ini = directory / "kinto.ini"
    ini.write_text(KINTO.format(issuer=issuer, host=front.removeprefix("https://"), port=port))
    server = Path(python).with_name("pserve")
    trust = {"REQUESTS_CA_BUNDLE": str(authority.certificate_file)}
    with (
        _process(idp, directory / "idp.log", int(issuer.rpartition(":")[2])),
        _process([str(server), str(ini)], directory / "kinto.log", port, **trust),
        LoopbackServer(_front(port), authority.issue("front"), listener),
    ):
        yield Place(front, issuer, authority)


def _provider(issuer: str, authority: CertificateAuthority) -> dict[str, Any]:
    certificate = authority.issue("idp")
    public = {"token_endpoint_auth_method": "none"}
    agents = [
        {"client_id": f"{name}-app", "application_type": "native", "redirect_uris": [CALLBACK], **public}
        for name in ("analyst", "other")
    ]
    return {
        "issuer": issuer,
        "certificate": str(certificate.certificate_file),
        "key": str(certificate.key_file),
        "audience": AUDIENCE,
        "clients": [
            *agents,
            {"client_id": "broker-sign-in", "redirect_uris": [f"{PUBLIC}/consent/signed-in"], **public},
            {
                "client_id": "broker-kinto",
                "client_secret": SECRET,
                "redirect_uris": [f"{PUBLIC}/consent/callback"],
            },
        ],
    }


def _front(port: int) -> Starlette:
    """End TLS before kinto, as its operators do: everything else goes through as it is."""

    async def through(request: Request) -> Response:
        url = f"http://127.0.0.1:{port}{request.scope['raw_path'].decode()}"
        kept = {"authorization", "content-type", "if-match", "accept", "host"}
        headers = {name: value for name, value in request.headers.items() if name in kept}
        async with httpx2.AsyncClient(timeout=60, trust_env=False) as client:
            answer = await client.request(
                request.method, url, params=request.query_params, headers=headers, content=await request.body()
            )
        named = ("content-type", "next-page", "etag", "location")
        return Response(
            answer.content, answer.status_code, {one: answer.headers[one] for one in named if one in answer.headers}
        )

    methods = ["GET", "POST", "PUT", "PATCH", "DELETE"]
    return Starlette(routes=[Route("/{path:path}", through, methods=methods)])


class _Found(Notes):
    def find(self, name: str) -> Connector:
        """Find the notes' connector, or an installed one."""
        return super().find(name) if name == "notes" else find_connector(name)


@pytest.fixture(scope="session")
def broker(
    place: Place, notes_service: NotesService, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServedBroker]:
    """Serve a broker that knows two agents of oidc-provider's, and nobody's account at kinto."""
    directory = tmp_path_factory.mktemp("broker") / "access"
    directory.mkdir()
    (directory / "kinto.pem").write_text(place.authority.certificate_file.read_text())
    trust = {"private_ranges": LOOPBACK, "certificate_authority": "kinto.pem"}
    sign_in = {
        "issuer": place.issuer,
        "client_id": "broker-sign-in",
        "authorization_endpoint": f"{place.issuer}/auth",
        "token_endpoint": f"{place.issuer}/token",
        **trust,
    }
    written = write_documents(directory, notes_service, consent={"url": PUBLIC, "sign_in": [sign_in]})
    rules = [{"agent": name, "client": f"{name}-app"} for name in ("analyst", "other")]
    written.put(
        "issuer.yaml", issuer_document(*rules, issuer=place.issuer, keys=trust, required_scopes=["agent-access"])
    )
    written.put("kinto.yaml", json.dumps({"apiVersion": "access.envisionai.dev/v1", **_connector(place)}))
    with ServedBroker(written, _Found(), grant=False) as broker:
        client = {"connector": "kinto", "client_id": "broker-kinto", "client_secret": SECRET}
        broker.operators.put("/v1/grants/client", {**client, "client_auth": "client_secret_basic"})
        yield broker


def _connector(place: Place) -> dict[str, Any]:
    return {
        "kind": "Connector",
        "metadata": {"name": "kinto"},
        "spec": {
            "type": "openapi",
            "url": place.kinto,
            "resources": {"records": "/buckets/{b}/collections/{c}/records", "server": "GET /"},
            "snapshot": "kinto.snapshot.json",
            "settings": {"description": f"{place.kinto}/v1/__api__"},
            "grants": {"kinds": ["authorization-code"], "accounts": "person"},
            "oauth": {
                "token_endpoint": f"{place.issuer}/token",
                "authorization_endpoint": f"{place.issuer}/auth",
                "revocation_endpoint": f"{place.issuer}/token/revocation",
                "issuer": place.issuer,
                "authorization_response_iss_parameter_supported": True,
                "scopes": ["openid"],
            },
            "reach": {
                "hosts": [place.issuer.removeprefix("https://")],
                "private_ranges": LOOPBACK,
                "certificate_authority": "kinto.pem",
            },
        },
    }
