"""The broker as an OAuth protected resource (RFC 9728): what it says of itself, and how it asks for a token."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from broker.errors import InsufficientScope, Unauthenticated
from broker.identity import Issuer, Issuers

METADATA_PATH = "/.well-known/oauth-protected-resource"  # RFC 9728 §3


class ProtectedResource:
    """Says which issuers' tokens open it, with which scopes, as the documents in force have it."""

    def __init__(self, audience: str, issuers: Callable[[], Issuers], own: str) -> None:
        self._audience = audience
        self._own = own
        self._issuers = issuers
        self._metadata_url = _metadata_url(audience)

    @property
    def paths(self) -> list[str]:
        """Where the metadata is served: for the whole host, for each transport, and for the audience's own path."""
        return sorted(
            {METADATA_PATH + path for path in ("", "/mcp", "/sse", urlsplit(self._audience).path.rstrip("/"))}
        )

    def metadata(self) -> Mapping[str, Any]:
        """Return the metadata document; only issuers at which a person can log in are authorization servers."""
        servers = self._servers()
        urls = sorted(issuer.issuer for issuer in servers)
        if any(issuer.id_jag for issuer in servers):
            urls.append(self._own)  # last: only clients that bring an identity assertion get anything there
        scopes = sorted({scope for issuer in servers for scope in issuer.scopes})
        return {
            "resource": self._audience,
            "bearer_methods_supported": ["header"],
            "resource_name": "Agent Access Manager",
            **({"authorization_servers": urls} if urls else {}),
            **({"scopes_supported": scopes} if scopes else {}),
        }

    def challenge(self, refusal: Unauthenticated) -> str:
        """Return the `WWW-Authenticate` header for a refusal. RFC 6750 §3.1: without a token, no error code."""
        parameters = {"resource_metadata": self._metadata_url} if self._metadata_url else {}
        scopes = refusal.facts["scopes"] if isinstance(refusal, InsufficientScope) else _common(self._servers())
        if scopes:
            parameters["scope"] = " ".join(scopes)
        if isinstance(refusal, InsufficientScope):
            parameters |= {"error": "insufficient_scope"}
        elif refusal.code != "proof_missing":
            parameters |= {"error": "invalid_token", "error_description": refusal.code}
        return " ".join(["Bearer", ", ".join(f'{name}="{value}"' for name, value in parameters.items())]).strip()

    def _servers(self) -> Sequence[Issuer]:
        return [issuer for issuer in self._issuers().values() if issuer.logs_people_in]


def _common(issuers: Iterable[Issuer]) -> list[str]:
    """Return the scopes that every issuer wants: one that an authorization server does not know would be an error."""
    wanted = [set(issuer.scopes) for issuer in issuers]
    return sorted(set.intersection(*wanted)) if wanted else []


def _metadata_url(audience: str) -> str | None:
    """RFC 9728 §3.1: the metadata's path goes between the host and the resource's own path."""
    parts = urlsplit(audience)
    if parts.scheme not in {"http", "https"} or not parts.netloc:
        return None  # an audience that is no URL is nowhere to look
    return f"{parts.scheme}://{parts.netloc}{METADATA_PATH}{parts.path.rstrip('/')}"
