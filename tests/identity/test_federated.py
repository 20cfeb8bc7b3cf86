"""Tokens of other issuers. Every refusal stands beside a token that differs in one thing and is accepted."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from broker.errors import (
    AgentBarred,
    InsufficientScope,
    ProofExpired,
    ProofForAnotherAudience,
    ProofLivesTooLong,
    ProofMalformed,
    ProofNotYetValid,
    ProofUntrusted,
    Refusal,
)
from broker.identity import FederatedVerifier, Identifier, Proof, Registry, TrustStore, WorkloadIdentity, parse_key_set
from tests.support.issuers import ISSUER, issuer, key_set, login, rule, signed
from tests.support.low_issuer import AUDIENCE, NOW, WORKLOAD, entry, key, token

Verify = Callable[..., WorkloadIdentity]


class Federation:
    """One issuer, its keys, and what verifies its tokens."""

    def __init__(self) -> None:
        self.issuer = issuer()
        self.keys = TrustStore()
        self.keys.put(parse_key_set(ISSUER, key_set()))
        self.asked_for: list[str] = []
        self.verifier = FederatedVerifier(lambda: {ISSUER: self.issuer}, self.keys, self.asked_for.append)
        self.identifier = Identifier(
            AUDIENCE, TrustStore(), lambda: Registry([]), dict, lambda: self.now, federated=self.verifier
        )
        self.now = float(NOW)

    def verify(self, text: str) -> WorkloadIdentity:
        """Identify whoever sends a token."""
        return self.identifier.identify(Proof(token=text))

    def refusal_of(self, text: str) -> type[Refusal]:
        """Return how a token is refused, once its good counterpart has been accepted."""
        assert self.verify(signed()).spiffe_id == WORKLOAD
        with pytest.raises(Refusal) as refusal:
            self.verify(text)
        return refusal.type


@pytest.fixture
def federation() -> Federation:
    """Trust one issuer."""
    return Federation()


def test_a_token_is_its_agent_and_says_how_that_was_proved(federation: Federation) -> None:
    """Issue 4: every record carries how identity was proved: the method, who vouched, and for whom."""
    text = signed(login(jti="one"))

    identity = federation.verify(text)

    assert (identity.spiffe_id, identity.trust_domain) == (WORKLOAD, "prod.example.org")
    assert (identity.method, identity.assurance) == ("oidc", "federated")
    assert (identity.issuer, identity.subject, identity.key_id, identity.token_id) == (ISSUER, "jane", "P-256/1", "one")
    assert text.rpartition(".")[2] not in repr(identity)


@pytest.mark.parametrize("typ", ["JWT", "at+jwt", "AT+JWT", "application/at+jwt", None])
def test_access_tokens_and_workload_tokens_are_taken(federation: Federation, typ: str | None) -> None:
    """RFC 9068 §2.1; GitHub, GitLab and Kubernetes write JWT or nothing."""
    assert federation.verify(signed(typ=typ, x5t="thumb")).spiffe_id == WORKLOAD


@pytest.mark.parametrize(
    "typ", ["oauth-id-jag+jwt", "dpop+jwt", "logout+jwt", "secevent+jwt", "wit+jwt", "JOSE", "", "null", 1, ["JWT"]]
)
def test_a_token_that_was_signed_to_be_something_else_is_refused(federation: Federation, typ: Any) -> None:
    """RFC 8725 §3.11: explicit types keep an assertion or a logout notice from passing for an access token."""
    assert federation.refusal_of(signed(typ=typ)) is ProofMalformed


@pytest.mark.parametrize(
    "header",
    [
        {"jku": "https://evil.example/keys"},
        {"jwk": {"kty": "EC"}},
        {"x5u": "https://evil.example/cert"},
        {"x5c": ["MII"]},
        {"crit": ["exp"]},
        {"b64": False},
        {"alg": "none"},
        {"alg": "HS256"},
        {"alg": None},
    ],
)
def test_a_header_that_names_its_own_key_or_rules_is_refused(federation: Federation, header: dict[str, Any]) -> None:
    """The strict layer of SVIDs holds for everybody's tokens."""
    payload = login()
    text = token({"alg": "ES256", "kid": "P-256/1", **header}, payload, algorithm="ES256")

    assert federation.refusal_of(text) is ProofMalformed


@pytest.mark.parametrize("audience", [None, "", "https://other.example/mcp", AUDIENCE + "/", ["x"], {AUDIENCE: 1}])
def test_a_token_for_another_audience_is_refused(federation: Federation, audience: Any) -> None:
    """MCP authorization: a server takes only tokens that were issued for it; GitHub's default is somebody else's."""
    assert federation.refusal_of(signed(login(aud=audience))) is ProofForAnotherAudience


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"exp": NOW - 1}, ProofExpired),
        ({"exp": None}, ProofMalformed),
        ({"exp": "1"}, ProofMalformed),
        ({"nbf": NOW + 60}, ProofNotYetValid),
        ({"iat": NOW + 60}, ProofNotYetValid),
        ({"exp": NOW + 3700}, ProofLivesTooLong),
        ({"iat": NOW - 3600, "exp": NOW + 200}, ProofLivesTooLong),
        ({"sub": None}, ProofMalformed),
    ],
)
def test_times_are_checked_and_lifetimes_capped(
    federation: Federation, changes: dict[str, Any], kind: type[Refusal]
) -> None:
    """Issue 4, Identity: a bearer proof may repeat until it expires, and its lifetime is capped."""
    assert federation.refusal_of(signed(login(**changes))) is kind


def test_a_key_of_another_is_not_trusted_and_the_issuers_keys_are_fetched_anew(federation: Federation) -> None:
    """A key that is not known may be a new one; until it is fetched, nothing that it signed is believed."""
    assert federation.refusal_of(signed(signer=key("P-256", "2"))) is ProofUntrusted
    assert federation.refusal_of(signed(signer=key("P-256", "2"), kid="P-256/2")) is ProofUntrusted
    assert federation.asked_for == [ISSUER, ISSUER]

    federation.keys.put(parse_key_set(ISSUER, key_set("1", "2")))
    assert federation.verify(signed(signer=key("P-256", "2"), kid="P-256/2")).key_id == "P-256/2"


def test_a_key_without_a_name_is_used_if_it_is_the_only_one_that_fits(federation: Federation) -> None:
    """RFC 7517 §4.5: `kid` is optional."""
    nameless = entry("P-256", use=None, kid=None)
    federation.keys.put(parse_key_set(ISSUER, b'{"keys": [' + _json(nameless) + b"]}"))

    assert federation.verify(signed(kid=None)).key_id == "0"


@pytest.mark.parametrize(
    "changes",
    [{"use": "enc"}, {"use": "jwt-svid"}, {"key_ops": ["sign"]}, {"key_ops": "verify"}, {"kid": ""}, {"kid": 7}],
)
def test_keys_that_sign_no_tokens_are_left_out(changes: dict[str, Any]) -> None:
    """RFC 7517 §4.2 and §4.3."""
    assert not parse_key_set(ISSUER, b'{"keys": [' + _json(entry("P-256", **{"use": "sig", **changes})) + b"]}").keys


@pytest.mark.parametrize("text", [b"", b"[]", b'{"keys": {}}', b'{"keys": [], "keys": []}', b"[" * 50_000])
def test_what_is_no_key_set_is_an_error(text: bytes) -> None:
    """'No keys' must be said; an error page does not say it."""
    with pytest.raises(ValueError, match="not a key set"):
        parse_key_set(ISSUER, text)


def test_two_keys_of_one_name_are_an_error() -> None:
    """Readers would disagree about which one counts."""
    twice = b'{"keys": [' + _json(entry("P-256", use="sig")) + b"," + _json(entry("P-256", use="sig")) + b"]}"

    with pytest.raises(ValueError, match="two keys have one kid"):
        parse_key_set(ISSUER, twice)


def test_a_remembered_token_ends_with_its_time_its_key_its_rule_and_its_issuer(federation: Federation) -> None:
    """As for SVIDs: what is remembered is checked against what is in force, at each use."""
    text = signed()
    assert federation.verify(text) is federation.verify(text)

    federation.issuer = issuer(rule(client="another"))
    with pytest.raises(AgentBarred):
        federation.verify(text)
    federation.issuer = issuer()
    assert federation.verify(text).spiffe_id == WORKLOAD
    federation.now += 400
    with pytest.raises(ProofExpired):
        federation.verify(text)
    federation.now -= 400
    federation.keys.put(parse_key_set(ISSUER, key_set("2")))
    with pytest.raises(ProofUntrusted):
        federation.verify(text)


def test_keys_that_could_not_be_renewed_stop_being_trusted(federation: Federation) -> None:
    """Issue 4: kept fresh as trust bundles are; stale ones stop being trusted, also for what is remembered."""
    federation.keys.put(parse_key_set(ISSUER, key_set(), fetched_at=NOW), stale_after=NOW + 100)
    assert federation.verify(signed()).spiffe_id == WORKLOAD

    federation.now += 101

    with pytest.raises(ProofUntrusted):
        federation.verify(signed())


def test_a_token_of_an_issuer_that_is_not_configured_is_no_svid_either(federation: Federation) -> None:
    """A token is verified by whom it says it is of; nobody else is tried."""
    assert federation.refusal_of(signed(login(iss=ISSUER + "/"))) is ProofMalformed
    assert federation.refusal_of(signed(login(iss=None))) is ProofMalformed
    assert federation.refusal_of(signed(login(iss=[ISSUER]))) is ProofMalformed


def test_a_workloads_name_in_a_federated_token_is_only_a_subject(federation: Federation) -> None:
    """An issuer cannot mint SVIDs: its rules, and not `sub`, say who its tokens stand for."""
    other = "spiffe://prod.example.org/agent/admin"

    identity = federation.verify(signed(login(sub=other)))

    assert (identity.spiffe_id, identity.subject) == (WORKLOAD, other)


@pytest.mark.parametrize(
    ("changes", "accepted"),
    [
        ({"scope": "agent-access"}, True),
        ({"scope": None, "scp": ["agent-access"]}, True),
        ({"scope": "agent-accesses agent"}, False),
        ({"scope": None}, False),
        ({"scope": ["agent-access"]}, True),
        ({"scope": {"agent-access": 1}}, False),
    ],
)
def test_required_scopes_must_be_there(
    federation: Federation,
    changes: dict[str, Any],
    accepted: bool,  # noqa: FBT001 - a column of the table
) -> None:
    """MCP authorization: insufficient scope is its own refusal, which names all that are needed."""
    federation.issuer = issuer(scopes=("agent-access",))

    if accepted:
        assert federation.verify(signed(login(**changes))).spiffe_id == WORKLOAD
        return
    with pytest.raises(InsufficientScope) as refused:
        federation.verify(signed(login(**changes)))
    assert refused.value.facts["scopes"] == ("agent-access",)


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()
