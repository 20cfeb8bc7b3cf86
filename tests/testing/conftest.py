"""One Salesforce-shaped service for the reading tests, a fresh one for each test that writes, and clients for them."""

import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import requests
from joserfc import jwt
from joserfc.jwk import RSAKey
from simple_salesforce.api import Salesforce

from broker.testing.salesforce import SalesforceService

GRANT_TYPE = "urn:ietf:params:oauth:grant-type:jwt-bearer"

Claims = dict[str, Any]
Sign = Callable[..., str]
PostToken = Callable[..., requests.Response]
Connect = Callable[[SalesforceService], Any]  # simple-salesforce's own types do not allow its own calls


@pytest.fixture(scope="session")
def shared_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SalesforceService]:
    """Serve small pages, so that few records make several."""
    with SalesforceService(tmp_path_factory.mktemp("salesforce"), page_size=60) as service:
        yield service


@pytest.fixture
def service(shared_service: SalesforceService) -> Iterator[SalesforceService]:
    """Lend the shared service; what faults are left over, are taken back."""
    yield shared_service
    shared_service.faults.clear()


@pytest.fixture
def own_service(tmp_path: Path) -> Iterator[SalesforceService]:
    """Serve an org that the test may change and sessions that it may end."""
    with SalesforceService(tmp_path) as service:
        yield service


@pytest.fixture(scope="session")
def sign() -> Sign:
    """Sign an assertion as the registered app would; a claim given as None is left out."""
    imported = cache(RSAKey.import_key)  # importing a private key checks it, which takes its time

    def sign(service: SalesforceService, *, key: RSAKey | None = None, **changes: Any) -> str:
        claims = {
            "iss": service.consumer_key,
            "sub": service.username,
            "aud": "https://login.salesforce.com",
            "exp": str(int(time.time()) + 180),  # a text, as simple-salesforce writes it
        } | changes
        present = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode({"alg": "RS256"}, present, key or imported(service.private_key_file.read_bytes()))

    return sign


@pytest.fixture(scope="session")
def post_token() -> PostToken:
    """Post a form to the token endpoint."""

    def post_token(service: SalesforceService, assertion: str, grant_type: str = GRANT_TYPE) -> requests.Response:
        return requests.post(
            f"{service.url}/services/oauth2/token",
            data={"grant_type": grant_type, "assertion": assertion},
            verify=str(service.ca_file),
            timeout=60,
        )

    return post_token


@pytest.fixture
def connect(sign: Sign, post_token: PostToken) -> Iterator[Connect]:
    """Give an unmodified simple-salesforce a fresh token. Its own JWT login knows salesforce.com only."""
    sessions: list[requests.Session] = []

    def connect(service: SalesforceService) -> Any:
        answer = post_token(service, sign(service)).json()
        session = requests.Session()
        sessions.append(session)
        session.verify = str(service.ca_file)
        session.trust_env = False
        return Salesforce(instance_url=answer["instance_url"], session_id=answer["access_token"], session=session)

    yield connect
    for session in sessions:
        session.close()


@pytest.fixture
def salesforce(service: SalesforceService, connect: Connect) -> Any:
    """Connect simple-salesforce to the shared service."""
    return connect(service)
