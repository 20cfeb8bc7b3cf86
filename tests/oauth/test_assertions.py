import json
import time
import traceback
from collections.abc import Mapping
from ipaddress import ip_network
from typing import Any
from urllib.parse import parse_qs

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from joserfc import jwt
from joserfc.jwk import RSAKey

from broker.egress import Client, Dispatch, Egress, Limits, Reach, Secret
from broker.errors import (
    EgressDenied,
    GrantMisplaced,
    ReauthorizationNeeded,
    Refusal,
    UpstreamFailed,
    UpstreamInterrupted,
    UpstreamMalformed,
    UpstreamRedirected,
    UpstreamTimeout,
    UpstreamTooLarge,
    VaultUnreadable,
)
from broker.oauth import AuthorizationServer, OAuthClient, Token, check_private_key, issue_by_assertion, revoke
from broker.testing.certificates import CertificateAuthority
from broker.testing.salesforce import Answer, Delay, Drop, Flood, Malformed, Redirect, SalesforceService
from tests.support.low_salesforce import client_of, grant_of
from tests.support.low_upstream import Exchange, serving

pytestmark = pytest.mark.anyio

WORDS = "the service's own words"
GOOD = {"access_token": "x" * 40, "token_type": "Bearer"}


@pytest.fixture
async def client(egress: Egress, salesforce: SalesforceService) -> Client:
    """Make a client that reaches the service."""
    return client_of(egress, salesforce, total_seconds=2.0, response_bytes=100_000)


def revoking(endpoint: str) -> AuthorizationServer:
    """Describe a server by where it revokes."""
    return AuthorizationServer("https://unused.example/token", "https://unused.example", revocation_endpoint=endpoint)


async def issue(client: Client, salesforce: SalesforceService, **changes: Any) -> Token:
    """Get a token as the vault does."""
    endpoint = f"{salesforce.url}/services/oauth2/token"
    return await issue_by_assertion(client, endpoint, salesforce.audience, grant_of(salesforce, **changes))


async def answered(client: Client, salesforce: SalesforceService, body: Any, status: int = 200) -> Token:
    """Get a token from an endpoint that answers this."""
    salesforce.faults.add(Answer(path="/oauth2/token", status=status, body=body))
    return await issue(client, salesforce)


async def test_a_grant_gets_a_token(client: Client, salesforce: SalesforceService) -> None:
    """Issue 2, Salesforce: OAuth by JWT bearer as credentials.md B2 says: no `expires_in`, no refresh token."""
    token = await issue(client, salesforce)

    assert token.access.reveal() == salesforce.tokens_issued[-1]
    assert token.instance_url == salesforce.url
    assert (token.scopes, token.expires_at) == (("api", "id"), None)
    assert "CANARY" not in repr(token)


async def test_the_assertion_says_what_salesforce_asks_for_and_nothing_else_is_sent(
    egress: Egress, salesforce: SalesforceService, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """credentials.md B2: RS256, issuer, user, the login host as audience, three minutes at most."""
    authority = CertificateAuthority(tmp_path_factory.mktemp("authority"))

    async def script(exchange: Exchange) -> None:
        await exchange.answer(200, json.dumps(GOOD).encode())

    async with serving(authority.issue("server"), script) as upstream:
        reach = Reach(frozenset({upstream.host}), (ip_network("127.0.0.0/8"),))
        recorder = egress.client(reach, Limits(), authority.certificate_file.read_text())
        await issue_by_assertion(
            recorder, f"{upstream.url}/token", "https://login.salesforce.com", grant_of(salesforce)
        )

    (request,) = upstream.received
    form = parse_qs(request.body.decode(), strict_parsing=True)
    assertion = jwt.decode(form["assertion"][0], RSAKey.import_key(salesforce.private_key_file.read_text()))
    assert form.keys() == {"grant_type", "assertion"}
    assert form["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
    assert assertion.header["alg"] == "RS256"
    assert {name: assertion.claims[name] for name in ("iss", "sub", "aud")} == {
        "iss": salesforce.consumer_key,
        "sub": salesforce.username,
        "aud": "https://login.salesforce.com",
    }
    assert 60 < assertion.claims["exp"] - time.time() <= 180
    assert "authorization" not in request.headers
    assert "cookie" not in request.headers


@pytest.mark.parametrize(
    ("error", "refusal"),
    [
        ("invalid_grant", ReauthorizationNeeded),
        ("invalid_app_access", ReauthorizationNeeded),
        ("invalid_client", GrantMisplaced),
        ("invalid_client_id", GrantMisplaced),
        ("unauthorized_client", GrantMisplaced),
        ("invalid_scope", GrantMisplaced),
        ("unsupported_grant_type", GrantMisplaced),
        ("server_error", UpstreamFailed),
        (WORDS, UpstreamFailed),
        ("", UpstreamFailed),
        (["invalid_grant"], UpstreamFailed),
        ({"a": 1}, UpstreamFailed),
        (None, UpstreamFailed),
    ],
)
async def test_a_refusal_is_one_of_ours_and_none_of_the_services_words(
    client: Client, salesforce: SalesforceService, error: Any, refusal: type[Refusal]
) -> None:
    """RFC 6749 §5.2 and CONTRIBUTING: the description and unknown codes stay behind, in the chain too."""
    with pytest.raises(refusal) as raised:
        await answered(client, salesforce, {"error": error, "error_description": WORDS}, 400)

    told = "".join(traceback.format_exception(raised.value)) + str(raised.value.detail)
    assert WORDS not in told
    assert (raised.value.__context__, raised.value.__cause__) == (None, None)


@pytest.mark.parametrize(
    "changes",
    [{"client_id": "3MVG9.stranger"}, {"subject": "nobody@example.com"}],
)
async def test_the_service_refuses_what_it_has_not_approved(
    client: Client, salesforce: SalesforceService, changes: Mapping[str, str]
) -> None:
    """credentials.md B2: the real errors of a real refusal, end to end."""
    with pytest.raises((GrantMisplaced, ReauthorizationNeeded)):
        await issue(client, salesforce, **changes)


@pytest.mark.parametrize(
    ("fault", "refusal"),
    [
        (Answer(path="/token", status=503, body="down for maintenance"), UpstreamFailed),
        (Answer(path="/token", status=500, body={"error": "invalid_grant"}), UpstreamFailed),
        (Answer(path="/token", status=429, body="slow down"), UpstreamFailed),
        (Answer(path="/token", status=400, body="<html>"), UpstreamFailed),
        (Malformed(path="/token"), UpstreamMalformed),
        (Answer(path="/token", status=200, body="<html>"), UpstreamMalformed),
        (Answer(path="/token", status=200, body="[" * 9000), UpstreamMalformed),
        (Redirect(path="/token", location="https://evil.example/"), UpstreamRedirected),
        (Drop(path="/token"), UpstreamInterrupted),
        (Flood(path="/token"), UpstreamTooLarge),
        (Delay(path="/token", seconds=5), UpstreamTimeout),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, type) else value.__name__,
)
async def test_an_endpoint_that_fails_is_no_end_of_the_grant(
    egress: Egress, salesforce: SalesforceService, fault: Any, refusal: type[Refusal]
) -> None:
    """credentials.md B3.5: 5xx, timeouts and junk keep the grant; only `invalid_grant` is terminal."""
    salesforce.faults.add(fault)

    with pytest.raises(refusal):
        await issue(client_of(egress, salesforce, total_seconds=0.5, response_bytes=10_000), salesforce)


@pytest.mark.parametrize(
    "changes",
    [
        {"access_token": None},
        {"access_token": ""},
        {"access_token": 7},
        {"access_token": "short"},
        {"access_token": "x" * 20_000},
        {"access_token": "x" * 20 + "\r\nX-Injected: 1"},
        {"access_token": "x" * 20 + " y"},
        {"access_token": "x" * 20 + "\u00e9"},
        {"access_token": "x" * 20 + "\x00"},
        {"token_type": None},
        {"token_type": "mac"},
        {"token_type": ["Bearer"]},
        {"scope": 7},
        {"scope": "a\nb"},
        {"scope": "caf\u00e9"},
        {"scope": "x" * 5000},
    ],
    ids=lambda changes: str(changes)[:40],
)
async def test_an_answer_that_holds_no_usable_token_is_malformed(
    client: Client, salesforce: SalesforceService, changes: Mapping[str, Any]
) -> None:
    """RFC 6749 §5.1: what cannot be a header, a credential or a record of a scope is not taken."""
    await answered(client, salesforce, GOOD)

    with pytest.raises(UpstreamMalformed):
        await answered(client, salesforce, {**GOOD, **changes})


@pytest.mark.parametrize(
    "url",
    ["http://acme.my.salesforce.com", "https://a@b.example", "https://[", "https://x:99999", "", "javascript:1", 7, []],
)
async def test_an_instance_url_that_is_no_plain_https_is_refused(
    client: Client, salesforce: SalesforceService, url: Any
) -> None:
    """credentials.md B2: token theft by a forged base URL; what is said and wrong is never taken for not said."""
    with pytest.raises(GrantMisplaced):
        await answered(client, salesforce, {**GOOD, "instance_url": url})


@pytest.mark.parametrize(
    ("lifetime", "known"),
    [
        (3600, True),
        (0.5, True),
        (None, False),
        (0, False),
        (-5, False),
        ("3600", False),
        (10**400, False),
        (1e308, False),
    ],
)
async def test_an_end_is_taken_only_where_it_is_one(
    client: Client,
    salesforce: SalesforceService,
    lifetime: Any,
    known: bool,  # noqa: FBT001 - a table
) -> None:
    """credentials.md B2: `expires_in` may be absent; a number that is no time is no time."""
    body = json.dumps({**GOOD, "expires_in": lifetime})

    token = await answered(client, salesforce, body)

    assert (token.expires_at is not None) is known
    assert token.expires_at is None or token.expires_at - token.issued_at == pytest.approx(lifetime)


async def test_a_token_endpoint_is_reached_through_egress_only(egress: Egress, salesforce: SalesforceService) -> None:
    """architecture.md, The way of one call: a pin holds everywhere, for Authlib too."""
    elsewhere = egress.client(Reach(frozenset({"login.salesforce.com"})), Limits())

    with pytest.raises(EgressDenied):
        await issue(elsewhere, salesforce)


async def test_a_token_is_revoked_at_the_service(client: Client, salesforce: SalesforceService) -> None:
    """RFC 7009: what the vault forgets, the service forgets; a token that is dead already is no error."""
    token = await issue(client, salesforce)
    endpoint = f"{salesforce.url}/services/oauth2/revoke"

    await revoke(client, revoking(endpoint), OAuthClient(salesforce.consumer_key), token.access)
    await revoke(client, revoking(endpoint), OAuthClient(salesforce.consumer_key), token.access)

    header = Secret(f"Bearer {token.access.reveal()}")
    answer = await client.send(
        "GET", f"{salesforce.url}/services/oauth2/userinfo", {}, None, Dispatch(), authorization=header
    )
    assert answer.status == 403


async def test_a_revocation_names_the_client_and_carries_nothing_else(
    egress: Egress, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """RFC 7009 §2.1: a public client says who it is; Authlib alone would have written 'None'."""
    authority = CertificateAuthority(tmp_path_factory.mktemp("authority"))

    async def script(exchange: Exchange) -> None:
        await exchange.answer(200, b"")

    async with serving(authority.issue("server"), script) as upstream:
        reach = Reach(frozenset({upstream.host}), (ip_network("127.0.0.0/8"),))
        recorder = egress.client(reach, Limits(), authority.certificate_file.read_text())
        await revoke(recorder, revoking(f"{upstream.url}/revoke"), OAuthClient("3MVG9"), Secret("to!ken"))

    assert parse_qs(upstream.received[0].body.decode()) == {
        "token": ["to!ken"],
        "token_type_hint": ["access_token"],
        "client_id": ["3MVG9"],
    }


@pytest.mark.parametrize(
    ("status", "body"),
    [(500, ""), (400, {"error": "unsupported_token_type"}), (400, "<html>"), (400, []), (403, {"error": 7})],
)
async def test_a_revocation_that_fails_says_so(
    client: Client, salesforce: SalesforceService, status: int, body: Any
) -> None:
    """Issue 2, Vault: an operator learns that the service did not take the token back."""
    salesforce.faults.add(Answer(path="/oauth2/revoke", status=status, body=body))

    with pytest.raises(UpstreamFailed):
        await revoke(
            client, revoking(f"{salesforce.url}/services/oauth2/revoke"), OAuthClient("3MVG9"), Secret("x" * 20)
        )


def pem(key: Any, form: str = "PKCS8", passphrase: bytes | None = None) -> str:
    """Write a private key."""
    return str(
        key.private_bytes(
            serialization.Encoding.PEM,
            getattr(serialization.PrivateFormat, form),
            serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption(),
        ).decode()
    )


RSA = rsa.generate_private_key(65537, 2048)
EXPECTED = "an RSA private key of 2048 bits or more"


@pytest.mark.parametrize("form", ["PKCS8", "TraditionalOpenSSL", "OpenSSH"])
def test_an_rsa_key_is_taken_in_its_usual_forms(form: str) -> None:
    """Issue 2, Vault: secrets enter by file; `openssl` and `ssh-keygen` write these."""
    check_private_key(Secret(pem(RSA, form)))


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(lambda: pem(RSA, passphrase=b"x"), id="with a passphrase"),
        pytest.param(lambda: pem(RSA, "TraditionalOpenSSL", b"x"), id="with a passphrase, old form"),
        pytest.param(lambda: pem(rsa.generate_private_key(65537, 1024)), id="RSA, 1024 bits"),  # noqa: S505
        pytest.param(lambda: pem(ec.generate_private_key(ec.SECP256R1())), id="EC"),
        pytest.param(lambda: pem(ed25519.Ed25519PrivateKey.generate()), id="Ed25519"),
        pytest.param(lambda: pem(dsa.generate_private_key(1024)), id="DSA"),  # noqa: S505
        pytest.param(lambda: pem(RSA)[:300], id="cut off"),
        pytest.param(lambda: "", id="empty"),
        pytest.param(lambda: "PRIVATE", id="a word"),
        pytest.param(lambda: '{"kty": "RSA"}', id="JWK"),
        pytest.param(lambda: "\udcff\x00", id="no text"),
        pytest.param(
            lambda: (
                RSA.public_key()
                .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
                .decode()
            ),
            id="public",
        ),
        pytest.param(
            lambda: "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            id="certificate",
        ),
    ],
)
def test_any_other_key_is_refused_and_not_quoted(text: Any) -> None:
    """credentials.md B2: RS256 wants an RSA key; a broken one shows up when it is added, not at the first call."""
    with pytest.raises(ValueError, match=EXPECTED) as refusal:
        check_private_key(Secret(text()))

    assert refusal.value.__context__ is None


async def test_a_stored_key_that_cannot_be_read_is_the_vaults_matter(
    client: Client, salesforce: SalesforceService
) -> None:
    """errors.py: `vault_unreadable`; nothing is sent."""
    before = salesforce.token_requests

    with pytest.raises(VaultUnreadable):
        await issue(client, salesforce, private_key=Secret("junk"))

    assert salesforce.token_requests == before
