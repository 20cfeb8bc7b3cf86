"""JWT-SVIDs, by the public catalogue (arndt-s/spiffe-conformance-test-suite, JV-1 to JV-25) and identity.md A3.

Every refusal stands beside a token that differs in one thing and is accepted.
"""

import hmac
import json
from collections.abc import Callable
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import ECKey

from broker.errors import (
    ProofExpired,
    ProofForAnotherAudience,
    ProofLivesTooLong,
    ProofMalformed,
    ProofNotYetValid,
    ProofUntrusted,
    Refusal,
    Unauthenticated,
)
from broker.identity import TrustDomain, TrustStore, WorkloadIdentity, parse_bundle
from broker.identity.jwt import LONGEST_TOKEN
from broker.identity.svid import SvidVerifier
from tests.support.low_issuer import (
    AUDIENCE,
    DOMAIN,
    NOW,
    WORKLOAD,
    bundle,
    claims,
    encode,
    entry,
    header,
    key,
    token,
)

Verify = Callable[..., WorkloadIdentity]


def refusal_of(verify: Verify, bad: str, good: str | None = None) -> type[Refusal]:
    """Return how a token is refused, once its good counterpart has been accepted."""
    assert verify(token() if good is None else good).spiffe_id == WORKLOAD

    with pytest.raises(Refusal) as refusal:
        verify(bad)
    return refusal.type


def test_jv_1_a_valid_token_is_its_workload(verify: Verify) -> None:
    """JWT-SVID §4: `sub` is the identity; what proved it is in the `WorkloadIdentity` and the token is not."""
    svid = token(payload=claims(jti="one"))

    identity = verify(svid)

    assert (identity.spiffe_id, identity.trust_domain) == (WORKLOAD, DOMAIN)
    assert (identity.method, identity.assurance) == ("jwt-svid", "attested")
    assert (identity.key_id, identity.token_id) == ("P-256/1", "one")
    assert svid.rpartition(".")[2] not in repr(identity)


@pytest.mark.parametrize(
    ("algorithm", "kind"),
    [
        *((f"{family}{size}", "RSA") for family in ("RS", "PS") for size in (256, 384, 512)),
        ("ES256", "P-256"),
        ("ES384", "P-384"),
        ("ES512", "P-521"),
    ],
)
def test_jv_2_every_algorithm_of_the_standard_is_accepted(
    verify: Verify, store: TrustStore, algorithm: str, kind: str
) -> None:
    """JWT-SVID §2.1: exactly nine algorithms."""
    store.put(parse_bundle(DOMAIN, bundle(entry("RSA"), entry("P-256"), entry("P-384"), entry("P-521"))))

    identity = verify(token(header(kind, alg=algorithm), signer=key(kind)))

    assert identity.key_id == f"{kind}/1"


@pytest.mark.parametrize("algorithm", ["none", "None", "", "ES256K", "EdDSA", "Ed25519", "es256", "RSA-OAEP"])
def test_jv_3_and_5_any_other_algorithm_is_refused(verify: Verify, algorithm: str) -> None:
    """JWT-SVID §2.1: `none`, and asymmetric algorithms that are not on the list."""
    bad = token(header(alg=algorithm), algorithm="ES256")

    assert refusal_of(verify, bad) is ProofMalformed


def test_jv_3_a_token_without_a_signature_is_refused(verify: Verify) -> None:
    """JWT-SVID §2.1: an unsigned token in any of its spellings."""
    unsigned = f"{encode(json.dumps({'alg': 'none'}).encode())}.{encode(json.dumps(claims()).encode())}."

    assert refusal_of(verify, unsigned) is ProofMalformed
    assert refusal_of(verify, unsigned.rstrip(".")) is ProofMalformed


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
def test_jv_4_a_public_key_is_no_shared_secret(verify: Verify, algorithm: str) -> None:
    """JWT-SVID §2.1: algorithm confusion, an HMAC keyed with the bundle's own public key."""
    text = f"{encode(json.dumps(header(alg=algorithm)).encode())}.{encode(json.dumps(claims()).encode())}"
    published = cast("ECKey", key("P-256")).as_pem(private=False)
    signature = hmac.digest(published, text.encode(), f"sha{algorithm[2:]}")  # by hand: joserfc refuses to

    assert refusal_of(verify, f"{text}.{encode(signature)}") is ProofMalformed


def test_jv_5_eddsa_is_refused_even_with_a_key_in_the_bundle(verify: Verify, store: TrustStore) -> None:
    """JWT-SVID §2.1: EdDSA is not allowed."""
    store.put(parse_bundle(DOMAIN, bundle(entry("P-256"), entry("Ed25519"))))

    assert refusal_of(verify, token(header("Ed25519"), signer=key("Ed25519"))) is ProofMalformed


@pytest.mark.parametrize("algorithm", ["RS256", "ES384", "PS512"])
def test_jv_6_an_algorithm_that_is_not_the_keys_is_refused(verify: Verify, algorithm: str) -> None:
    """RFC 7515 §10.7: the key says what it is for, the token does not."""
    assert refusal_of(verify, token(header(alg=algorithm), algorithm="ES256")) is ProofUntrusted


@pytest.mark.parametrize("algorithm", [None, "null", 1, [], {}, ["ES256"], True])
def test_an_algorithm_that_is_no_text_is_refused(verify: Verify, algorithm: Any) -> None:
    """RFC 7515 §4.1.1: `alg` is required and a string; whatever else it is, is no exception of ours."""
    assert refusal_of(verify, token(header(alg=algorithm), algorithm="ES256")) is ProofMalformed


@pytest.mark.parametrize(
    "audience",
    [None, "null", "", [], [[AUDIENCE]], {AUDIENCE: 1}, 1, "https://broker.example", AUDIENCE + "/", ["other"]],
)
def test_jv_7_and_8_a_token_for_another_audience_is_refused(verify: Verify, audience: Any) -> None:
    """JWT-SVID §3.2: absent, empty or wrong, `aud` must name this broker exactly."""
    assert refusal_of(verify, token(payload=claims(aud=audience))) is ProofForAnotherAudience


@pytest.mark.parametrize("audience", [AUDIENCE, ["other", AUDIENCE], [1, AUDIENCE]])
def test_jv_9_and_10_the_audience_may_be_one_of_several_or_a_text(verify: Verify, audience: Any) -> None:
    """RFC 7519 §4.1.3: an array that holds our value, or our value."""
    assert verify(token(payload=claims(aud=audience))).spiffe_id == WORKLOAD


@pytest.mark.parametrize("name", ["exp", "nbf", "iat"])
@pytest.mark.parametrize("value", ["null", "1795480000", "x", True, False, [], {}, [1795480000]])
def test_jv_11_a_time_that_is_no_number_is_refused(verify: Verify, name: str, value: Any) -> None:
    """identity.md A3: a text or a boolean for a time was accepted by the SPIFFE library."""
    assert refusal_of(verify, token(payload=claims(**{name: value}))) is ProofMalformed


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e999", "9" * 400, "-" + "9" * 400])
def test_jv_11_a_number_that_is_no_time_is_refused(verify: Verify, value: str) -> None:
    """RFC 7519 §2, NumericDate: finite, and no exception of the arithmetic's."""
    text = json.dumps(claims(exp=0)).replace('"exp": 0', f'"exp": {value}')

    assert refusal_of(verify, token(payload=text)) is ProofMalformed


def test_jv_11_a_token_without_an_end_is_refused(verify: Verify) -> None:
    """JWT-SVID §3.3: `exp` must be present; the SPIFFE library answered with a KeyError."""
    assert refusal_of(verify, token(payload=claims(exp=None))) is ProofMalformed


@pytest.mark.parametrize("age", [1, 300])
def test_jv_12_an_expired_token_is_refused_without_leeway(verify: Verify, age: int) -> None:
    """JWT-SVID §3.3: an end that has passed has passed."""
    assert refusal_of(verify, token(payload=claims(iat=NOW - 600, exp=NOW - age))) is ProofExpired


@pytest.mark.parametrize("name", ["nbf", "iat"])
def test_jv_13_a_token_of_the_future_is_refused_beyond_the_clocks_skew(verify: Verify, name: str) -> None:
    """RFC 7519 §4.1.5, and identity.md A3 for `iat`; half a minute is what clocks may differ."""
    nearly = token(payload=claims(**{name: NOW + 15}))
    future = token(payload=claims(**{name: NOW + 120}))

    assert refusal_of(verify, future, good=nearly) is ProofNotYetValid


def test_jv_14_a_signature_with_one_bit_changed_is_refused(verify: Verify) -> None:
    """JWT-SVID §4: the signature counts, in each of its bytes."""
    good = token()
    text, _, signature = good.rpartition(".")

    for position in range(0, len(signature) - 1, 7):
        other = "A" if signature[position] != "A" else "B"
        bad = f"{text}.{signature[:position]}{other}{signature[position + 1 :]}"
        assert refusal_of(verify, bad, good) is ProofUntrusted


def test_jv_15_a_payload_under_another_signature_is_refused(verify: Verify) -> None:
    """JWT-SVID §4: nobody becomes another workload by editing the token."""
    good = token()
    head, _, signature = good.split(".")
    other = encode(json.dumps(claims(sub="spiffe://prod.example.org/agent/admin")).encode())

    assert refusal_of(verify, f"{head}.{other}.{signature}", good) is ProofUntrusted


@pytest.mark.parametrize("key_id", ["unknown", "", "P-256/1 ", "p-256/1", "null", 1, ["P-256/1"], "../P-256/1"])
def test_jv_16_a_key_that_is_not_in_the_bundle_is_refused(verify: Verify, key_id: Any) -> None:
    """JWT-SVID §4: `kid` names a key of the bundle exactly, or none."""
    assert refusal_of(verify, token(header(kid=key_id))) is ProofUntrusted


def test_jv_16_a_strangers_key_under_a_known_name_is_refused(verify: Verify) -> None:
    """JWT-SVID §4: the name of a key proves nothing."""
    assert refusal_of(verify, token(signer=key("P-256", "stranger"))) is ProofUntrusted


def test_jv_17_a_domains_key_signs_for_no_other_domain(
    verify: Verify, store: TrustStore, domains: dict[str, TrustDomain]
) -> None:
    """SPIFFE_Federation §4.2: bundles are never merged, or one domain's authority could mint the other's identities."""
    domains["other.example"] = TrustDomain("other.example", "production")
    store.put(parse_bundle("other.example", bundle(entry("P-256", "2"))))
    good = token(header(name="2"), claims(sub="spiffe://other.example/x"), signer=key("P-256", "2"))
    assert verify(good).spiffe_id == "spiffe://other.example/x"

    with pytest.raises(ProofUntrusted):
        verify(token(header(name="2"), claims(), signer=key("P-256", "2")))


@pytest.mark.parametrize("known", ["configured", "bundled"])
def test_jv_18_a_trust_domain_without_configuration_or_bundle_is_refused(
    verify: Verify, store: TrustStore, domains: dict[str, TrustDomain], known: str
) -> None:
    """SPIFFE_Workload_API §6.3: no bundle for the subject's domain means untrusted, whoever signed."""
    if known == "configured":
        domains["other.example"] = TrustDomain("other.example", "production")
    else:
        store.put(parse_bundle("other.example", bundle(entry("P-256"))))

    assert refusal_of(verify, token(payload=claims(sub="spiffe://other.example/x"))) is ProofUntrusted


@pytest.mark.parametrize(
    "subject",
    [
        *(
            None,
            "null",
            "",
            1,
            [WORKLOAD],
            {},
            "analyst",
            f"spiffe://{DOMAIN}",
            "spiffe://PROD.example.org/agent/analyst",
        ),
        *(f"{WORKLOAD}\n", f"{WORKLOAD}/..", f"{WORKLOAD}/{'x' * 3000}"),
    ],
)
def test_jv_19_a_subject_that_is_no_workloads_name_is_refused(verify: Verify, subject: Any) -> None:
    """JWT-SVID §3.1 and identity.md A3: no path, a newline at the end, three thousand bytes."""
    assert refusal_of(verify, token(payload=claims(sub=subject))) is ProofMalformed


@pytest.mark.parametrize("kind", ["JWT", "JOSE", None])
def test_jv_20_the_type_may_be_jwt_jose_or_absent(verify: Verify, kind: str | None) -> None:
    """JWT-SVID §2.3."""
    assert verify(token(header(typ=kind))).spiffe_id == WORKLOAD


@pytest.mark.parametrize("kind", ["null", "jwt", "at+jwt", "wit+jwt", "wpt+jwt", "", 1, [], {}, ["JWT"], True])
def test_jv_21_any_other_type_is_refused(verify: Verify, kind: Any) -> None:
    """JWT-SVID §2.3: a token of another kind is not an SVID, whatever its claims (RFC 8725 §3.11)."""
    assert refusal_of(verify, token(header(typ=kind))) is ProofMalformed


def test_jv_22_a_token_without_a_key_id_is_accepted_if_one_key_fits(verify: Verify, store: TrustStore) -> None:
    """identity.md A4: `kid` is optional; keys for other algorithms are not in the way."""
    store.put(parse_bundle(DOMAIN, bundle(entry("P-256"), entry("RSA"), entry("P-384"))))

    assert verify(token(header(kid=None))).key_id == "P-256/1"


def test_jv_22_a_token_without_a_key_id_is_refused_if_two_keys_fit(verify: Verify, store: TrustStore) -> None:
    """identity.md A4: nobody tries one key after the other."""
    store.put(parse_bundle(DOMAIN, bundle(entry("P-256"), entry("P-256", "2"))))

    assert refusal_of(verify, token(header(kid=None))) is ProofUntrusted


@pytest.mark.parametrize(
    "more",
    [
        {"crit": ["exp"], "exp": 1},
        {"crit": ["unknown"]},
        {"crit": []},
        {"b64": False},
        {"jku": "https://evil.example/keys"},
        {"jwk": {"kty": "EC"}},
        {"x5u": "https://evil.example/chain"},
        {"x5c": ["MIIB"]},
        {"x5t": "abc"},
        {"cty": "JWT"},
        {"zip": "DEF"},
        {"note": None},
    ],
    ids=str,
)
def test_jv_23_any_other_header_is_refused(verify: Verify, more: dict[str, Any]) -> None:
    """JWT-SVID §2: no other member has a place, least of all one that says where a key could be found."""
    assert refusal_of(verify, token({**header(), **more})) is ProofMalformed


def test_jv_23_a_token_that_brings_its_own_key_is_refused(verify: Verify) -> None:
    """RFC 8725 §3.10: the key comes from the bundle, never from the token (CVE-2018-0114)."""
    own = key("P-256", "attacker")

    bad = token({**header(), "jwk": own.as_dict(private=False)}, signer=own)

    assert refusal_of(verify, bad) is ProofMalformed


def test_jv_24_json_serialization_is_refused(verify: Verify) -> None:
    """JWT-SVID §1: compact serialization only."""
    good = token()
    head, payload, signature = good.split(".")
    flat = json.dumps({"protected": head, "payload": payload, "signature": signature})
    whole = json.dumps({"payload": payload, "signatures": [{"protected": head, "signature": signature}]})

    assert refusal_of(verify, flat, good) is ProofMalformed
    assert refusal_of(verify, whole, good) is ProofMalformed


@pytest.mark.parametrize(
    "change",
    [
        lambda _: "",
        lambda _: "..",
        lambda text: text.partition(".")[0],
        lambda text: text.rpartition(".")[0],
        lambda text: text + ".",
        lambda text: text + ".e30",
        lambda text: "." + text,
        lambda text: text + "=",
        lambda text: text + "\n",
        lambda text: " " + text,
        lambda text: "Bearer " + text,
        lambda text: text.replace(".", ". "),
        lambda text: text[:9] + "+" + text[10:],
        lambda text: text[:9] + "\u00e9" + text[10:],
        lambda text: text[:9] + "\ud800" + text[10:],
        lambda text: text + "\x00",
    ],
)
def test_jv_25_what_is_not_three_parts_of_base64url_is_refused(verify: Verify, change: Callable[[str], str]) -> None:
    """RFC 7515 §7.1: the compact form and nothing around it."""
    good = token()

    assert refusal_of(verify, change(good), good) is ProofMalformed


@pytest.mark.parametrize("part", [0, 1, 2])
def test_jv_25_base64url_has_one_spelling(verify: Verify, part: int) -> None:
    """RFC 4648 §3.5: bits that count for nothing are zero, or one token would have several digests."""
    payload = claims(pad="")
    while len(json.dumps(payload)) % 3 == 0:
        payload["pad"] += "x"
    head = header(kid=None)
    while len(json.dumps(head)) % 3 == 0:
        head = {**header(), "typ": "JOSE"}
    good = token(head, payload)
    parts = good.split(".")
    last = parts[part][-1]
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

    parts[part] = parts[part][:-1] + alphabet[alphabet.index(last) + 1]

    assert refusal_of(verify, ".".join(parts), good) is ProofMalformed


@pytest.mark.parametrize("text", ["", "null", "[]", '"x"', "1", "{", "{} ", "{}x", "{'a': 1}", '{"a": 1,}', "[" * 3000])
@pytest.mark.parametrize("part", ["head", "payload"])
def test_jv_25_a_part_that_is_no_json_object_is_refused(verify: Verify, text: str, part: str) -> None:
    """RFC 7519 §7.2: header and claims are JSON objects; nesting without end is no exception of ours."""
    if text == "{} ":
        text = "{}\x00"
    bad = token(text) if part == "head" else token(payload=text)

    assert refusal_of(verify, bad) is ProofMalformed


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig", "utf-32", "latin-1"])
def test_jv_25_a_header_in_another_encoding_is_refused(verify: Verify, encoding: str) -> None:
    """RFC 7515 §3.3: UTF-8; Python's parser guesses, and two readers would see two tokens."""
    text = json.dumps({**header(), "typ": "JWT"}).replace("JWT", "\u00e9" if encoding == "latin-1" else "JWT")

    assert refusal_of(verify, token(text.encode(encoding))) is ProofMalformed


def test_a_key_that_stands_twice_is_refused(verify: Verify) -> None:
    """RFC 8725 §2.4 and RFC 7519 §4: two readers would see two subjects."""
    text = json.dumps(claims())
    twice = text[:-1] + f', "sub": "{WORKLOAD}"' + "}"
    double_head = json.dumps(header())[:-1] + ', "alg": "ES256"}'

    assert refusal_of(verify, token(payload=twice)) is ProofMalformed
    assert refusal_of(verify, token(double_head)) is ProofMalformed


def test_a_token_longer_than_the_cap_is_refused(verify: Verify) -> None:
    """Issue 2, MCP: what a stranger sends is capped before it is looked at."""
    fits, long = (token(payload=claims(pad="x" * size)) for size in (5000, LONGEST_TOKEN))

    assert refusal_of(verify, long, good=fits) is ProofMalformed


@pytest.mark.parametrize(
    "times",
    [
        {"exp": NOW + 3600 + 60},
        {"exp": NOW + 86400, "iat": None},
        {"exp": NOW + 60, "iat": NOW - 86400},
        {"exp": NOW + 60, "iat": 0},
        {"exp": NOW + 60, "iat": -(2**40)},
    ],
)
def test_a_token_that_lives_too_long_is_refused_also_near_its_end(verify: Verify, times: dict[str, int]) -> None:
    """identity.md A8: the lifetime is capped at an hour; where `iat` tells it, it counts from there."""
    assert refusal_of(verify, token(payload=claims(**times))) is ProofLivesTooLong


def test_a_token_may_live_as_long_as_its_domain_says(store: TrustStore) -> None:
    """identity.md A8: the cap is the trust domain's own."""
    verifier = SvidVerifier(AUDIENCE, store)
    svid = token(payload=claims(exp=NOW + 7200))

    with pytest.raises(ProofLivesTooLong):
        verifier.verify(svid, {DOMAIN: TrustDomain(DOMAIN, "production", longest_lifetime=3600)}, NOW)

    identity = verifier.verify(svid, {DOMAIN: TrustDomain(DOMAIN, "production", longest_lifetime=7200)}, NOW)
    assert identity.expires_at == NOW + 7200


@pytest.mark.parametrize("jti", [None, "null", 1, [], "a\nb", "\ud800", "a\x00"])
def test_a_token_id_that_could_not_be_recorded_is_left_out(verify: Verify, jti: Any) -> None:
    """audit.md C6: what an issuer may choose freely neither breaks a record nor writes two lines of a log."""
    assert verify(token(payload=claims(jti=jti))).token_id is None


def test_a_development_domain_is_marked_on_every_identity(store: TrustStore) -> None:
    """Issue 2, Identity: the development trust domain is a named, loud mode."""
    domains = {DOMAIN: TrustDomain(DOMAIN, "development", development=True)}

    assert SvidVerifier(AUDIENCE, store).verify(token(), domains, NOW).assurance == "development"


@given(st.text() | st.text("ey.-_AJ09", max_size=30) | st.binary(max_size=80).map(encode))
def test_no_text_is_anything_but_refused(text: str) -> None:
    """Issue 2, Identity: parsing never fails in another way than by `Unauthenticated`."""
    store = TrustStore()
    store.put(parse_bundle(DOMAIN, bundle(entry("P-256"))))

    with pytest.raises(Unauthenticated):
        SvidVerifier(AUDIENCE, store).verify(text, {DOMAIN: TrustDomain(DOMAIN, "production")}, NOW)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
HEADERS = st.dictionaries(st.sampled_from(["alg", "kid", "typ", "crit", "x"]), JSON | st.just("ES256"), max_size=4)
CLAIMS = st.dictionaries(
    st.sampled_from(["sub", "aud", "exp", "nbf", "iat", "jti"]),
    JSON | st.just(WORKLOAD) | st.just(AUDIENCE) | st.integers(NOW - 99, NOW + 99),
)


@given(head=HEADERS | st.just(header()), payload=CLAIMS)
def test_no_header_or_claims_under_a_good_signature_are_anything_but_accepted_or_refused(
    head: dict[str, Any], payload: dict[str, Any]
) -> None:
    """Issue 2, Identity: an issuer's mistake is a refusal too, and what is accepted says what it must."""
    store = TrustStore()
    store.put(parse_bundle(DOMAIN, bundle(entry("P-256"))))
    svid = token(head, payload, algorithm="ES256")

    try:
        identity = SvidVerifier(AUDIENCE, store).verify(svid, {DOMAIN: TrustDomain(DOMAIN, "production")}, NOW)
    except Unauthenticated:
        return

    assert (identity.spiffe_id, payload["sub"]) == (WORKLOAD, WORKLOAD)
    assert AUDIENCE in ([payload["aud"]] if isinstance(payload["aud"], str) else payload["aud"])
    assert payload["exp"] > NOW
