"""Trust bundles, by the public catalogue (JB-1 to JB-8), SPIFFE_Trust_Domain_and_Bundle §4 and identity.md A3."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import ProofExpired, ProofUntrusted
from broker.identity import TrustDomain, TrustStore, WorkloadIdentity, parse_bundle
from broker.identity.svid import SvidVerifier
from tests.support.low_issuer import AUDIENCE, DOMAIN, NOW, WORKLOAD, bundle, claims, encode, entry, header, key, token

Verify = Callable[..., WorkloadIdentity]


def keys(*entries: Any, **members: Any) -> set[str]:
    """Return the names of the keys that are left of a bundle."""
    return set(parse_bundle(DOMAIN, bundle(*entries, **members)).keys)


@pytest.mark.parametrize(
    "bad",
    [
        {"use": "x509-svid", "kid": None, "x5c": ["MIIB"]},
        {"use": "wit-svid"},
        {"use": "sig"},
        {"use": "JWT-SVID"},
        {"use": ["jwt-svid"]},
        {"use": None},
        {"kid": None},
        {"kid": ""},
        {"kid": 7},
        {"kid": "two\nlines"},
        {"kty": "oct", "k": "c2VjcmV0"},
        {"kty": "OKP", "crv": "Ed25519", "x": encode(b"x" * 32)},
        {"kty": "future"},
        {"kty": ["EC"]},
        {"kty": None},
        {"crv": "secp256k1"},
        {"crv": "P-999"},
        {"crv": []},
        {"x": None},
        {"x": 5},
        {"x": "AA"},
        {"x": "\u00e9"},
        {"x": encode(b"\x01" * 32)},
        {"alg": "RS256"},
        {"alg": "none"},
        {"alg": ["ES256"]},
    ],
    ids=str,
)
def test_jb_5_and_6_a_key_that_is_not_usable_is_left_out_and_the_rest_stays(bad: dict[str, Any]) -> None:
    """JWT-SVID §6.2 and Bundle §4.2: another `use`, no `kid`, a foreign kind: ignored one by one."""
    assert keys(entry("P-256", "2", **bad), entry("P-256")) == {"P-256/1"}
    assert keys(entry("P-256"), entry("P-256", "2", **bad)) == {"P-256/1"}


@pytest.mark.parametrize("junk", [None, 1, "key", [], ["kid"], {}, True])
def test_jb_6_an_entry_that_is_no_key_is_left_out(junk: Any) -> None:
    """Bundle §4.2.1: what cannot be read does not discard what can."""
    assert keys(junk, entry("P-256")) == {"P-256/1"}


@pytest.mark.parametrize(
    "bad",
    [{"n": None}, {"n": 5}, {"n": ""}, {"n": "AQAB"}, {"e": None}, {"e": {}}, {"e": "Ag"}, {"n": "\u00e9"}],
    ids=str,
)
def test_jb_6_a_broken_rsa_key_is_left_out(bad: dict[str, Any]) -> None:
    """Bundle §4.2: one bad key keeps the rest."""
    assert keys(entry("RSA", **bad), entry("P-256")) == {"P-256/1"}


def test_a_weak_rsa_key_is_left_out() -> None:
    """RFC 7518 §3.3: 2048 bits or more; the libraries only warn."""
    assert keys(entry("RSA-1024"), entry("RSA")) == {"RSA/1"}


def test_a_private_key_that_was_published_is_taken_without_its_private_part() -> None:
    """Bundle §4.2: an issuer's mistake; what is kept can verify and nothing else."""
    published = {**entry("P-256"), **key("P-256").as_dict(private=True)}

    kept = parse_bundle(DOMAIN, bundle({**published, "use": "jwt-svid", "kid": "a"})).keys["a"]

    assert not kept.key.is_private


def test_jb_5_a_key_of_another_use_signs_nothing(verify: Verify, store: TrustStore) -> None:
    """identity.md A3: keys for X.509 and WIT were used for JWT-SVIDs; a real SPIFFE bundle has both."""
    x509 = {"kty": "RSA", "use": "x509-svid", "n": "AQAB", "e": "AQAB", "x5c": ["MIIB"]}
    store.put(parse_bundle(DOMAIN, bundle(x509, entry("P-256", "2", use="wit-svid"), entry("P-256"))))
    assert verify(token()).key_id == "P-256/1"

    with pytest.raises(ProofUntrusted):
        verify(token(header(name="2"), signer=key("P-256", "2")))


@pytest.mark.parametrize("pinned", ["PS256", "RS512"])
def test_a_keys_alg_is_the_only_one_that_it_signs_with(verify: Verify, store: TrustStore, pinned: str) -> None:
    """RFC 7517 §4.4: where the bundle pins the algorithm, the token cannot choose another of its family."""
    store.put(parse_bundle(DOMAIN, bundle(entry("RSA", alg=pinned))))
    assert verify(token(header("RSA", alg=pinned), signer=key("RSA"))).spiffe_id == WORKLOAD

    with pytest.raises(ProofUntrusted):
        verify(token(header("RSA", alg="RS256"), signer=key("RSA")))


@pytest.mark.parametrize("entries", [[], [{"kty": "oct"}]])
def test_jb_7_a_bundle_without_keys_revokes_everything(verify: Verify, store: TrustStore, entries: list[Any]) -> None:
    """Bundle §4.1.3: nothing usable never means 'keep the old keys'."""
    svid = token()
    assert verify(svid).spiffe_id == WORKLOAD

    store.put(parse_bundle(DOMAIN, bundle(*entries)))

    with pytest.raises(ProofUntrusted):
        verify(svid)


def test_jb_4_the_key_is_chosen_by_its_name_among_several(verify: Verify, store: TrustStore) -> None:
    """RFC 7515 §4.1.4."""
    store.put(parse_bundle(DOMAIN, bundle(*(entry("P-256", name) for name in "123"))))

    assert verify(token(header(name="2"), signer=key("P-256", "2"))).key_id == "P-256/2"

    with pytest.raises(ProofUntrusted):
        verify(token(header(name="2"), signer=key("P-256", "3")))


def test_jb_1_and_2_rotation_takes_effect_at_once_for_remembered_tokens_too(verify: Verify, store: TrustStore) -> None:
    """SPIFFE_Workload_API §4.3 and §4.4: a key that leaves the bundle takes its tokens along; a new one brings them."""
    old, new = token(), token(header(name="2"), signer=key("P-256", "2"))
    store.put(parse_bundle(DOMAIN, bundle(entry("P-256"), entry("P-256", "2"), spiffe_sequence=2)))
    assert {verify(svid).key_id for svid in (old, new, old, new)} == {"P-256/1", "P-256/2"}

    store.put(parse_bundle(DOMAIN, bundle(entry("P-256", "2"), spiffe_sequence=3)))

    assert verify(new).key_id == "P-256/2"
    with pytest.raises(ProofUntrusted):
        verify(old)


def test_a_key_that_is_replaced_under_its_name_takes_remembered_tokens_along(verify: Verify, store: TrustStore) -> None:
    """Issue 2, Identity: a verified token is cached and still checked against the bundle, not against a name in it."""
    svid = token()
    verify(svid)

    store.put(parse_bundle(DOMAIN, bundle(entry("P-256", "2", kid="P-256/1"))))

    with pytest.raises(ProofUntrusted):
        verify(svid)


def test_a_remembered_token_expires_on_time(verify: Verify) -> None:
    """Issue 2, Identity: a verified token is cached by hash and still checked for expiry."""
    svid = token(payload=claims(exp=NOW + 10))
    assert verify(svid, NOW).expires_at == NOW + 10
    assert verify(svid, NOW + 9.9).expires_at == NOW + 10

    with pytest.raises(ProofExpired):
        verify(svid, NOW + 10)


def test_jb_3_a_remembered_token_ends_with_its_trust_domain(
    verify: Verify, store: TrustStore, domains: dict[str, TrustDomain]
) -> None:
    """SPIFFE_Workload_API §4.4: what is no longer configured is no longer trusted, bundle or configuration."""
    svid = token()
    verify(svid)

    configured = domains.pop(DOMAIN)
    with pytest.raises(ProofUntrusted):
        verify(svid)

    domains[DOMAIN] = configured
    store.keep_only(set())
    with pytest.raises(ProofUntrusted):
        verify(svid)


def test_a_remembered_token_is_judged_by_the_domain_as_it_is_now(
    verify: Verify, domains: dict[str, TrustDomain]
) -> None:
    """Issue 2, Identity: identity is checked on every request, so a shorter lifetime or another mode counts at once."""
    svid = token()
    assert verify(svid).assurance == "attested"

    domains[DOMAIN] = TrustDomain(DOMAIN, "production", development=True)

    assert verify(svid).assurance == "development"


def test_a_verifier_remembers_only_so_many_tokens(
    store: TrustStore, domains: dict[str, TrustDomain], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Issue 2, MCP: concurrent things are capped; a stranger with many tokens does not fill the memory."""
    monkeypatch.setattr("broker.identity.remembered._REMEMBERED", 3)
    verifier = SvidVerifier(AUDIENCE, store)

    for number in range(5):
        verifier.verify(token(payload=claims(jti=str(number))), domains, NOW)

    assert len(verifier._remembered) == 3


def test_a_fetched_bundle_with_a_lower_sequence_is_refused() -> None:
    """Bundle §4.1.1: the sequence only grows; an old copy cannot bring a revoked key back."""
    store = TrustStore()
    newer, older, none = (
        parse_bundle(DOMAIN, bundle(entry("P-256"), **members), fetched_at=1.0)
        for members in ({"spiffe_sequence": 5}, {"spiffe_sequence": 4}, {})
    )
    assert store.put(newer)

    assert not store.put(older)
    assert not store.put(none)
    assert store.find(DOMAIN) is newer
    assert store.put(parse_bundle(DOMAIN, bundle(spiffe_sequence=5), fetched_at=2.0))


def test_a_bundle_from_the_documents_is_the_administrators_word() -> None:
    """Issue 2, Identity: a bundle in a file is put in force as it is, whatever its sequence."""
    store = TrustStore()
    store.put(parse_bundle(DOMAIN, bundle(entry("P-256"), spiffe_sequence=5)))

    assert store.put(parse_bundle(DOMAIN, bundle(spiffe_sequence=1)))


def test_a_bundle_that_could_not_be_renewed_is_not_trusted_for_ever(verify: Verify, store: TrustStore) -> None:
    """identity.md A1.4: stop trusting a copy after its maximum age, for remembered tokens too."""
    svid = token()
    store.put(parse_bundle(DOMAIN, bundle(entry("P-256"))), stale_after=NOW + 100)
    assert verify(svid, NOW + 99).spiffe_id == WORKLOAD

    with pytest.raises(ProofUntrusted):
        verify(svid, NOW + 101)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"null",
        b"{}",
        b'{"keys": {}}',
        b'{"keys": null}',
        b'{"keys": []',
        b"\xff",
        b"<html>",
        b'{"keys": [], "keys": []}',
        b'{"keys": [{"kid": "a", "kid": "b"}]}',
        b'{"keys": ' + b"[" * 100_000,
    ],
)
def test_what_is_no_bundle_is_an_error_and_never_an_empty_one(text: bytes) -> None:
    """Bundle §4.1: 'everything is revoked' is said, not broken; a key that stands twice is refused (A1.4)."""
    with pytest.raises(ValueError, match="not a trust bundle"):
        parse_bundle(DOMAIN, text)


@pytest.mark.parametrize("value", [None, "5", 1.5, True, -1, [], {}])
def test_a_sequence_or_hint_that_is_no_number_counts_as_absent(value: Any) -> None:
    """Bundle §4.1: both are integers."""
    parsed = parse_bundle(
        DOMAIN, json.dumps({"keys": [], "spiffe_sequence": value, "spiffe_refresh_hint": value}).encode()
    )

    assert (parsed.sequence, parsed.refresh_hint) == (None, None)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)
ENTRIES = st.fixed_dictionaries(
    {"use": st.just("jwt-svid"), "kid": st.just("a") | JSON},
    optional={
        "kty": st.sampled_from(["EC", "RSA", "oct", "OKP"]) | JSON,
        "crv": st.sampled_from(["P-256", "P-384", "Ed25519", "secp256k1"]) | JSON,
        **{
            name: st.just(encode(b"\x07" * 32)) | st.text("AQ_-", max_size=9) | JSON
            for name in ("x", "y", "n", "e", "k", "d")
        },
    },
)


@given(st.lists(ENTRIES | JSON, max_size=3))
def test_whatever_stands_in_a_bundle_the_good_key_is_kept(entries: list[Any]) -> None:
    """Bundle §4.2: no entry, however broken, discards the rest or is an exception."""
    assert keys(*entries, entry("P-256")) >= {"P-256/1"}
