"""What every door for agents does first: who is this, and may it come in? And what becomes of those who may not."""

import asyncio
import ipaddress
from collections import Counter
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from broker.control import KillSwitch
from broker.documents import Documents
from broker.errors import (
    AgentBarred,
    DevelopmentOnly,
    PeerUnknown,
    ProofUntrusted,
    Refusal,
    SessionOfAnother,
    Unauthenticated,
)
from broker.identity import Identifier, Proof, WorkloadIdentity
from broker.pipeline import Transport

_INTERVAL_SECONDS = 60.0
_FIRST_RECORDS = 60  # kinds recorded at once, and counted by themselves, in one interval; the others share counts

Note = Callable[..., Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent this one message, verified, and how it came."""

    identity: WorkloadIdentity
    transport: Transport
    source: str


CALLING: ContextVar[Caller | None] = ContextVar("calling", default=None)
"""Who sent the HTTP request that is being served, for what the SDK asks before it has a context of its own."""


class Entrance:
    """Identifies callers and bars those whose agent may not call; keeps the refused on record without being flooded."""

    def __init__(
        self,
        documents: Documents,
        switch: KillSwitch,
        identifier: Identifier,
        refused: "RefusedAuthentications",
        *,
        development: bool,
    ) -> None:
        self._documents = documents
        self._switch = switch
        self._identifier = identifier
        self._refused = refused
        self._development = development

    async def admit(
        self,
        proof: Proof,
        transport: Transport,
        source: str,
        owner: str | None = None,
        *,
        identifier: Identifier | None = None,
    ) -> Caller:
        """Return the caller, or raise `Unauthenticated` or `AgentBarred` after having it counted.

        `owner` is the principal that the connection belongs to, once it belongs to one. `identifier` stands in for the
        entrance's own where a proof is for another audience.
        """
        identity = None
        try:
            identifying = identifier or self._identifier
            await identifying.consult(proof)
            identity = identifying.identify(proof)
            if owner is not None and owner != identity.principal:
                raise SessionOfAnother
            self._check_mode(identity, proof)
            self._switch.active(identity)
        except (Unauthenticated, AgentBarred) as refusal:
            await self._refused.count(transport, source, refusal, identity)
            raise
        return Caller(identity, transport, source)

    async def turn_away(self, refusal: Refusal, transport: Transport, source: str) -> None:
        """Count somebody who is refused before anybody looks at a proof."""
        await self._refused.count(transport, source, refusal)

    def wants_digests(self) -> bool:
        """Tell whether any registered agent is known by the digest of its executable, which costs a reading of it."""
        agents = self._documents.current.registry.agents.values()
        return any(selector.startswith("unix:sha256:") for agent in agents for selector in agent.selectors)

    def _check_mode(self, identity: WorkloadIdentity, proof: Proof) -> None:
        documents = self._documents.current
        domain = documents.trust_domains.get(identity.trust_domain)
        if domain is None:
            raise ProofUntrusted(detail=f"trust domain {identity.trust_domain} is not configured")
        if domain.development and not self._development:
            raise DevelopmentOnly(
                f"Trust domain {domain.name} is for development; "
                "start the broker with 'aam serve --development' to let its agents in."
            )
        peer = proof.peer if identity.method == "unix-peer" else None
        if peer is not None and peer.uid in documents.operators and not domain.development:
            raise PeerUnknown(detail="an operator's process is no agent outside development mode")


@dataclass(frozen=True, slots=True)
class Kind:
    """What refusals have in common that are counted as one; `workload` where it was proved."""

    transport: str
    source: str
    code: str
    workload: str | None = None


class RefusedAuthentications:
    """Puts refused authentication on record: the first of each source and code at once, repeats as counts.

    However many come, at most some hundred records are written a minute, and a store that fails stops nobody.
    """

    def __init__(self, note: Note) -> None:
        self._note = note
        self._first = 0
        self._repeats: dict[Kind, int] = {}
        self.totals: Counter[tuple[str, str]] = Counter()
        """How many were refused since the start, by transport and code."""

    async def count(
        self, transport: str, source: str, refusal: Refusal, identity: WorkloadIdentity | None = None
    ) -> None:
        """Count one refusal; record it at once if it is the first of its kind."""
        self.totals[transport, refusal.code] += 1
        kind = Kind(transport, _network_of(source), refusal.code, identity.spiffe_id if identity else None)
        if kind not in self._repeats and self._first < _FIRST_RECORDS:
            self._repeats[kind] = 0
            self._first += 1
            await self._write(kind, 1, refusal.detail)
            return
        if kind not in self._repeats:
            kind = Kind(transport, "others", refusal.code)
        self._repeats[kind] = self._repeats.get(kind, 0) + 1

    async def keep_flushing(self) -> None:
        """Record the counts of each interval, for ever."""
        while True:
            await asyncio.sleep(_INTERVAL_SECONDS)
            await self.flush()

    async def flush(self) -> None:
        """Record the counts of this interval and begin the next."""
        repeats, self._repeats, self._first = self._repeats, {}, 0
        for kind, count in repeats.items():
            if count:
                await self._write(kind, count, None)

    async def _write(self, kind: Kind, count: int, detail: str | None) -> None:
        origin = {"transport": kind.transport, "source": kind.source}
        outcome = {"code": kind.code, "count": count, "detail": _short(detail)}
        facts: dict[str, Any] = {"origin": origin, "outcome": outcome}
        if kind.workload is not None:
            facts["identity"] = {"spiffe_id": kind.workload}
        try:
            await self._note("authentication_refused", **facts)
        except Refusal:
            self._repeats[kind] = self._repeats.get(kind, 0) + count  # nothing was done; it counts for the next time


def _network_of(source: str) -> str:
    """Count an IPv6 source by its /64 and this machine as one: whoever has one address there has all of them."""
    try:
        address = ipaddress.ip_address(source.partition("%")[0])
    except ValueError:
        return source[:100]
    if isinstance(address, ipaddress.IPv6Address):
        address = address.ipv4_mapped or address
    if address.is_loopback:
        return "loopback"
    return str(address) if address.version == 4 else str(ipaddress.ip_network((address, 64), strict=False))  # noqa: PLR2004


def _short(detail: str | None) -> str | None:
    return None if detail is None else detail[:200].encode("utf-8", "replace").decode()
