"""A workload's name, and the proof that it called."""

import json
import re
from dataclasses import dataclass
from typing import Literal, Self

_SPIFFE_ID = re.compile(r"spiffe://([a-z0-9._-]{1,255})((?:/[a-zA-Z0-9._-]+)+)")
_LONGEST = 2048  # SPIFFE-ID §2.3: bytes that every implementation must support, and more than which none should make

Method = Literal["jwt-svid", "x509-svid", "unix-peer", "oidc", "token-review", "id-jag", "access-key"]
Assurance = Literal["attested", "proxied", "federated", "peer", "key", "development"]


@dataclass(frozen=True, slots=True)
class SpiffeId:
    """`spiffe://<trust domain>/<path>`, as SPIFFE-ID §2 writes it; a workload always has a path."""

    trust_domain: str
    path: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the parsed ID; raise `ValueError` for anything that the standard does not allow."""
        found = _SPIFFE_ID.fullmatch(text)  # fullmatch: '$' would let a trailing newline through
        if found is None or len(text) > _LONGEST or {".", ".."} & set(found[2].split("/")):
            raise ValueError("not a SPIFFE ID of a workload: spiffe://trust-domain/path")
        return cls(found[1], found[2])

    def __str__(self) -> str:
        return f"spiffe://{self.trust_domain}{self.path}"


@dataclass(frozen=True, slots=True)
class OnBehalfOf:
    """The person or workload that delegated, as a verified token says it; never taken from an argument.

    From a user's login, a token exchange (RFC 8693 §4.1 `act`) or an ID-JAG. `issuer` and `subject` together are who.
    """

    issuer: str
    subject: str
    method: Literal["oidc-login", "token-exchange", "id-jag"]
    email: str | None = None


@dataclass(frozen=True, slots=True)
class WorkloadIdentity:
    """A verified proof of which workload calls, and how it was proved.

    `assurance` is `attested` for an SVID, `proxied` for one that only a proxy has seen, `federated` for a token of
    another issuer, `peer` for "some process of this local user", `key` for whoever has a copy of an access key, and
    `development` for an SVID of a trust domain whose keys lie about on a developer's disk.
    """

    spiffe_id: str
    trust_domain: str
    method: Method
    assurance: Assurance
    proof: str
    """What tells this proof from others in the trail: a digest of the token, or the peer's user and process."""
    key_id: str | None = None
    token_id: str | None = None
    expires_at: float | None = None
    on_behalf_of: OnBehalfOf | None = None
    issuer: str | None = None
    """Who vouched, where that was no trust domain; and `subject`, whom for, by the issuer's own name."""
    subject: str | None = None

    @property
    def principal(self) -> str:
        """What a session belongs to: the workload, and on whose behalf it acts. Equal only if both are."""
        if self.on_behalf_of is None:
            return self.spiffe_id
        delegated = json.dumps([self.on_behalf_of.issuer, self.on_behalf_of.subject])
        return f"{self.spiffe_id} {delegated}"  # no SPIFFE ID has a space
