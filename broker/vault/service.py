"""The one place at which a connector's grants are good, and whose grants a call may use there."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from broker.egress import Client, Secret
from broker.oauth import KINDS, AuthorizationServer

Accounts = Literal["organisation", "person", "either"]


@dataclass(frozen=True, slots=True)
class Service:
    """Where a connector's tokens come from and where they go.

    `accounts` says whose grant a call uses: the organisation's, that of the person on whose behalf the agent acts, or
    the person's if there is one and else the organisation's. `client_svid` reads the broker's own JWT-SVID.
    """

    connector: str
    url: str
    client: Client
    token_endpoint: str
    audience: str
    revocation_endpoint: str | None = None
    authorization_endpoint: str | None = None
    issuer: str | None = None
    says_issuer: bool = False
    resource: str | None = None
    proof_audience: str | None = None
    identity_provider: str | None = None
    kinds: tuple[str, ...] = tuple(KINDS)
    accounts: Accounts = "organisation"
    scopes: tuple[str, ...] = ()
    key_header: str = "Authorization"
    key_prefix: str = ""
    client_svid: Callable[[], Secret] | None = None

    @property
    def server(self) -> AuthorizationServer:
        """The authorization server, as `oauth` takes it."""
        return AuthorizationServer(
            self.token_endpoint,
            self.audience,
            self.issuer,
            self.authorization_endpoint,
            self.revocation_endpoint,
            self.resource,
            self.identity_provider,
            self.says_issuer,
            self.proof_audience,
        )
