"""Clients that trust one test authority, and may reach what is served on loopback by name only."""

from collections.abc import AsyncIterator, Callable
from ipaddress import ip_network
from typing import Any

import pytest

from broker.egress import Client, Egress, Limits, Reach, Secret
from broker.testing.certificates import CertificateAuthority
from tests.support.low_tls import anyio_backend, authority, certificate
from tests.support.low_upstream import Upstream

__all__ = ["anyio_backend", "authority", "certificate"]  # fixtures

LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))

MakeClient = Callable[..., Client]


@pytest.fixture
async def make_client(authority: CertificateAuthority) -> AsyncIterator[MakeClient]:
    """Make clients for a test service, and close them; with patience for two seconds unless it says otherwise."""
    egress = Egress()
    trust = authority.certificate_file.read_text()

    def make(upstream: Upstream, *hosts: str, **limits: Any) -> Client:
        reach = Reach(frozenset({upstream.host, *hosts}), LOOPBACK)
        return egress.client(reach, Limits(**{"connect_seconds": 2.0, "total_seconds": 2.0, **limits}), trust)

    yield make
    await egress.close()


class Credential:
    """An `Authorization` with tokens in a row: each renewal takes the next, unless somebody else has taken it."""

    def __init__(self, *tokens: str) -> None:
        self._tokens = [Secret(f"Bearer {token}") for token in tokens]
        self.renewals = 0

    async def header(self) -> Secret:
        """Return the header that is current."""
        return self._tokens[0]

    async def renew(self, spent: Secret) -> None:
        """Go on to the next token."""
        if spent == self._tokens[0]:
            self.renewals += 1
            if len(self._tokens) > 1:
                del self._tokens[0]


@pytest.fixture
def credential() -> Callable[..., Credential]:
    """Make credentials."""
    return Credential
