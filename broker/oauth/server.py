"""An authorization server, as a connector's document describes it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AuthorizationServer:
    """Where tokens come from (RFC 8414 §2 names), and what is said there.

    `audience` is the `aud` of JWT bearer assertions. `identity_provider` is the token endpoint at which an identity is
    exchanged for an ID-JAG, and `resource` what tokens are for (RFC 8707).
    """

    token_endpoint: str
    audience: str
    issuer: str | None = None
    authorization_endpoint: str | None = None
    revocation_endpoint: str | None = None
    resource: str | None = None
    identity_provider: str | None = None
    says_issuer: bool = False
    """Whether every answer to a browser has an `iss` (RFC 9207 §3), so that one without is not this server's."""

    proof_audience: str | None = None
    """The `aud` of what a client signs to authenticate, where it is neither the issuer nor the token endpoint."""

    @property
    def client_audience(self) -> str:
        """The `aud` of what a client signs to authenticate: the issuer where it is known (RFC 7523bis §4)."""
        return self.proof_audience or self.issuer or self.token_endpoint
