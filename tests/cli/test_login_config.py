"""`aam client-config --login`, and the story of a call by an agent that somebody logged in for."""

from collections.abc import Callable
from typing import Any

from broker.cli.trail.story import Told, lines_of
from tests.support.issuers import issuer_document, write_issuer
from tests.support.views import LOGIN, call, placed

Aam = Callable[..., Any]


def test_a_client_that_speaks_oauth_is_told_its_id(aam: Aam, own: Any) -> None:
    """Issue 4: what a person pastes into their client; no secret is in it."""
    write_issuer(own.directory, {"agent": "finance-analyst", "client": "desktop"})

    ran = aam("client-config", "finance-analyst", "--login", "--dir", own.directory, "--json")

    server = ran.json["mcpServers"]["enterprise"]
    assert ran.code == 0
    assert server["command"] == "npx"
    assert server["args"][-2:] == ["--static-oauth-client-info", '{"client_id": "desktop"}']
    assert server["args"][2].endswith("/mcp")


def test_where_nobody_can_log_in_the_command_says_so(aam: Aam, own: Any) -> None:
    """Exit status 2, and which document is missing."""
    (own.directory / "login.json").write_text('{"keys": []}')
    (own.directory / "issuer.yaml").write_text(issuer_document({"agent": "finance-analyst", "actor": "service"}))

    ran = aam("client-config", "finance-analyst", "--login", "--dir", own.directory)

    assert ran.code == 2
    assert "nobody can log in for it" in ran.err


def test_the_story_of_a_call_says_how_its_agent_was_proved_and_for_whom_it_acted() -> None:
    """Issue 4: every record carries how identity was proved, and `aam trail show` tells it."""
    told = "\n".join(" ".join(line) for line in lines_of(Told(placed(call(identity=LOGIN)), [], [], "")))

    assert "proved by oidc, assurance federated, of https://login.example.com, for jane, key key-1" in told
    assert "on behalf of iss https://login.example.com, method oidc-login, sub jane" in told
