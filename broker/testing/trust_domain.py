"""A trust domain of one's own: signs JWT-SVIDs as SPIRE would, for development and tests."""

import json
import os
import time
import uuid
from pathlib import Path
from typing import Any, Self

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey


class DevelopmentTrustDomain:
    """Mints JWT-SVIDs of one trust domain with one key (ES256). Whoever can read the key is any of its workloads."""

    def __init__(self, name: str, key: ECKey) -> None:
        self.name = name
        self._key = key

    @classmethod
    def new(cls, name: str) -> Self:
        """Return a trust domain with a new key."""
        return cls(name, ECKey.generate_key("P-256", {"kid": uuid.uuid4().hex[:16]}))

    @classmethod
    def read(cls, name: str, key_file: Path) -> Self:
        """Take up a trust domain from its key file; raise `OSError` or `ValueError`."""
        try:
            key = ECKey.import_key(json.loads(key_file.read_text()))
        except (JoseError, ValueError, TypeError, AttributeError):  # their words may quote the key
            raise ValueError("not an EC key (JWK)") from None
        if not key.is_private:
            raise ValueError("a public key, which signs nothing")
        return cls(name, key)

    def write(self, key_file: Path) -> None:
        """Keep the key in a file that only its owner can read; a file that is there already stays."""
        key_file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            descriptor = os.open(key_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return
        with os.fdopen(descriptor, "w") as file:
            json.dump(self._key.as_dict(private=True), file)

    @property
    def key_id(self) -> str:
        """The key's id."""
        return str(self._key.kid)

    def bundle(self, sequence: int = 1, refresh_hint: int = 300) -> dict[str, Any]:
        """Return the trust bundle (SPIFFE_Trust_Domain_and_Bundle §4)."""
        return {
            "keys": [{**self._key.as_dict(private=False), "use": "jwt-svid"}],
            "spiffe_sequence": sequence,
            "spiffe_refresh_hint": refresh_hint,
        }

    def mint(self, workload: str, audience: str, *, seconds: float = 300, **claims: Any) -> str:
        """Return a JWT-SVID for a workload, good for so many seconds; `claims` replace or add claims, None removes."""
        now = int(time.time())
        payload = {"sub": workload, "aud": [audience], "iat": now, "exp": now + int(seconds), **claims}
        return self.sign({name: value for name, value in payload.items() if value is not None})

    def sign(self, payload: dict[str, Any], header: dict[str, Any] | None = None) -> str:
        """Return any payload signed with the domain's key, under any header: for what must be refused."""
        protected = {"alg": "ES256", "kid": self.key_id, "typ": "JWT"} if header is None else header
        return jws.serialize_compact(protected, json.dumps(payload), self._key, algorithms=["ES256"])
