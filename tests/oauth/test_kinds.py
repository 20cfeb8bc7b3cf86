"""What each kind of grant says at its token endpoint, to the letter, and what it makes of the answer."""

import base64
import json
import time
from collections.abc import AsyncIterator
from ipaddress import ip_network
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from joserfc import jwt
from joserfc.jwk import RSAKey

from broker.connector import GrantKind
from broker.egress import Egress, Limits, Reach, Secret
from broker.errors import ConsentRefused, GrantMisplaced, ReauthorizationNeeded, Refusal, UpstreamMalformed
from broker.oauth import (
    KINDS,
    AuthorizationCodeGrant,
    AuthorizationServer,
    ClientCredentialsGrant,
    Grant,
    IdJagGrant,
    OAuthClient,
    TokenExchangeGrant,
    authorize,
    issue,
    read_id_token,
    redeem,
)
from broker.testing.certificates import CertificateAuthority, ServerCertificate
from tests.support.broker import private_key
from tests.support.low_tls import anyio_backend, authority, certificate
from tests.support.low_upstream import Exchange, serving

__all__ = ["anyio_backend", "authority", "certificate"]  # fixtures

pytestmark = pytest.mark.anyio

GOOD = {"access_token": "x" * 40, "token_type": "Bearer", "expires_in": 600}
ID_JAG = "urn:ietf:params:oauth:token-type:id-jag"
APP = OAuthClient("app", "client_secret_post", Secret("app-secret"))
Asked = list[dict[str, str]]


class Recorder:
    """A token endpoint that keeps what it is asked, and answers one thing after the other."""

    def __init__(self, client: Any, url: str) -> None:
        self.client = client
        self.url = url
        self.answers: list[Any] = [GOOD]
        self.asked: list[dict[str, str]] = []
        self.headers: list[Any] = []

    async def answer(self, exchange: Exchange) -> None:
        """Keep a request and answer it."""
        self.asked.append({name: value for name, (value,) in parse_qs(exchange.body.decode()).items()})
        self.headers.append(exchange.headers)
        answer = self.answers[min(len(self.asked), len(self.answers)) - 1]
        await exchange.answer(400 if "error" in answer else 200, json.dumps(answer).encode())

    def server(self, **more: Any) -> AuthorizationServer:
        """Describe it."""
        return AuthorizationServer(f"{self.url}/token", self.url, **more)

    async def issue(self, grant: Grant, scopes: tuple[str, ...] = (), **more: Any) -> Any:
        """Get a token."""
        return await issue(self.client, self.server(**more), grant, scopes)


@pytest.fixture
async def recorder(
    egress: Egress, authority: CertificateAuthority, certificate: ServerCertificate
) -> AsyncIterator[Recorder]:
    """Serve one."""
    recorder = Recorder(None, "")
    async with serving(certificate, recorder.answer) as upstream:
        reach = Reach(frozenset({upstream.host}), (ip_network("127.0.0.0/8"),))
        recorder.client = egress.client(reach, Limits(), authority.certificate_file.read_text())
        recorder.url = upstream.url
        yield recorder


def svid(audience: Any) -> Secret:
    """Return a JWT-SVID of the broker's own."""
    claims = {"sub": "spiffe://prod/broker", "aud": audience, "exp": int(time.time()) + 60}
    return Secret(jwt.encode({"alg": "RS256"}, claims, RSAKey.import_key(private_key())))


async def test_client_credentials_ask_for_the_scopes_that_are_needed(recorder: Recorder) -> None:
    """RFC 6749 §4.4 and RFC 8707: the client, the scopes and the resource; nothing else is sent."""
    token = await recorder.issue(ClientCredentialsGrant(APP), ("read", "list"), resource="https://api.example")

    assert recorder.asked == [
        {
            "grant_type": "client_credentials",
            "scope": "read list",
            "resource": "https://api.example",
            "client_id": "app",
            "client_secret": "app-secret",
        }
    ]
    assert token.expires_at is not None


async def test_a_secret_can_stand_in_the_header(recorder: Recorder) -> None:
    """RFC 6749 §2.3.1: client_secret_basic."""
    await recorder.issue(ClientCredentialsGrant(OAuthClient("app", "client_secret_basic", Secret("s3cret"))))

    assert base64.b64decode(recorder.headers[0]["authorization"].removeprefix("Basic ")) == b"app:s3cret"
    assert recorder.asked == [{"grant_type": "client_credentials"}]


async def test_a_private_key_proves_the_client(recorder: Recorder) -> None:
    """RFC 7523 §2.2 and RFC 7523bis: the audience is the issuer, where it is known."""
    client = OAuthClient("app", "private_key_jwt", Secret(private_key()))
    await recorder.issue(ClientCredentialsGrant(client), issuer="https://issuer.example")

    (asked,) = recorder.asked
    claims = jwt.decode(asked["client_assertion"], RSAKey.import_key(private_key())).claims
    assert asked["client_assertion_type"] == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    assert (claims["iss"], claims["sub"], claims["aud"]) == ("app", "app", "https://issuer.example")
    assert {"jti", "exp", "iat"} <= claims.keys()


async def test_the_brokers_svid_proves_the_client(recorder: Recorder) -> None:
    """draft-ietf-oauth-spiffe-client-auth: the JWT-SVID is the assertion; no key of ours signs anything."""
    own = svid(["https://issuer.example"])
    await recorder.issue(ClientCredentialsGrant(OAuthClient("", "jwt_spiffe", own)), issuer="https://issuer.example")

    (asked,) = recorder.asked
    assert asked["client_assertion_type"] == "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe"
    assert asked["client_assertion"] == own.reveal()


@pytest.mark.parametrize("audience", ["https://other.example", ["https://issuer.example", "https://other.example"], []])
async def test_an_svid_for_others_too_is_not_shown(recorder: Recorder, audience: Any) -> None:
    """draft-ietf-oauth-spiffe-client-auth: whoever else it is for could use it where it was shown."""
    client = OAuthClient("", "jwt_spiffe", svid(audience))

    with pytest.raises(GrantMisplaced):
        await recorder.issue(ClientCredentialsGrant(client), issuer="https://issuer.example")

    assert recorder.asked == []


async def test_a_token_is_exchanged_with_its_subject_and_actor(recorder: Recorder) -> None:
    """RFC 8693 §2.1: who it is about, who acts, and what for."""
    grant = TokenExchangeGrant(APP, Secret("subject-token"), "urn:ietf:params:oauth:token-type:id_token", svid("x"))
    await recorder.issue(grant, ("read",), resource="https://api.example")

    (asked,) = recorder.asked
    assert asked["grant_type"] == "urn:ietf:params:oauth:grant-type:token-exchange"
    assert (asked["subject_token"], asked["resource"], asked["scope"]) == (
        "subject-token",
        "https://api.example",
        "read",
    )
    assert asked["subject_token_type"] == "urn:ietf:params:oauth:token-type:id_token"
    assert asked["actor_token_type"] == "urn:ietf:params:oauth:token-type:jwt"


async def test_an_id_jag_is_got_at_the_provider_and_spent_at_the_service(recorder: Recorder) -> None:
    """identity.md A5: ID-JAG, two endpoints, two clients; the assertion is for the service's issuer."""
    jag = {"access_token": "j" * 60, "issued_token_type": ID_JAG, "token_type": "N_A"}
    recorder.answers = [jag, GOOD]
    grant = IdJagGrant(APP, OAuthClient("idp-app", "client_secret_post", Secret("idp-secret")), Secret("id-token"), "t")
    idp = f"{recorder.url}/idp"

    await recorder.issue(grant, issuer="https://issuer.example", identity_provider=idp)

    first, second = recorder.asked
    assert (first["requested_token_type"], first["audience"]) == (ID_JAG, "https://issuer.example")
    assert (first["client_id"], first["subject_token"]) == ("idp-app", "id-token")
    assert second["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
    assert (second["assertion"], second["client_id"]) == ("j" * 60, "app")


@pytest.mark.parametrize("change", [{"issued_token_type": "urn:x"}, {"access_token": 7}, {"access_token": "short"}])
async def test_another_token_in_an_id_jags_place_is_not_shown_to_the_service(recorder: Recorder, change: Any) -> None:
    """RFC 8693 §2.2.1: an identity token that the provider sent by mistake does not leave for somebody else."""
    recorder.answers = [{"access_token": "j" * 60, "issued_token_type": ID_JAG, "token_type": "N_A", **change}]
    grant = IdJagGrant(APP, APP, Secret("id-token"), "t")

    with pytest.raises(UpstreamMalformed):
        await recorder.issue(grant, issuer="https://i.example", identity_provider=f"{recorder.url}/idp")

    assert len(recorder.asked) == 1


@pytest.mark.parametrize(("left", "refused"), [(60, False), (None, False), (-1, True)])
async def test_a_consent_without_a_refresh_token_lasts_as_long_as_its_token(
    recorder: Recorder, left: float | None, refused: Any
) -> None:
    """credentials.md B1: some services give an access token and nothing to renew it with."""
    ends = None if left is None else time.time() + left
    grant = AuthorizationCodeGrant(APP, None, Secret("y" * 40), ends)

    if refused:
        with pytest.raises(ReauthorizationNeeded):
            await recorder.issue(grant)
    else:
        assert (await recorder.issue(grant)).access.reveal() == "y" * 40
    assert recorder.asked == []


@pytest.mark.parametrize("error", ["invalid_target", "invalid_request", "invalid_client"])
async def test_an_app_that_is_set_up_wrongly_ends_no_grant(recorder: Recorder, error: str) -> None:
    """credentials.md B3.5: only `invalid_grant` is the end of a grant."""
    recorder.answers = [{"error": error, "error_description": "the service's words"}]

    with pytest.raises(Refusal) as refused:
        await recorder.issue(TokenExchangeGrant(APP, Secret("subject-token")))

    assert isinstance(refused.value, GrantMisplaced)
    assert "words" not in f"{refused.value.message} {refused.value.detail}"


CLAIMS = {"iss": "https://idp.example", "sub": "jane", "aud": "app", "nonce": "n", "exp": 4_000_000_000}


@pytest.mark.parametrize(
    "change",
    [{"iss": "https://other.example"}, {"aud": "other"}, {"aud": ["app", "other"]}, {"nonce": "m"}, {"exp": 1},
     {"exp": "never"}, {"sub": ""}, {"sub": 7}, {"nonce": None}],
)  # fmt: skip
def test_an_id_token_of_another_sign_in_says_nothing(change: dict[str, Any]) -> None:
    """OpenID Connect Core §3.1.3.7: for us alone, of this provider, of this sign-in, and not old."""
    for claims, good in ((CLAIMS, True), (CLAIMS | change, False)):
        text = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
        answered: dict[str, object] = {"id_token": f"e30.{text}.c2ln"}
        if good:
            assert read_id_token(answered, "https://idp.example", "app", "n").subject == "jane"
        else:
            with pytest.raises(ConsentRefused):
                read_id_token(answered, "https://idp.example", "app", "n")


def test_documents_and_the_oauth_room_know_the_same_kinds() -> None:
    """The two rooms do not import one another; this holds them together."""
    assert set(GrantKind.__args__) == set(KINDS)  # type: ignore[attr-defined] # a Literal's


async def test_what_a_token_is_for_is_said_at_every_step_of_a_consent(recorder: Recorder) -> None:
    """RFC 8707 §2: in the browser, for the code and for each refresh; MCP servers ask for it."""
    resource = "https://mcp.example/mcp"
    server = recorder.server(resource=resource, authorization_endpoint="https://issuer.example/authorize")
    request = authorize(server, APP, "https://broker.example/callback", ("read",))
    recorder.answers = [{**GOOD, "refresh_token": "r" * 40}]

    await redeem(recorder.client, server, APP, request, Secret("code"))
    await recorder.issue(AuthorizationCodeGrant(APP, Secret("r" * 40)), resource=resource)

    assert parse_qs(urlsplit(request.url).query)["resource"] == [resource]
    assert [asked["resource"] for asked in recorder.asked] == [resource, resource]
