"""Kubernetes TokenReview: the API server is asked about each token, so that one of a deleted pod is refused."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from broker.egress import Client, Dispatch, Secret
from broker.errors import ProofUntrusted, Refusal, UpstreamFailed
from broker.identity.federated import FederatedVerifier, Review
from broker.identity.issuer import Issuer

_PATH = "/apis/authentication.k8s.io/v1/tokenreviews"
_HEADERS = {"Content-Type": "application/json", "Accept": "application/json"}
_CREATED = (200, 201)
_AT_ONCE = 16  # reviews: whoever sends tokens that nobody has signed must not flood the API server


@dataclass(frozen=True, slots=True)
class ReviewServer:
    """The API server that vouches for one issuer's tokens, and the file with the broker's own token for it."""

    url: str
    token_file: Path
    client: Client


class TokenReviews:
    """Asks API servers about tokens before they are verified; what they say is remembered for a few seconds."""

    def __init__(
        self, verifier: FederatedVerifier, servers: Callable[[], Mapping[str, ReviewServer]], clock: Callable[[], float]
    ) -> None:
        self._verifier = verifier
        self._servers = servers
        self._clock = clock
        self._places = asyncio.Semaphore(_AT_ONCE)

    async def ask(self, token: str) -> None:
        """Have a token vouched for, if its issuer wants that; raise `Unauthenticated`."""
        issuer = self._verifier.issuer_of(token)
        if issuer is None or not self._verifier.to_review(token, issuer, self._clock()):
            return
        async with self._places:
            at = self._clock()
            username = await self._username(token, issuer)
        self._verifier.reviewed(token, Review(username, at, issuer))

    async def _username(self, token: str, issuer: Issuer) -> str:
        server = self._servers().get(issuer.issuer)
        if server is None:
            raise ProofUntrusted(detail=f"issuer {issuer.name} has no API server")
        try:
            own = Secret("Bearer " + (await asyncio.to_thread(server.token_file.read_text)).strip())
            status = await _reviewed(server, own, token, issuer.audience)
        except (OSError, UnicodeDecodeError):
            raise ProofUntrusted(detail=f"the broker's own token for issuer {issuer.name} cannot be read") from None
        except Refusal as refusal:
            why = refusal.detail or refusal.code
            raise ProofUntrusted(detail=f"the API server of issuer {issuer.name} cannot be asked: {why}") from None
        return _vouched_for(status, issuer)


async def _reviewed(server: ReviewServer, own: Secret, token: str, audience: str) -> Any:
    """Return the `status` of a TokenReview."""
    review = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenReview",
        "spec": {"token": token, "audiences": [audience]},
    }
    url, body = server.url.rstrip("/") + _PATH, msgspec.json.encode(review)
    response = await server.client.send("POST", url, _HEADERS, body, Dispatch(), own)
    if response.status not in _CREATED:
        raise UpstreamFailed(detail=f"HTTP {response.status}")
    answer = response.json()
    return answer.get("status") if isinstance(answer, dict) else None


def _vouched_for(status: Any, issuer: Issuer) -> str:
    """Return whose token it is. A server that knows no audiences says nothing of them, and vouches for any token."""
    status = status if isinstance(status, dict) else {}
    audiences, user = status.get("audiences"), status.get("user")
    if status.get("authenticated") is not True:
        raise ProofUntrusted(detail=f"the API server of issuer {issuer.name} does not know the token")
    if not isinstance(audiences, list) or issuer.audience not in audiences:
        raise ProofUntrusted(detail=f"the API server of issuer {issuer.name} has not checked the token's audience")
    username = user.get("username") if isinstance(user, dict) else None
    if not isinstance(username, str):
        raise ProofUntrusted(detail=f"the API server of issuer {issuer.name} does not say whose token it is")
    return username
