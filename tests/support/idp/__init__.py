"""Authorization servers that are not ours, on loopback over TLS, and a person who logs in there."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest

from broker.testing.certificates import CertificateAuthority
from tests.support.idp.browser import log_in
from tests.support.ports import free_port

__all__ = [
    "CLIENT", "AuthorizationServer", "absent", "log_in", "node_modules", "oidc_provider", "serving"
]  # fmt: skip

CLIENT = "desktop"
_HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class AuthorizationServer:
    """A running authorization server, and what its clients must trust."""

    issuer: str
    authority: str
    scopes: tuple[str, ...]


def node_modules() -> str:
    """Find the directory of Node modules that CI installs; skip without it, or without Node."""
    path = os.environ.get("AAM_NODE_MODULES")
    if path is None:
        absent("AAM_NODE_MODULES does not name a node_modules with clients and oidc-provider")
    if shutil.which("node") is None:
        absent("Node.js is not there")
    return path


def absent(why: str) -> NoReturn:
    """Skip for a newcomer; fail in CI, which installs everything."""
    if os.environ.get("AAM_CI"):
        pytest.fail(why)
    pytest.skip(why)


@contextmanager
def serving(kind: str, audience: str, redirects: list[str], place: Path) -> Iterator[AuthorizationServer]:
    """Serve `oidc-provider` or `pytest-iam`, which know one client and issue tokens for one audience."""
    authority = CertificateAuthority(place)
    certificate = authority.issue("idp")
    issuer = f"https://localhost:{free_port()}"
    settings: dict[str, object] = {
        "issuer": issuer,
        "certificate": str(certificate.certificate_file),
        "key": str(certificate.key_file),
        "audience": audience,
        "client": CLIENT,
        "redirects": redirects,
    }
    log = place / "idp.log"
    with log.open("w") as errors:
        process = subprocess.Popen(_command(kind, settings), stdout=subprocess.PIPE, stderr=errors, text=True)
    assert process.stdout is not None
    try:
        assert process.stdout.readline(), log.read_text()
        scopes = ("agent-access",) if kind == "oidc-provider" else ()  # Canaille writes no scope into its tokens
        yield AuthorizationServer(issuer, str(authority.certificate_file), scopes)
    finally:
        process.kill()
        process.wait(60)
        process.stdout.close()


def oidc_provider(settings: Mapping[str, object]) -> list[str]:
    """Return the command that serves npm's oidc-provider; skip without it, and fail in CI."""
    return ["node", str(_HERE / "oidc_provider.mjs"), json.dumps({**settings, "modules": node_modules()})]


def _command(kind: str, settings: dict[str, object]) -> list[str]:
    if kind == "oidc-provider":
        public = {"application_type": "native", "token_endpoint_auth_method": "none"}
        client = {"client_id": CLIENT, "redirect_uris": settings["redirects"], **public}
        return oidc_provider({**settings, "clients": [client]})
    python = os.environ.get("AAM_IAM_PYTHON")
    if python is None:
        absent("AAM_IAM_PYTHON does not name a Python that has pytest-iam")
    return [python, str(_HERE / "iam_server.py"), json.dumps(settings)]
