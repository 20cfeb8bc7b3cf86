"""Who calls: proofs of identity in, a `WorkloadIdentity` out; and the registry that says whose agent it is.

Holding a `WorkloadIdentity` means that it was verified. Owner, team, environment and deployment come from the registry
only, never from a token or a client.
"""

from broker.identity.bundle import TrustBundle, parse_bundle
from broker.identity.endpoint import Endpoint
from broker.identity.fetch import BundleServer, BundleUrl
from broker.identity.forwarded import Forwarded, parse_forwarded
from broker.identity.identify import Identifier, Proof
from broker.identity.keeper import BundleKeeper
from broker.identity.peer import Peer, described, socket_peer
from broker.identity.registry import Agent, AgentDocument, Registry, TrustDomain, TrustDomainDocument
from broker.identity.store import TrustStore
from broker.identity.workload import OnBehalfOf, SpiffeId, WorkloadIdentity
from broker.identity.workload_api import WorkloadApi

__all__ = [
    "Agent",
    "AgentDocument",
    "BundleKeeper",
    "BundleServer",
    "BundleUrl",
    "Endpoint",
    "Forwarded",
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
    "WorkloadApi",
    "WorkloadIdentity",
    "described",
    "parse_bundle",
    "parse_forwarded",
    "socket_peer",
]
