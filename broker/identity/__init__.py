"""Who calls: proofs of identity in, a `WorkloadIdentity` out; and the registry that says whose agent it is.

Holding a `WorkloadIdentity` means that it was verified. Owner, team, environment and deployment come from the registry
only, never from a token or a client.
"""

from broker.identity.bundle import TrustBundle, TrustStore, parse_bundle
from broker.identity.fetch import BundleKeeper, BundleUrl
from broker.identity.identify import Identifier, Proof
from broker.identity.peer import Peer, described, socket_peer
from broker.identity.registry import Agent, AgentDocument, Registry, TrustDomain, TrustDomainDocument
from broker.identity.workload import OnBehalfOf, SpiffeId, WorkloadIdentity

__all__ = [
    "Agent",
    "AgentDocument",
    "BundleKeeper",
    "BundleUrl",
    "Identifier",
    "OnBehalfOf",
    "Peer",
    "Proof",
    "Registry",
    "SpiffeId",
    "TrustBundle",
    "TrustDomain",
    "TrustDomainDocument",
    "TrustStore",
    "WorkloadIdentity",
    "described",
    "parse_bundle",
    "socket_peer",
]
