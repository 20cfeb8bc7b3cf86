import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from broker.errors import IdentityAmbiguous, IdentityUnmapped, ProofMalformed
from broker.identity import OnBehalfOf
from broker.identity.issuer import AgentRule, subject_of
from tests.support.issuers import ISSUER, POD, issuer, login, rule

GITHUB = {
    "repository_id": "4711",
    "repository_owner_id": "42",
    "environment": "production",
    "sub": "repo:acme/app:environment:production",
    "run_attempt": 1,
    "private": True,
}
JOB = rule(claims={"repository_id": "4711", "environment": "production"})
SCALARS = st.one_of(st.text(max_size=5), st.integers(-3, 3), st.booleans())
CLAIMS = st.recursive(
    st.dictionaries(st.sampled_from("abc"), SCALARS, min_size=1, max_size=3),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner, min_size=1, max_size=3),
    max_leaves=6,
)


def test_a_token_with_every_claim_of_a_rule_stands_for_its_agent() -> None:
    """Issue 4, Other workloads: mapped to exactly one agent by an explicit rule of claim equalities."""
    other = rule("spiffe://prod.example.org/agent/other", claims={"repository_id": "1"})

    assert issuer(JOB, other).rule_for(GITHUB) is JOB


def test_members_of_an_object_are_compared_one_by_one() -> None:
    """identity.md A6: `kubernetes.io.{namespace, serviceaccount.{name,uid}, …}`."""
    one = rule(claims={"kubernetes.io": {"namespace": "agents", "serviceaccount": {"name": "analyst"}}})

    assert issuer(one).rule_for(POD) is one
    for path in (("namespace",), ("serviceaccount", "name")):
        changed: Any = copy.deepcopy(POD)
        place = changed["kubernetes.io"]
        for name in path[:-1]:
            place = place[name]
        place[path[-1]] = "other"
        with pytest.raises(IdentityUnmapped):
            issuer(one).rule_for(changed)


@pytest.mark.parametrize(
    "value", ["47110", "471", "4711 ", "4711\n", "*", "", 4711, True, None, ["4711"], {"4711": 1}, "\uff14711"]
)
def test_what_is_not_equal_is_not_meant(value: Any) -> None:
    """identity.md A6: never by prefix or substring; and a number is no text."""
    with pytest.raises(IdentityUnmapped):
        issuer(JOB).rule_for({**GITHUB, "repository_id": value})


def test_a_claim_that_is_not_there_is_equal_to_nothing() -> None:
    """architecture.md: absent means less; required claims that a rule names must exist."""
    for name in ("repository_id", "environment"):
        with pytest.raises(IdentityUnmapped) as refused:
            issuer(JOB).rule_for({claim: value for claim, value in GITHUB.items() if claim != name})

        assert str(refused.value.detail).endswith(f"the nearest differs in {name}")


def test_two_rules_that_fit_are_refused() -> None:
    """Issue 4: exactly one agent; which of two is nobody's guess."""
    other = rule("spiffe://prod.example.org/agent/other", claims={"repository_owner_id": "42"})

    with pytest.raises(IdentityAmbiguous):
        issuer(JOB, other).rule_for(GITHUB)


def test_an_issuer_without_rules_maps_nothing() -> None:
    """architecture.md: no rule never means all."""
    nobody = issuer(JOB)
    object.__setattr__(nobody, "rules", ())

    with pytest.raises(IdentityUnmapped):
        nobody.rule_for(GITHUB)


@given(wanted=CLAIMS, found=CLAIMS)
def test_a_rule_fits_only_claims_that_hold_all_of_it(wanted: dict[str, Any], found: dict[str, Any]) -> None:
    """A law: a rule fits exactly if the claims, narrowed to what the rule names, are the rule's own, type for type."""
    one = rule(claims=wanted)

    assert one.fits(found) == (_repr(_narrowed(found, wanted)) == _repr(wanted))
    assert one.fits(wanted)
    assert one.fits({**found, **wanted, "more": 1})


def _narrowed(found: Any, wanted: Any) -> Any:
    if not isinstance(found, dict) or not isinstance(wanted, dict):
        return found
    return {name: _narrowed(found[name], value) for name, value in wanted.items() if name in found}


def _repr(value: Any) -> str:
    return repr(sorted((name, _repr(one)) for name, one in value.items())) if isinstance(value, dict) else repr(value)


@pytest.mark.parametrize("name", ["azp", "client_id", "cid", "appid"])
def test_of_a_login_the_client_is_the_agent_and_the_subject_is_on_whose_behalf(name: str) -> None:
    """Issue 4, Other workloads: with a user's login the client selects the agent."""
    claims = login(**{"client_id": None, name: "desktop"})
    found = issuer()

    assert found.on_behalf_of(found.rule_for(claims), claims) == OnBehalfOf(ISSUER, "jane", "oidc-login")


@pytest.mark.parametrize(
    "changes",
    [
        {"client_id": "desktop2"},
        {"client_id": None},
        {"client_id": ["desktop"]},
        {"azp": "another"},  # two claims that do not agree
        {"sub": "desktop"},  # RFC 9068 §5: the client itself, and no person
        {"act": {"sub": "desktop"}},
    ],
)
def test_what_is_no_login_with_the_client_is_not_its_agent(changes: dict[str, Any]) -> None:
    """RFC 9068 §5: a client's own token must not pass for a person's, nor one that somebody else acts with."""
    with pytest.raises(IdentityUnmapped):
        issuer().rule_for(login(**changes))


def test_of_a_delegation_the_actor_is_the_agent_and_the_subject_is_on_whose_behalf() -> None:
    """Issue 4, On whose behalf: RFC 8693 §4.1 `act`; who acted before is for information only."""
    claims = login(act={"sub": "analyst-service", "act": {"sub": "another"}})
    found = issuer(rule(actor="analyst-service"))

    assert found.on_behalf_of(found.rule_for(claims), claims) == OnBehalfOf(ISSUER, "jane", "token-exchange")


@pytest.mark.parametrize(
    "act",
    [
        None,
        "analyst-service",
        ["analyst-service"],
        {},
        {"sub": "another", "act": {"sub": "analyst-service"}},
        {"sub": "analyst-service", "iss": "https://elsewhere.example.com"},
        {"sub": ["analyst-service"]},
    ],
)
def test_only_who_acts_now_is_the_actor(act: Any) -> None:
    """RFC 8693 §4.1: prior actors are not considered in access control; a name of another issuer's is another's."""
    with pytest.raises(IdentityUnmapped):
        issuer(rule(actor="analyst-service")).rule_for(login(act=act))


def test_a_token_that_somebody_acts_with_is_never_its_subjects_own() -> None:
    """A rule about the subject must not let in whoever the subject has delegated to."""
    one = rule(claims={"sub": "jane"})

    assert issuer(one).rule_for(login()) is one
    with pytest.raises(IdentityUnmapped):
        issuer(one).rule_for(login(act={"sub": "somebody"}))


@pytest.mark.parametrize(
    ("trusting", "claims", "email"),
    [
        (False, {"email": "jane@example.com", "email_verified": True}, "jane@example.com"),
        (False, {"email": "jane@example.com", "email_verified": "true"}, None),
        (False, {"email": "jane@example.com"}, None),
        (True, {"email": "jane@example.com"}, "jane@example.com"),
        (True, {"email": "jane@example.com\n"}, None),
        (True, {"email": ["jane@example.com"]}, None),
        (True, {"email": ""}, None),
    ],
)
def test_an_address_counts_only_if_somebody_has_verified_it(
    trusting: bool,  # noqa: FBT001 - a column of the table
    claims: dict[str, Any],
    email: str | None,
) -> None:
    """At some issuers people write what they like into `email`; a filter may rest on it."""
    found, whole = issuer(trust_emails=trusting), login(**claims)

    delegated = found.on_behalf_of(found.rule_for(whole), whole)

    assert delegated is not None
    assert delegated.email == email


@pytest.mark.parametrize("subject", [None, "", "jane\n", "j\u202eane", 7, ["jane"], "j" * 256])
def test_a_subject_that_cannot_be_put_on_record_whole_is_none(subject: Any) -> None:
    """OIDC Core §2: at most 255 characters; what is cut off would be another's name."""
    with pytest.raises(ProofMalformed):
        subject_of({"sub": subject})


@pytest.mark.parametrize(
    "written",
    [
        {},
        {"claims": {"iss": ISSUER, "aud": "x"}},
        {"claims": {"sub": None}},
        {"claims": {"sub": ["a"]}},
        {"claims": {"sub": {}}},
        {"claims": {"sub": 1.5}},
        {"claims": {"a": {"b": {"c": None}}}},
        {"claims": {"act": {"sub": "x"}}},
        {"client": "a", "actor": "b"},
        {"client": ""},
    ],
)
def test_a_rule_that_would_mean_anybody_is_no_rule(written: dict[str, Any]) -> None:
    """Fail closed: what can be compared with nothing, or is in everybody's tokens, names no agent."""
    with pytest.raises(ValidationError):
        AgentRule(agent="analyst", **written)
