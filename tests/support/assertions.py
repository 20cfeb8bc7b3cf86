"""Clients of the broker's token endpoint: an identity assertion of the test issuer, and a JWT-SVID beside it."""

import time
import uuid
from typing import Any

import requests

from tests.support.broker import ServedBroker
from tests.support.documents import ANALYST, AUDIENCE
from tests.support.issuers import login, signed

SERVER = "http://127.0.0.1:8470"


def id_jag(**changes: Any) -> str:
    """Return an ID-JAG by which jane lets the desktop client use the broker; some claims may be other ones."""
    now = int(time.time())
    own = {"aud": SERVER, "jti": uuid.uuid4().hex, "resource": AUDIENCE, "iat": now, "exp": now + 300}
    return signed(login(**{**own, **changes}), typ="oauth-id-jag+jwt")


def ask(broker: ServedBroker, assertion: str, client: str | None = None, /, **fields: str | None) -> requests.Response:
    """Ask for a token, as the analyst unless another client assertion is given; a field given as None is left out."""
    form = {
        "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
        "assertion": assertion,
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe",
        "client_assertion": client or broker.written.prod.mint(ANALYST, SERVER),
        **fields,
    }
    sent = {name: value for name, value in form.items() if value is not None}
    return requests.post(f"{broker.url}/oauth2/token", data=sent, timeout=60)
