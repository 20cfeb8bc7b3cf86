"""Who calls: proofs of identity in, a `WorkloadIdentity` out; and the registry that says whose agent it is.

Holding a `WorkloadIdentity` means that it was verified. Owner, team, environment and deployment come from the registry
only, never from a token or a client.
"""

from broker.identity.access_key import AccessKey, KeyRing, new_access_key
from broker.identity.bundle import TrustBundle, parse_bundle
from broker.identity.endpoint import Endpoint
from broker.identity.federated import FederatedVerifier, Issuers
from broker.identity.fetch import BundleServer, BundleUrl
from broker.identity.forwarded import Forwarded, parse_forwarded
from broker.identity.id_jag import Assertion, AssertionVerifier
from broker.identity.identify import Identifier, Proof
from broker.identity.issued import IssuedTokens
from broker.identity.issuer import Issuer, IssuerDocument
from broker.identity.issuer_keys import KeySetKeeper, KeySetUrl
from broker.identity.jwks import parse_key_set
from broker.identity.keeper import BundleKeeper
from broker.identity.peer import Peer, described, socket_peer
from broker.identity.registry import Agent, AgentDocument, Registry, TrustDomain, TrustDomainDocument
from broker.identity.store import TrustStore
from broker.identity.token_review import ReviewServer, TokenReviews
from broker.identity.workload import OnBehalfOf, SpiffeId, WorkloadIdentity
from broker.identity.workload_api import WorkloadApi

__all__ = [
    "AccessKey",
    "Agent",
    "AgentDocument",
    "Assertion",
    "AssertionVerifier",
    "BundleKeeper",
    "BundleServer",
    "BundleUrl",
    "Endpoint",
    "FederatedVerifier",
    "Forwarded",
    "Identifier",
    "IssuedTokens",
    "Issuer",
    "IssuerDocument",
    "Issuers",
    "KeyRing",
    "KeySetKeeper",
    "KeySetUrl",
    "OnBehalfOf",
    "Peer",
    "Proof",
    "Registry",
    "ReviewServer",
    "SpiffeId",
    "TokenReviews",
    "TrustBundle",
    "TrustDomain",
    "TrustDomainDocument",
    "TrustStore",
    "WorkloadApi",
    "WorkloadIdentity",
    "described",
    "new_access_key",
    "parse_bundle",
    "parse_forwarded",
    "parse_key_set",
    "socket_peer",
]
