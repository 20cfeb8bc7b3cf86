"""A person's browser, as far as the Salesforce-shaped service needs one: it says yes, and brings back the answer."""

import re
from urllib.parse import parse_qs, urlsplit

import requests

from broker.egress import Secret
from broker.oauth import AuthorizationCodeGrant, OAuthClient
from broker.testing.salesforce import SalesforceService

CALLBACK = "http://localhost:1717/OauthRedirect"


def allow(service: SalesforceService, url: str, username: str = "jane@example.com", decision: str = "allow") -> str:
    """Open the consent page, decide, and return the URL to which the browser is sent back."""
    verify = str(service.ca_file)
    page = requests.get(url, allow_redirects=False, verify=verify, timeout=60)
    assert page.status_code == 200, page.text
    hidden = dict(re.findall(r'name="(\w+)" value="([^"]*)">\n', page.text))
    where = f"{service.url}/services/oauth2/authorize"
    form = hidden | {"username": username, "decision": decision}
    answer = requests.post(where, form, allow_redirects=False, verify=verify, timeout=60)
    assert answer.status_code == 302, answer.text
    return str(answer.headers["location"])


def brought_back(url: str) -> dict[str, str]:
    """Return what a redirect carries."""
    return {name: value for name, (value,) in parse_qs(urlsplit(url).query).items()}


def app_of(service: SalesforceService) -> OAuthClient:
    """Return the registered client."""
    return OAuthClient(service.consumer_key, "client_secret_post", Secret(service.app.consumer_secret))


def consented(service: SalesforceService, username: str = "jane@example.com") -> AuthorizationCodeGrant:
    """Have somebody consent, by a client of the test's own; return the grant that comes of it."""
    query = {"response_type": "code", "client_id": service.consumer_key, "redirect_uri": CALLBACK}
    query |= {
        "scope": "api refresh_token",
        "state": "s",
        "code_challenge": "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU",
    }
    prepared = requests.Request("GET", f"{service.url}/services/oauth2/authorize", params=query).prepare()
    code = brought_back(allow(service, str(prepared.url), username))["code"]
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK, "code_verifier": ""}
    form |= {"client_id": service.consumer_key, "client_secret": service.app.consumer_secret}
    answer = requests.post(f"{service.url}/services/oauth2/token", form, verify=str(service.ca_file), timeout=60).json()
    return AuthorizationCodeGrant(app_of(service), Secret(answer["refresh_token"]))
