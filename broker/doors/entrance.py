"""What every door for agents does first: who is this, and may it come in? And what becomes of those who may not."""

import datetime
import ipaddress
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from broker.documents import Documents
from broker.errors import AgentBarred, DevelopmentOnly, PeerUnknown, Refusal, Unauthenticated
from broker.identity import Identifier, Proof, WorkloadIdentity
from broker.pipeline import Transport

_FLUSH_SECONDS = 60.0
_FIRST_RECORDS = 200  # records at once in one interval; what comes above only counts
_SOURCES = 1000  # different (source, code) pairs counted in one interval; the rest share one count

Note = Callable[..., Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent this one message, verified, and how it came."""

    identity: WorkloadIdentity
    transport: Transport
    source: str


class Entrance:
    """Identifies callers and bars those whose agent may not call; keeps the refused on record without being flooded."""

    def __init__(
        self, documents: Documents, identifier: Identifier, refused: "RefusedAuthentications", *, development: bool
    ) -> None:
        self._documents = documents
        self._identifier = identifier
        self._refused = refused
        self._development = development

    async def admit(self, proof: Proof, transport: Transport, source: str) -> Caller:
        """Return the caller, or raise `Unauthenticated` or `AgentBarred` after having it counted."""
        identity = None
        try:
            identity = self._identifier.identify(proof)
            self._check_mode(identity, proof)
            self._documents.current.registry.active(identity, datetime.datetime.now(datetime.UTC))
        except (Unauthenticated, AgentBarred) as refusal:
            await self._refused.count(transport, source, refusal, identity)
            raise
        return Caller(identity, transport, source)

    def _check_mode(self, identity: WorkloadIdentity, proof: Proof) -> None:
        documents = self._documents.current
        domain = documents.trust_domains.get(identity.trust_domain)
        if domain is not None and domain.development and not self._development:
            raise DevelopmentOnly(
                f"Trust domain {domain.name} is for development; "
                "start the broker with 'aam serve --development' to let its agents in."
            )
        by_peer = identity.method == "unix-peer" and proof.peer is not None
        if by_peer and proof.peer.uid in documents.operators and not (domain and domain.development):  # type: ignore[union-attr]
            raise PeerUnknown(detail="an operator's process is no agent outside development mode")


class RefusedAuthentications:
    """Puts refused authentication on record: the first of each source and code at once, repeats as counts.

    However many come, at most a few hundred records are written a minute, and a store that fails stops nobody.
    """

    def __init__(self, note: Note, clock: Callable[[], float] = time.monotonic) -> None:
        self._note = note
        self._clock = clock
        self._since = clock()
        self._first = 0
        self._repeats: dict[tuple[str, str, str], int] = {}

    async def count(
        self, transport: str, source: str, refusal: Refusal, identity: WorkloadIdentity | None = None
    ) -> None:
        """Count one refusal; record it at once if it is the first of its kind."""
        key = (transport, _network_of(source), refusal.code)
        if key in self._repeats:
            self._repeats[key] += 1
        elif len(self._repeats) >= _SOURCES or self._first >= _FIRST_RECORDS:
            other = (transport, "others", refusal.code)
            self._repeats[other] = self._repeats.get(other, 0) + 1
        else:
            self._repeats[key] = 0
            self._first += 1
            await self._write(key, 1, identity.spiffe_id if identity else None, refusal.detail)
        if self._clock() - self._since >= _FLUSH_SECONDS:
            await self.flush()

    async def flush(self) -> None:
        """Record the counts of this interval and begin the next."""
        repeats, self._repeats = self._repeats, {}
        self._first, self._since = 0, self._clock()
        for key, count in repeats.items():
            if count:
                await self._write(key, count, None, None)

    async def _write(self, key: tuple[str, str, str], count: int, claimed: str | None, detail: str | None) -> None:
        transport, source, code = key
        origin = {"transport": transport, "source": source}
        facts: dict[str, Any] = {"origin": origin, "outcome": {"code": code, "count": count, "detail": _short(detail)}}
        if claimed:
            facts["identity"] = {"spiffe_id": claimed}
        try:
            await self._note("authentication_refused", **facts)
        except Refusal:
            self._repeats[key] = self._repeats.get(key, 0) + count  # nothing was done; it is counted for the next time


def _network_of(source: str) -> str:
    """Count an IPv6 source by its /64: whoever has one address there has all of them."""
    try:
        address = ipaddress.ip_address(source)
    except ValueError:
        return source[:100]
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((address, 64), strict=False))
    return source


def _short(detail: str | None) -> str | None:
    return None if detail is None else detail[:200].encode("utf-8", "replace").decode()
