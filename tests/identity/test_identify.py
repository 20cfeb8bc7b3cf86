from collections.abc import Callable
from typing import Any

import pytest

from broker.errors import PeerAmbiguous, PeerUnknown, ProofMalformed, ProofMissing, ProofUntrusted, Refusal
from broker.identity import Agent, Identifier, Peer, Proof, Registry, TrustDomain, TrustStore
from tests.support.low_issuer import AUDIENCE, DOMAIN, NOW, WORKLOAD, claims, key, token

PEER = Peer(42, 1000, 1000, frozenset({"unix:uid:1000", "unix:path:/usr/bin/agent"}))
MakeIdentifier = Callable[..., Identifier]


def agent(name: str, *selectors: str) -> Agent:
    """Register an agent that this machine's processes may be."""
    return Agent(
        name, f"spiffe://{DOMAIN}/agent/{name}", "ada", "finance", "prod", "eu-1", selectors=frozenset(selectors)
    )


@pytest.fixture
def identifier(store: TrustStore, domains: dict[str, TrustDomain]) -> MakeIdentifier:
    """Make an identifier for a registry."""

    def make(*agents: Agent, clock: Callable[[], float] = lambda: NOW) -> Identifier:
        return Identifier(AUDIENCE, store, lambda: Registry(agents), lambda: domains, clock)

    return make


def test_a_token_is_its_workload(identifier: MakeIdentifier) -> None:
    """Issue 2, Identity: JWT-SVID as bearer; whether the agent may call is the registry's to say, later."""
    assert identifier().identify(Proof(token=token())).spiffe_id == WORKLOAD


def test_a_process_is_the_one_agent_that_it_matches_with_lower_assurance(identifier: MakeIdentifier) -> None:
    """Issue 2, Identity: the socket peer for local agents, its lower assurance recorded."""
    identity = identifier(agent("analyst", "unix:uid:1000"), agent("other", "unix:uid:2")).identify(Proof(peer=PEER))

    assert (identity.spiffe_id, identity.trust_domain) == (f"spiffe://{DOMAIN}/agent/analyst", DOMAIN)
    assert (identity.method, identity.assurance, identity.proof) == ("unix-peer", "peer", "uid:1000,pid:42")


@pytest.mark.parametrize("wanted", ["second", f"spiffe://{DOMAIN}/agent/second"])
def test_a_process_that_could_be_several_agents_names_one(identifier: MakeIdentifier, wanted: str) -> None:
    """identity.md A9: on one shared user, the wish chooses among those that match, and no others."""
    made = identifier(agent("first", "unix:uid:1000"), agent("second", "unix:uid:1000"), agent("third", "unix:uid:3"))

    assert made.identify(Proof(peer=PEER, agent=wanted)).spiffe_id == f"spiffe://{DOMAIN}/agent/second"
    with pytest.raises(PeerAmbiguous):
        made.identify(Proof(peer=PEER))
    with pytest.raises(PeerUnknown):
        made.identify(Proof(peer=PEER, agent="third"))


@pytest.mark.parametrize("proof", [Proof(), Proof(agent="analyst")])
def test_without_a_proof_nobody_calls(identifier: MakeIdentifier, proof: Proof) -> None:
    """Issue 2, Identity: no anonymous agent; a name is no proof."""
    with pytest.raises(ProofMissing):
        identifier(agent("analyst", "unix:uid:1000")).identify(proof)


@pytest.mark.parametrize("selectors", [frozenset(), frozenset({"unix:uid:1"})])
def test_a_process_that_no_agent_describes_is_nobody(identifier: MakeIdentifier, selectors: frozenset[str]) -> None:
    """house-style.md: absent means less; an agent without selectors matches no process."""
    with pytest.raises(PeerUnknown):
        identifier(agent("analyst", "unix:uid:1000"), agent("open")).identify(Proof(peer=Peer(1, 1, 1, selectors)))


@pytest.mark.parametrize(
    ("bad", "refusal"),
    [
        ("", ProofMalformed),
        ("null", ProofMalformed),
        ("a.b.c", ProofMalformed),
        (lambda: token(signer=key("P-256", "stranger")), ProofUntrusted),
        (lambda: token(payload=claims(exp=None)), ProofMalformed),
    ],
)
def test_a_bad_token_is_never_replaced_by_the_process_that_brought_it(
    identifier: MakeIdentifier, bad: Any, refusal: type[Refusal]
) -> None:
    """lessons.md 1: a failed check that becomes another identity is CVE-2026-59822; alone, the process is let in."""
    made = identifier(agent("analyst", "unix:uid:1000"))
    assert made.identify(Proof(peer=PEER)).method == "unix-peer"

    with pytest.raises(refusal):
        made.identify(Proof(token=bad if isinstance(bad, str) else bad(), peer=PEER, agent="analyst"))


def test_the_registry_and_the_domains_are_read_anew_for_each_proof(
    store: TrustStore, domains: dict[str, TrustDomain]
) -> None:
    """Issue 2, Identity: checked on every request; a change of documents needs no new identifier."""
    agents: list[Agent] = []
    made = Identifier(AUDIENCE, store, lambda: Registry(agents), lambda: domains)
    with pytest.raises(PeerUnknown):
        made.identify(Proof(peer=PEER))

    agents.append(agent("analyst", "unix:uid:1000"))

    assert made.identify(Proof(peer=PEER)).method == "unix-peer"
