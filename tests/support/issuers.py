"""Issuers other than trust domains, for tests: what they put into tokens, and how documents describe them."""

import json
import time
from pathlib import Path
from typing import Any

from broker.identity import Issuer
from broker.identity.issuer import AgentRule, Rule, equalities_of
from tests.support.documents import AUDIENCE as BROKER
from tests.support.documents import HEAD
from tests.support.low_issuer import AUDIENCE, WORKLOAD, Key, claims, entry, header, token

ISSUER = "https://login.example.com"
POD: dict[str, Any] = {
    "sub": "system:serviceaccount:agents:analyst",
    "kubernetes.io": {"namespace": "agents", "serviceaccount": {"name": "analyst", "uid": "1"}},
}


def rule(workload: str = WORKLOAD, **written: Any) -> Rule:
    """Return a rule, as the documents' check makes it."""
    parsed = AgentRule(agent="analyst", **written)
    return Rule(workload, equalities_of(parsed), parsed.client, parsed.actor)


def issuer(*rules: Rule, **changes: Any) -> Issuer:
    """Return an issuer whose tokens stand for the analyst if they are of its client, unless there are other rules."""
    members = {"name": "login", "issuer": ISSUER, "environment": "production", "audience": AUDIENCE, **changes}
    return Issuer(**members, rules=rules or (rule(client="desktop"),))


def key_set(*names: str) -> bytes:
    """Return a JWK Set as OIDC providers write them."""
    return json.dumps({"keys": [entry("P-256", name, use="sig", alg="ES256") for name in names or ("1",)]}).encode()


def login(**changes: Any) -> dict[str, Any]:
    """Return the claims of an access token (RFC 9068) for a person who has logged in with the desktop client."""
    person = {"iss": ISSUER, "sub": "jane", "client_id": "desktop", "scope": "openid agent-access"}
    return claims(**{**person, **changes})


def signed(payload: dict[str, Any] | None = None, signer: Key | None = None, **changes: Any) -> str:
    """Return a token of the issuer; `changes` are members of its header."""
    members = {"typ": "at+jwt", **changes}
    return token(header(**members), login() if payload is None else payload, signer=signer)


def issuer_document(*rules: dict[str, Any], **spec: Any) -> str:
    """Return an Issuer document whose keys are in login.json."""
    members = {"issuer": ISSUER, "environment": "production", "keys": {"file": "login.json"}, "agents": rules, **spec}
    return f"{HEAD}kind: Issuer\nmetadata: {{name: login}}\nspec: {json.dumps(members)}\n"


def fresh(**changes: Any) -> str:
    """Return a login's token for the broker of tests/support/documents.py, issued now."""
    now = int(time.time())
    return signed(login(**{"aud": [BROKER], "iat": now, "exp": now + 300, **changes}))


def write_issuer(directory: Path, *rules: dict[str, Any], **spec: Any) -> None:
    """Write an Issuer document, and the keys that it names, into a directory of documents."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "login.json").write_bytes(key_set())
    (directory / "issuer.yaml").write_text(issuer_document(*rules, **spec))
