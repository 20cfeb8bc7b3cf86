"""Access keys: secrets that stand for one agent, for clients that can do nothing better. The ring holds their hashes.

aamk_k3w7x2mq5tna_V8h1…43 characters…Qz      the part before the last '_' identifies the key and is no secret
"""

import hashlib
import hmac
import re
import secrets
import string
from collections.abc import Iterable
from dataclasses import dataclass, replace

from broker.errors import ProofExpired, ProofMalformed, ProofRevoked, ProofUntrusted
from broker.identity.workload import SpiffeId, WorkloadIdentity

PREFIX = "aamk_"
_KEY = re.compile(r"(aamk_[a-z2-7]{12})_([A-Za-z0-9]{43})")
_IDENTIFYING, _SECRET = "abcdefghijklmnopqrstuvwxyz234567", string.ascii_letters + string.digits
_NO_HASH = "0" * 64


@dataclass(frozen=True, slots=True)
class AccessKey:
    """What is kept of a key: which agent it stands for, and a hash that 256 random bits make safe without salt."""

    id: str
    """The key's own beginning, by which a leaked one is recognised."""
    workload: str
    hash: str
    expires_at: float
    revoked: bool = False


def new_access_key(workload: str, expires_at: float) -> tuple[str, AccessKey]:
    """Return the text of a new key, which is shown once, and what is kept of it."""
    identifying = "".join(secrets.choice(_IDENTIFYING) for _ in range(12))
    text = f"{PREFIX}{identifying}_{''.join(secrets.choice(_SECRET) for _ in range(43))}"
    return text, AccessKey(PREFIX + identifying, workload, _hash(text), expires_at)


class KeyRing:
    """The access keys that there are, by id."""

    def __init__(self) -> None:
        self._keys: dict[str, AccessKey] = {}

    def put(self, keys: Iterable[AccessKey]) -> None:
        """Add keys."""
        self._keys |= {key.id: key for key in keys}

    def revoke(self, key_id: str) -> None:
        """Take a key out of force."""
        self._keys[key_id] = replace(self._keys[key_id], revoked=True)

    def verify(self, text: str, now: float) -> WorkloadIdentity:
        """Return the agent that a key stands for; raise `Unauthenticated`. Compares in constant time."""
        parts = _KEY.fullmatch(text)
        if parts is None:
            raise ProofMalformed(detail="an access key that is cut off or has other characters")
        key = self._keys.get(parts[1])
        if not hmac.compare_digest(_hash(text), key.hash if key else _NO_HASH) or key is None:
            raise ProofUntrusted(detail=f"no access key {parts[1]} with that secret")
        if key.revoked:
            raise ProofRevoked(detail=f"access key {key.id}")
        if key.expires_at <= now:
            raise ProofExpired("The access key has expired; ask an administrator for a new one.", detail=key.id)
        return WorkloadIdentity(
            spiffe_id=key.workload,
            trust_domain=SpiffeId.parse(key.workload).trust_domain,
            method="access-key",
            assurance="key",
            proof=f"key:{key.id}",
            key_id=key.id,
            expires_at=key.expires_at,
        )


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
