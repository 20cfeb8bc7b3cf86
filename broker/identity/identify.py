"""From what a caller presents to who it is: one entry for every door."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from broker.errors import PeerAmbiguous, PeerUnknown, ProofMalformed, ProofMissing
from broker.identity.access_key import PREFIX as KEY
from broker.identity.access_key import KeyRing
from broker.identity.certificate import CertificateVerifier, vouched_for
from broker.identity.federated import FederatedVerifier
from broker.identity.issued import PREFIX as ISSUED
from broker.identity.issued import IssuedTokens
from broker.identity.peer import Peer
from broker.identity.registry import Registry, TrustDomain
from broker.identity.store import TrustStore
from broker.identity.svid import SvidVerifier
from broker.identity.token_review import TokenReviews
from broker.identity.workload import SpiffeId, WorkloadIdentity


@dataclass(frozen=True, slots=True)
class Proof:
    """What a caller presents: a token, a certificate, or (on the agents' socket only) the process that it is.

    `agent` is a wish: where several agents share one local user, which of them this process is. `chain` is what was
    shown in a TLS handshake, ours or a trusted proxy's (DER, leaf first); `vouched` is the SPIFFE ID that such a proxy
    saw there, where its word is to be taken for it.
    """

    token: str | None = None
    peer: Peer | None = None
    agent: str | None = None
    chain: tuple[bytes, ...] = ()
    vouched: str | None = None


class Identifier:
    """Verifies proofs against the trust domains and registry in force, which it reads anew each time."""

    def __init__(
        self,
        audience: str,
        store: TrustStore,
        registry: Callable[[], Registry],
        domains: Callable[[], Mapping[str, TrustDomain]],
        clock: Callable[[], float] = time.time,
        *,
        federated: FederatedVerifier | None = None,
        reviews: TokenReviews | None = None,
        keys: KeyRing | None = None,
        issued: IssuedTokens | None = None,
    ) -> None:
        self._store = store
        self._svids = SvidVerifier(audience, store)
        self._certificates = CertificateVerifier(store)
        self._registry = registry
        self._domains = domains
        self._clock = clock
        self._federated = federated
        self._reviews = reviews
        self._keys = keys or KeyRing()
        self._issued = issued or IssuedTokens()

    async def consult(self, proof: Proof) -> None:
        """Ask whoever must be asked about a proof before it is identified; raise `Unauthenticated`."""
        if self._reviews is not None and proof.token is not None:
            await self._reviews.ask(proof.token)

    def identify(self, proof: Proof) -> WorkloadIdentity:
        """Return who calls, or raise `Unauthenticated`. A token that fails is never replaced by a weaker proof."""
        if proof.chain or proof.vouched is not None:
            return self._agreeing(proof, self._identify_tls(proof))
        if proof.token is not None:
            return self._identify_token(proof.token)
        if proof.peer is not None:
            return self._identify_peer(proof.peer, proof.agent)
        raise ProofMissing

    def _identify_token(self, token: str) -> WorkloadIdentity:
        """Have a token verified by whom it says it is of: nobody else is asked if that fails."""
        now = self._clock()
        if token.startswith(KEY):
            return self._keys.verify(token, now)
        if token.startswith(ISSUED):
            return self._issued.verify(token, now)
        issuer = self._federated.issuer_of(token) if self._federated is not None else None
        if self._federated is not None and issuer is not None:
            return self._federated.verify(token, issuer, now)
        return self._svids.verify(token, self._domains(), now)

    def _identify_tls(self, proof: Proof) -> WorkloadIdentity:
        if proof.chain:
            return self._certificates.verify(proof.chain, self._domains(), self._clock())
        return vouched_for(str(proof.vouched), self._store, self._domains(), self._clock())

    def _agreeing(self, proof: Proof, workload: WorkloadIdentity) -> WorkloadIdentity:
        """Return who calls with a certificate and perhaps a token too; both must name the same workload."""
        if proof.token is None:
            return workload
        bearer = self._identify_token(proof.token)
        if bearer.spiffe_id != workload.spiffe_id:
            raise ProofMalformed("The certificate and the token name two workloads; present one, or two of the same.")
        return bearer

    def _identify_peer(self, peer: Peer, wanted: str | None) -> WorkloadIdentity:
        matching = self._registry().matching(peer.selectors)
        if wanted is not None:
            matching = [agent for agent in matching if wanted in {agent.name, agent.workload}]
        if not matching:
            raise PeerUnknown(detail=f"pid {peer.pid}, uid {peer.uid}")
        if len(matching) > 1:
            raise PeerAmbiguous(detail=f"{len(matching)} agents match uid {peer.uid}")
        agent = matching[0]
        return WorkloadIdentity(
            spiffe_id=agent.workload,
            trust_domain=SpiffeId.parse(agent.workload).trust_domain,
            method="unix-peer",
            assurance="peer",
            proof=f"uid:{peer.uid},pid:{peer.pid}",
        )
