import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from joserfc.jwk import RSAKey

from broker.testing.salesforce import SalesforceService
from broker.testing.salesforce.tokens import TokenMint

Sign = Callable[..., str]
PostToken = Callable[..., requests.Response]


def post(service: SalesforceService, resource: str, **form: str) -> requests.Response:
    """Post a form to one of the OAuth endpoints."""
    url = f"{service.url}/services/oauth2/{resource}"
    return requests.post(url, data=form, verify=str(service.ca_file), timeout=60)


def userinfo(service: SalesforceService, token: str) -> requests.Response:
    """Ask who a token belongs to."""
    url = f"{service.url}/services/oauth2/userinfo"
    return requests.get(url, headers={"Authorization": f"Bearer {token}"}, verify=str(service.ca_file), timeout=60)


def credentials(service: SalesforceService) -> dict[str, str]:
    """Return how the app proves itself in a form."""
    return {"client_id": service.consumer_key, "client_secret": service.app.consumer_secret}


@pytest.fixture
def token(service: SalesforceService, sign: Sign, post_token: PostToken) -> str:
    """Get a fresh access token of the shared service."""
    return str(post_token(service, sign(service)).json()["access_token"])


def test_a_good_assertion_gets_a_token_and_nothing_to_renew_it_with(
    service: SalesforceService,
    sign: Sign,
    post_token: PostToken,
) -> None:
    """The JWT bearer flow answers five fields: no refresh token, no `expires_in`."""
    response = post_token(service, sign(service))

    answer = response.json()
    assert response.status_code == 200
    assert answer.keys() == {"access_token", "scope", "instance_url", "id", "token_type"}
    assert answer["instance_url"] == service.url
    assert answer["token_type"] == "Bearer"
    assert answer["id"].startswith(f"{service.url}/id/00D")


def test_a_token_looks_real_and_carries_the_canary(
    service: SalesforceService,
    sign: Sign,
    post_token: PostToken,
) -> None:
    """A scanner's pattern finds it, and so does a search for the canary or for `tokens_issued`."""
    token = post_token(service, sign(service)).json()["access_token"]

    organization, mark, secret = token.partition("!AQ")
    assert (len(organization), organization[:3], mark) == (15, "00D", "!AQ")
    assert len(token) >= 90
    assert "CANARY" in secret
    assert service.tokens_issued[-1] == token


def test_two_grants_give_two_tokens(service: SalesforceService, sign: Sign, post_token: PostToken) -> None:
    """An assertion may be used again, and each use is a session of its own."""
    assertion = sign(service)

    first, second = (post_token(service, assertion).json()["access_token"] for _ in range(2))

    assert first != second


@pytest.mark.parametrize(
    ("changes", "error", "description"),
    [
        ({"iss": "3MVG9.someone.else"}, "invalid_client_id", "client identifier invalid"),
        ({"iss": None}, "invalid_client_id", "client identifier invalid"),
        ({"sub": "nobody@example.com"}, "invalid_grant", "user hasn't approved this consumer"),
        ({"sub": None}, "invalid_grant", "user hasn't approved this consumer"),
        ({"aud": "https://example.com"}, "invalid_grant", "audience is invalid"),
        ({"aud": None}, "invalid_grant", "audience is invalid"),
        ({"exp": int(time.time()) - 5}, "invalid_grant", "expired authorization code"),
        ({"exp": int(time.time()) + 3600}, "invalid_grant", "invalid assertion"),
        ({"exp": "soon"}, "invalid_grant", "invalid assertion"),
        ({"exp": "nan"}, "invalid_grant", "invalid assertion"),
        ({"exp": None}, "invalid_grant", "invalid assertion"),
    ],
)
def test_an_assertion_with_a_wrong_claim_is_refused_in_salesforces_words(
    service: SalesforceService,
    sign: Sign,
    post_token: PostToken,
    changes: dict[str, Any],
    error: str,
    description: str,
) -> None:
    """Each claim is checked, and the refusal is HTTP 400 with the error that administrators search for."""
    response = post_token(service, sign(service, **changes))

    assert response.status_code == 400
    assert response.json() == {"error": error, "error_description": description}


def test_an_assertion_may_name_this_service_as_its_audience(
    service: SalesforceService,
    sign: Sign,
    post_token: PostToken,
) -> None:
    """A My Domain login host is an audience as good as login.salesforce.com."""
    assert post_token(service, sign(service, aud=service.audience)).status_code == 200


def test_an_assertion_is_refused_for_the_token_url_as_its_audience(
    service: SalesforceService,
    sign: Sign,
    post_token: PostToken,
) -> None:
    """The audience is the login host, never the token URL that OAuth libraries take by default."""
    response = post_token(service, sign(service, aud=f"{service.url}/services/oauth2/token"))

    assert response.json()["error_description"] == "audience is invalid"


def test_an_assertion_signed_with_another_key_is_refused(
    service: SalesforceService,
    sign: Sign,
    post_token: PostToken,
) -> None:
    """Knowing the consumer key and the user is not enough."""
    stranger = RSAKey.generate_key(2048, auto_kid=False)

    response = post_token(service, sign(service, key=stranger))

    assert response.json() == {"error": "invalid_grant", "error_description": "invalid assertion"}


@pytest.mark.parametrize("assertion", ["", "not-a-jwt", "a.b.c", "eyJhbGciOiJub25lIn0.e30."])
def test_what_is_no_assertion_is_refused(service: SalesforceService, post_token: PostToken, assertion: str) -> None:
    """Junk and unsigned tokens get an answer, not a crash."""
    response = post_token(service, assertion)

    assert response.status_code == 400
    assert response.json()["error"] in {"invalid_grant", "invalid_client_id"}


def test_another_grant_type_is_refused(service: SalesforceService, sign: Sign, post_token: PostToken) -> None:
    """A flow that the service does not offer is named as such."""
    response = post_token(service, sign(service), grant_type="password")

    assert response.json() == {"error": "unsupported_grant_type", "error_description": "grant type not supported"}


def test_userinfo_tells_who_a_live_token_belongs_to(service: SalesforceService, token: str) -> None:
    """The user is the one that the assertion named."""
    response = userinfo(service, token)

    assert response.json()["preferred_username"] == service.username


def test_userinfo_answers_a_dead_token_with_403_and_plain_text(service: SalesforceService) -> None:
    """This endpoint has its own way to say no; a client that waits for a 401 never sees one."""
    response = userinfo(service, "00Dnobody")

    assert (response.status_code, response.text) == (403, "Bad_OAuth_Token")


def test_introspection_tells_when_a_token_ends(service: SalesforceService, token: str) -> None:
    """It is the only way to learn the session timeout that the token answer keeps quiet about."""
    answer = post(service, "introspect", token=token, **credentials(service)).json()

    assert answer["active"] is True
    assert answer["exp"] - answer["iat"] == 7200


def test_introspection_tells_nothing_to_a_client_that_does_not_prove_itself(
    service: SalesforceService, token: str
) -> None:
    """RFC 7662 §2.1: the endpoint demands the app's secret."""
    response = post(service, "introspect", token=token, client_id=service.consumer_key, client_secret="guess")

    assert response.json() == {"error": "invalid_client", "error_description": "invalid client credentials"}


def test_introspection_says_of_an_unknown_token_only_that_it_is_not_active(service: SalesforceService) -> None:
    """RFC 7662 §2.2: nothing else is disclosed."""
    answer = post(service, "introspect", token="00Dnobody", **credentials(service)).json()

    assert answer == {"active": False}


def test_a_revoked_token_is_dead_and_cannot_be_revoked_again(service: SalesforceService, token: str) -> None:
    """Revocation works at once and once."""
    first = post(service, "revoke", token=token)

    second = post(service, "revoke", token=token)

    assert (first.status_code, second.status_code) == (200, 400)
    assert second.json()["error"] == "invalid_token"
    assert userinfo(service, token).status_code == 403


def test_a_session_ends_after_the_configured_time(tmp_path: Path, sign: Sign, post_token: PostToken) -> None:
    """A token outlives nothing but its session, however short the org sets it."""
    with SalesforceService(tmp_path, session_seconds=0) as service:
        token = post_token(service, sign(service)).json()["access_token"]

        response = userinfo(service, token)

    assert response.status_code == 403


@pytest.mark.parametrize("canary", ["", "has space", "dash-ed", "x" * 33])
def test_a_canary_that_no_token_could_contain_is_refused(canary: str) -> None:
    """A token with other characters would no longer look like a Salesforce one."""
    with pytest.raises(ValueError, match="canary"):
        TokenMint(canary)
