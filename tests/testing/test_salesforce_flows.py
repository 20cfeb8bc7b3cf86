"""The web-server, client-credentials and refresh flows, spoken by a client of their own and by Authlib."""

import base64
import hashlib
import hmac
import re
import ssl
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from authlib.integrations.httpx_client import OAuth2Client
from joserfc import jwt
from joserfc.jwk import RSAKey

from broker.testing.salesforce import Drop, Lose, SalesforceService

CALLBACK = "http://localhost:1717/OauthRedirect"
VERIFIER = "a-verifier-of-more-than-forty-three-characters-as-rfc-7636-asks"
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
Answered = Callable[..., dict[str, Any]]


def ask(service: SalesforceService, **changes: str | None) -> requests.Response:
    """Come to the authorization endpoint as a browser; a parameter given as None is left out."""
    query = {
        "response_type": "code",
        "client_id": service.consumer_key,
        "redirect_uri": CALLBACK,
        "scope": "api refresh_token",
        "state": "a-state",
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
    } | changes
    url = f"{service.url}/services/oauth2/authorize"
    return requests.get(url, params=query, allow_redirects=False, verify=str(service.ca_file), timeout=60)


def choose(service: SalesforceService, page: requests.Response, **chosen: str) -> dict[str, str]:
    """Send the page's form; return what went back to the callback URL."""
    hidden = dict(re.findall(r'name="(\w+)" value="([^"]*)">\n', page.text))
    url = f"{service.url}/services/oauth2/authorize"
    answer = requests.post(url, hidden | chosen, allow_redirects=False, verify=str(service.ca_file), timeout=60)
    return sent_back(answer)


def sent_back(answer: requests.Response) -> dict[str, str]:
    """Return what a redirect to the callback URL carries."""
    assert answer.status_code == 302
    assert answer.headers["location"].startswith(CALLBACK)
    return {name: value for name, (value,) in parse_qs(urlsplit(answer.headers["location"]).query).items()}


def post(service: SalesforceService, **form: str) -> requests.Response:
    """Post to the token endpoint as the app."""
    proof = {"client_id": service.consumer_key, "client_secret": service.app.consumer_secret}
    url = f"{service.url}/services/oauth2/token"
    return requests.post(url, data=proof | form, verify=str(service.ca_file), timeout=60)


def exchange(service: SalesforceService, code: str, **changes: str) -> requests.Response:
    """Exchange a code."""
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK, "code_verifier": VERIFIER}
    return post(service, **form | changes)


def connected(service: SalesforceService, username: str = "jane@example.com") -> dict[str, str]:
    """Go through the whole web-server flow; return the token answer."""
    back = choose(service, ask(service), username=username, decision="allow")
    answer: dict[str, str] = exchange(service, back["code"]).json()
    return answer


def refresh(service: SalesforceService, token: str) -> requests.Response:
    """Renew a session."""
    return post(service, grant_type="refresh_token", refresh_token=token)


def test_a_person_who_allows_the_app_gives_it_a_session_that_can_be_renewed(own_service: SalesforceService) -> None:
    """The web-server flow answers what Salesforce does: no `expires_in`, and `issued_at` in milliseconds, as a text."""
    before = time.time() * 1000

    answer = connected(own_service)

    assert answer.keys() == {
        *("access_token", "refresh_token", "signature", "scope", "instance_url", "id", "token_type", "issued_at")
    }
    assert isinstance(answer["issued_at"], str)
    assert before - 1 <= int(answer["issued_at"]) <= time.time() * 1000
    assert answer["scope"] == "api refresh_token"
    assert own_service.refresh_tokens_issued == (answer["refresh_token"],)
    assert "CANARY" in answer["refresh_token"]


def test_the_signature_proves_that_the_answer_is_the_services_own(own_service: SalesforceService) -> None:
    """It is HMAC-SHA256 over `id` and `issued_at` with the consumer secret, in base64."""
    answer = connected(own_service)

    message = (answer["id"] + answer["issued_at"]).encode()
    mac = hmac.digest(own_service.app.consumer_secret.encode(), message, "sha256")
    assert answer["signature"] == base64.b64encode(mac).decode()


def test_the_session_is_the_persons_own(own_service: SalesforceService) -> None:
    """Two people who allow the app get sessions of their own."""
    tokens = [connected(own_service, name)["access_token"] for name in ("jane@example.com", "omar@example.com")]

    who = [
        requests.get(
            f"{own_service.url}/services/oauth2/userinfo",
            headers={"Authorization": f"Bearer {token}"},
            verify=str(own_service.ca_file),
            timeout=60,
        ).json()["email"]
        for token in tokens
    ]
    assert who == ["jane@example.com", "omar@example.com"]


def test_a_person_who_says_no_sends_the_app_away(service: SalesforceService) -> None:
    """RFC 6749 §4.1.2.1, with the state."""
    back = choose(service, ask(service), username="jane@example.com", decision="deny")

    assert (back["error"], back["state"]) == ("access_denied", "a-state")


def test_whom_the_administrator_approved_sees_no_page(own_service: SalesforceService) -> None:
    """A pre-authorised user who is signed in goes straight back, unless the app asks for the page."""
    own_service.app.preauthorized = {"jane@example.com"}
    own_service.sign_in("jane@example.com")

    back = sent_back(ask(own_service))

    assert back.keys() == {"code", "state"}
    assert ask(own_service, prompt="consent").status_code == 200


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"client_id": "3MVG9.stranger"}, "invalid_client_id"),
        ({"redirect_uri": CALLBACK + "/"}, "redirect_uri_mismatch"),
        ({"redirect_uri": "https://attacker.example"}, "redirect_uri_mismatch"),
        ({"redirect_uri": None}, "redirect_uri_mismatch"),
    ],
)
def test_what_is_wrong_with_the_app_goes_nowhere(
    service: SalesforceService, changes: dict[str, Any], error: str
) -> None:
    """A callback URL is compared as it is written; to any other nothing is sent, not even an error."""
    page = ask(service, **changes)

    assert (page.status_code, f"error={error}" in page.text) == (400, True)
    assert "location" not in page.headers


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"scope": "api openid"}, "invalid_scope"),
        ({"code_challenge": None}, "invalid_request"),
    ],
)
def test_a_request_that_cannot_be_granted_goes_back_with_its_error(
    service: SalesforceService, changes: dict[str, Any], error: str
) -> None:
    """The app requires PKCE, as partners must set it."""
    assert sent_back(ask(service, **changes))["error"] == error


@pytest.mark.parametrize(
    ("changes", "error", "description"),
    [
        ({"code_verifier": "another"}, "invalid_grant", "invalid code verifier"),
        ({"code_verifier": ""}, "invalid_grant", "invalid code verifier"),
        ({"redirect_uri": "http://localhost:9/"}, "redirect_uri_mismatch", "redirect_uri must match configuration"),
        ({"client_secret": "guess"}, "invalid_client", "invalid client credentials"),
        ({"client_secret": ""}, "invalid_client", "invalid client credentials"),
        ({"client_id": "3MVG9.stranger"}, "invalid_client_id", "client identifier invalid"),
    ],
)
def test_a_code_is_worth_nothing_without_its_verifier_and_the_secret(
    service: SalesforceService, changes: dict[str, str], error: str, description: str
) -> None:
    """A confidential client sends the secret and the verifier."""
    back = choose(service, ask(service), username="jane@example.com", decision="allow")

    response = exchange(service, back["code"], **changes)

    assert response.status_code == 400
    assert response.json() == {"error": error, "error_description": description}


def test_a_code_works_once(service: SalesforceService) -> None:
    """RFC 6749 §4.1.2, in Salesforce's words."""
    code = choose(service, ask(service), username="jane@example.com", decision="allow")["code"]
    exchange(service, code)

    again = exchange(service, code)

    assert again.json() == {"error": "invalid_grant", "error_description": "expired authorization code"}


def test_a_session_is_renewed_as_often_as_needed(own_service: SalesforceService) -> None:
    """Without rotation the refresh token stays, and the answer does not repeat it."""
    token = connected(own_service)["refresh_token"]
    own_service.expire_tokens()

    first, second = (refresh(own_service, token).json() for _ in range(2))

    assert "refresh_token" not in first
    assert first["access_token"] != second["access_token"]


def test_a_rotated_refresh_token_is_dead_at_once(own_service: SalesforceService) -> None:
    """The answer has the new one; the old one renews nothing any more, and harms nothing."""
    own_service.app.rotates_refresh_tokens = True
    old = connected(own_service)["refresh_token"]
    new = refresh(own_service, old).json()["refresh_token"]

    again = refresh(own_service, old)

    assert again.json() == {"error": "invalid_grant", "error_description": "expired access/refresh token"}
    assert refresh(own_service, new).status_code == 200


def test_a_rotation_whose_answer_was_lost_has_happened(own_service: SalesforceService) -> None:
    """What a broker must expect of a crash between the provider's answer and its own commit."""
    own_service.app.rotates_refresh_tokens = True
    old = connected(own_service)["refresh_token"]
    own_service.faults.add(Lose(path="/token"))

    with pytest.raises(requests.ConnectionError):
        refresh(own_service, old)

    assert refresh(own_service, old).json()["error"] == "invalid_grant"


def test_a_rotation_that_never_arrived_has_not_happened(own_service: SalesforceService) -> None:
    """The other end of the same crash."""
    own_service.app.rotates_refresh_tokens = True
    old = connected(own_service)["refresh_token"]
    own_service.faults.add(Drop(path="/token"))

    with pytest.raises(requests.ConnectionError):
        refresh(own_service, old)

    assert refresh(own_service, old).status_code == 200


def test_revoking_a_refresh_token_ends_what_came_of_it_and_nothing_else(own_service: SalesforceService) -> None:
    """Every session of that approval ends; another person's goes on."""
    jane, omar = connected(own_service), connected(own_service, "omar@example.com")
    url, proof = f"{own_service.url}/services/oauth2/revoke", {"token": jane["refresh_token"]}

    response = requests.get(url, params=proof, verify=str(own_service.ca_file), timeout=60)

    assert response.status_code == 200
    assert refresh(own_service, jane["refresh_token"]).status_code == 400
    data = f"{own_service.url}/services/data/v59.0/limits"
    statuses = [
        requests.get(
            data, headers={"Authorization": f"Bearer {token}"}, verify=str(own_service.ca_file), timeout=60
        ).status_code
        for token in (jane["access_token"], omar["access_token"])
    ]
    assert statuses == [401, 200]


@pytest.mark.parametrize("way", ["post", "basic", "assertion"])
def test_client_credentials_act_as_the_user_whom_the_app_names(service: SalesforceService, way: str) -> None:
    """The secret comes in the form or as HTTP Basic, or a signed assertion in its place; nothing renews the answer."""
    url, form = f"{service.url}/services/oauth2/token", {"grant_type": "client_credentials"}
    key, secret = service.consumer_key, service.app.consumer_secret
    proofs: dict[str, dict[str, Any]] = {
        "post": {"data": form | {"client_id": key, "client_secret": secret}},
        "basic": {"data": form, "auth": (key, secret)},
        "assertion": {"data": form | client_assertion(service)},
    }

    response = requests.post(url, verify=str(service.ca_file), timeout=60, **proofs[way])

    answer = response.json()
    assert answer.keys() == {"access_token", "signature", "scope", "instance_url", "id", "token_type", "issued_at"}


def test_client_credentials_need_a_user_to_act_as(own_service: SalesforceService) -> None:
    """The flow is off until an administrator names one."""
    own_service.app.run_as = None

    response = post(own_service, grant_type="client_credentials")

    assert response.json() == {
        "error": "invalid_grant",
        "error_description": "no client credentials user enabled",
    }


@pytest.mark.parametrize("changes", [{"aud": "https://example.com"}, {"sub": "other"}, {"exp": 1}, {"exp": None}])
def test_a_client_assertion_is_checked(service: SalesforceService, changes: dict[str, Any]) -> None:
    """RFC 7523 §3: whose it is, for whom, and until when."""
    form = {"grant_type": "client_credentials"} | client_assertion(service, **changes)

    response = requests.post(f"{service.url}/services/oauth2/token", data=form, verify=str(service.ca_file), timeout=60)

    assert response.json()["error"] == "invalid_client"


def client_assertion(service: SalesforceService, **changes: Any) -> dict[str, str]:
    """Return the form by which the app proves itself with its key."""
    claims = {"iss": service.consumer_key, "sub": service.consumer_key, "aud": service.url, "exp": time.time() + 60}
    key = RSAKey.import_key(service.private_key_file.read_bytes())
    return {
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "client_assertion": jwt.encode({"alg": "RS256"}, claims | changes, key),
    }


def test_authlib_finds_its_way_through_the_flow(own_service: SalesforceService) -> None:
    """An unmodified client: discovery, PKCE, code, refresh."""
    discovered = requests.get(
        f"{own_service.url}/.well-known/openid-configuration", verify=str(own_service.ca_file), timeout=60
    ).json()
    with OAuth2Client(
        own_service.consumer_key,
        own_service.app.consumer_secret,
        redirect_uri=CALLBACK,
        scope="api refresh_token",
        code_challenge_method="S256",
        verify=ssl.create_default_context(cafile=str(own_service.ca_file)),
    ) as client:
        url, state = client.create_authorization_url(discovered["authorization_endpoint"], code_verifier=VERIFIER)
        page = requests.get(url, allow_redirects=False, verify=str(own_service.ca_file), timeout=60)
        back = choose(own_service, page, username="jane@example.com", decision="allow")

        token = client.fetch_token(discovered["token_endpoint"], code=back["code"], code_verifier=VERIFIER)
        renewed = client.refresh_token(discovered["token_endpoint"], token["refresh_token"])

    assert back["state"] == state
    assert renewed["access_token"] in own_service.tokens_issued
