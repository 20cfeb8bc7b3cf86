"""Access tokens that the broker itself has issued for a delegation: opaque, short-lived, in memory only."""

import hashlib
import secrets
from collections import OrderedDict
from dataclasses import replace

from broker.errors import ProofExpired, ProofUntrusted
from broker.identity.workload import WorkloadIdentity

PREFIX = "aamt_"
_MOST = 20_000


class IssuedTokens:
    """The tokens that live, by their hashes; after a restart there are none, and clients ask for new ones."""

    def __init__(self) -> None:
        self._live: OrderedDict[bytes, WorkloadIdentity] = OrderedDict()

    def issue(self, identity: WorkloadIdentity) -> str:
        """Return a token for an identity, good until that expires."""
        text = PREFIX + secrets.token_urlsafe(32)
        digest = _digest(text)
        self._live[digest] = replace(identity, proof=f"sha256:{digest.hex()}")
        if len(self._live) > _MOST:
            self._live.popitem(last=False)
        return text

    def verify(self, text: str, now: float) -> WorkloadIdentity:
        """Return whom a token was issued for; raise `Unauthenticated`."""
        identity = self._live.get(_digest(text))
        if identity is None:
            raise ProofUntrusted(detail="an access token that this broker has not issued, or not since it started")
        if identity.expires_at is None or identity.expires_at <= now:
            raise ProofExpired
        return identity


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "replace")).digest()
