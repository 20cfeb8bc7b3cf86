"""X.509-SVIDs of callers, by the public catalogue (arndt-s/spiffe-conformance-test-suite: XV, XF, XS-4, XS-5, ID).

Every refusal stands beside a certificate that differs in one thing and is accepted.
"""

from collections.abc import Callable
from typing import Any

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import ProofExpired, ProofMalformed, ProofNotYetValid, ProofUntrusted, Refusal, Unauthenticated
from broker.identity import TrustDomain, TrustStore, WorkloadIdentity, parse_bundle
from broker.identity.certificate import LARGEST_CHAIN, CertificateVerifier
from tests.support.low_issuer import DOMAIN, NOW, WORKLOAD, bundle, entry
from tests.support.low_x509 import Authority, Svid

Verify = Callable[..., WorkloadIdentity]
OTHER = "other.example.org"
OF_OTHER = f"spiffe://{OTHER}/x"


@pytest.fixture(scope="module")
def authority() -> Authority:
    """Make an authority of the trust domain."""
    return Authority()


@pytest.fixture
def store(authority: Authority) -> TrustStore:
    """Trust it."""
    store = TrustStore()
    store.put(parse_bundle(DOMAIN, bundle(authority.entry)))
    return store


@pytest.fixture
def verify(store: TrustStore, domains: dict[str, TrustDomain]) -> Verify:
    """Verify an SVID, now or at another moment."""
    verifier = CertificateVerifier(store)

    def verify(svid: Svid, now: float = NOW) -> WorkloadIdentity:
        return verifier.verify(svid.chain, domains, now)

    return verify


def refusal_of(verify: Verify, bad: Svid, good: Svid) -> type[Refusal]:
    """Return how an SVID is refused, once its good counterpart has been accepted."""
    assert verify(good).method == "x509-svid"

    with pytest.raises(Refusal) as refusal:
        verify(bad)
    return refusal.type


def test_xv_1_a_valid_certificate_is_its_workload(verify: Verify, authority: Authority) -> None:
    """X509-SVID §5.1: the URI is the identity; certificate, authority and serial number are on record."""
    svid = authority.issue()

    identity = verify(svid)

    assert (identity.spiffe_id, identity.trust_domain) == (WORKLOAD, DOMAIN)
    assert (identity.method, identity.assurance, identity.expires_at) == ("x509-svid", "attested", NOW + 36_000)
    assert identity.token_id == f"{svid.certificates[0].serial_number:x}"
    assert identity.proof.startswith("sha256:")
    assert identity.key_id is not None


def test_xv_2_a_certificate_of_an_intermediate_is_accepted_with_it_and_not_without(
    verify: Verify, authority: Authority
) -> None:
    """X509-SVID §5.1: the path leads through what the caller brings; without it there is none."""
    good = Authority(above=authority).issue()
    bad = Svid(good.certificates[:1], good.key)

    assert refusal_of(verify, bad, good) is ProofUntrusted


def test_xv_3_dns_names_beside_the_uri_are_accepted(verify: Verify, authority: Authority) -> None:
    """X509-SVID §2: other names are allowed."""
    assert verify(authority.issue(dns=["analyst.example.org"])).spiffe_id == WORKLOAD


def test_xv_4_an_empty_subject_needs_critical_names(verify: Verify, authority: Authority) -> None:
    """X509-SVID §3.1 and RFC 5280 §4.1.2.6."""
    good = authority.issue(subject=False, names_critical=True)

    assert refusal_of(verify, authority.issue(subject=False), good) is ProofMalformed


def test_xv_5_a_certificate_of_a_stranger_is_refused(verify: Verify, authority: Authority) -> None:
    """X509-SVID §5.1: the same trust domain's name, another authority."""
    assert refusal_of(verify, Authority().issue(), authority.issue()) is ProofUntrusted


def test_xv_6_an_expired_certificate_is_refused(verify: Verify, authority: Authority) -> None:
    """RFC 5280 §6.1.3: and a remembered one the moment it expires."""
    good = authority.issue(since=NOW - 700, until=NOW + 60)

    assert refusal_of(verify, authority.issue(since=NOW - 700, until=NOW - 1), good) is ProofExpired
    with pytest.raises(ProofExpired):
        verify(good, NOW + 60)


def test_xv_7_a_certificate_of_the_future_is_refused(verify: Verify, authority: Authority) -> None:
    """RFC 5280 §6.1.3."""
    assert refusal_of(verify, authority.issue(since=NOW + 60), authority.issue()) is ProofNotYetValid


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"ca": True}, id="XV-8"),
        pytest.param({"use": ("digital_signature", "key_cert_sign")}, id="XV-9"),
        pytest.param({"use": ("digital_signature", "crl_sign")}, id="XV-10"),
        pytest.param({"use": ("key_agreement",)}, id="no-digital-signature"),
        pytest.param({"use": None}, id="no-key-usage"),
        pytest.param({"use_critical": False}, id="key-usage-not-critical"),
        pytest.param({"purposes": (ExtendedKeyUsageOID.SERVER_AUTH,)}, id="no-client-auth"),
        pytest.param({"names": False}, id="XV-12"),
    ],
)
def test_xv_8_to_10_and_12_a_certificate_that_is_for_something_else_is_refused(
    verify: Verify, authority: Authority, changes: dict[str, Any]
) -> None:
    """X509-SVID §4 and §5.2: authorities, signers of certificates or lists, and the nameless do not authenticate."""
    assert refusal_of(verify, authority.issue(**changes), authority.issue()) is ProofMalformed


def test_a_certificate_without_an_extended_key_usage_is_accepted(verify: Verify, authority: Authority) -> None:
    """X509-SVID §4.4: it should be there, so it may be missing."""
    assert verify(authority.issue(purposes=None)).spiffe_id == WORKLOAD


@pytest.mark.parametrize(
    "uris",
    [
        pytest.param((WORKLOAD, f"spiffe://{DOMAIN}/admin"), id="XV-11"),
        pytest.param((WORKLOAD, "https://example.org/"), id="XV-11-https"),
        pytest.param((WORKLOAD, WORKLOAD), id="XV-11-twice"),
        pytest.param((f"https://{DOMAIN}/agent/analyst",), id="XV-13"),
        pytest.param((f"spiffe://{DOMAIN}",), id="XV-14"),
        pytest.param((f"spiffe://{DOMAIN}/",), id="XV-14-slash"),
        pytest.param(("spiffe:///a",), id="ID-1-empty-domain"),
        pytest.param((f"spiffe://{DOMAIN}:8080/a",), id="ID-1-port"),
        pytest.param((f"spiffe://u@{DOMAIN}/a",), id="ID-1-user"),
        pytest.param((f"{WORKLOAD}?x=1",), id="ID-1-query"),
        pytest.param((f"{WORKLOAD}#f",), id="ID-1-fragment"),
        pytest.param((f"spiffe://{DOMAIN}/%41",), id="ID-1-percent"),
        pytest.param((f"spiffe://{DOMAIN}/a/../b",), id="ID-1-climbing"),
        pytest.param((f"{WORKLOAD}\n",), id="newline"),
        pytest.param((f"{WORKLOAD}\0",), id="nul"),
    ],
)
def test_xv_11_13_and_14_one_spiffe_id_of_a_workload_is_what_a_certificate_names(
    verify: Verify, authority: Authority, uris: tuple[str, ...]
) -> None:
    """X509-SVID §2 and §5.2: exactly one URI, a workload's."""
    assert refusal_of(verify, authority.issue(*uris), authority.issue()) is ProofMalformed


@pytest.mark.parametrize(
    "path", ["/.-_", "/Agent/ANALYST", "/a.b/c-d_e", "/" + "x" * (2048 - len(f"spiffe://{DOMAIN}/"))]
)
def test_id_2_unusual_workloads_are_accepted(verify: Verify, authority: Authority, path: str) -> None:
    """SPIFFE-ID §2.2 and §2.3: in a certificate as in a token."""
    assert verify(authority.issue(f"spiffe://{DOMAIN}{path}")).spiffe_id == f"spiffe://{DOMAIN}{path}"


@pytest.mark.parametrize("known", ["nothing", "configured", "bundled"])
def test_xv_15_a_trust_domain_without_configuration_or_bundle_is_refused(
    verify: Verify, store: TrustStore, domains: dict[str, TrustDomain], authority: Authority, known: str
) -> None:
    """Workload API §4.6: whoever signed it, a domain that is not known is not believed."""
    if known == "configured":
        domains[OTHER] = TrustDomain(OTHER, "production")
    if known == "bundled":
        store.put(parse_bundle(OTHER, bundle(authority.entry)))

    assert refusal_of(verify, authority.issue(OF_OTHER), authority.issue()) is ProofUntrusted


def test_xf_1_a_federated_trust_domain_is_verified_by_its_own_bundle(
    verify: Verify, store: TrustStore, domains: dict[str, TrustDomain]
) -> None:
    """Workload API §4.6: several trust domains, each with its own authorities and environment."""
    other = Authority(OTHER)
    domains[OTHER] = TrustDomain(OTHER, "partners")
    store.put(parse_bundle(OTHER, bundle(other.entry)))

    assert verify(other.issue(OF_OTHER)).trust_domain == OTHER


def test_xf_2_one_domains_authority_signs_for_no_other_domain(
    verify: Verify, store: TrustStore, domains: dict[str, TrustDomain], authority: Authority
) -> None:
    """SPIFFE_Federation §4.2: bundles are never merged."""
    other = Authority(OTHER)
    domains[OTHER] = TrustDomain(OTHER, "partners")
    store.put(parse_bundle(OTHER, bundle(other.entry)))

    assert refusal_of(verify, authority.issue(OF_OTHER), other.issue(OF_OTHER)) is ProofUntrusted
    assert refusal_of(verify, other.issue(), authority.issue()) is ProofUntrusted
    assert refusal_of(verify, Authority(above=other).issue(), authority.issue()) is ProofUntrusted


def test_xf_3_a_federated_domain_that_is_withdrawn_is_no_longer_trusted(
    verify: Verify, store: TrustStore, domains: dict[str, TrustDomain]
) -> None:
    """Workload API §4.4: and a remembered certificate of it neither."""
    other = Authority(OTHER)
    svid = other.issue(OF_OTHER)
    domains[OTHER] = TrustDomain(OTHER, "partners")
    store.put(parse_bundle(OTHER, bundle(other.entry)))
    assert verify(svid).trust_domain == OTHER

    store.forget(OTHER)

    with pytest.raises(ProofUntrusted):
        verify(svid)


def test_xs_4_and_5_each_authority_of_a_bundle_is_trusted_until_it_is_removed(
    verify: Verify, store: TrustStore, authority: Authority
) -> None:
    """Workload API §4.3 and §4.4: a rotation takes effect at once, for remembered certificates too."""
    second = Authority()
    old, new = authority.issue(), second.issue()
    store.put(parse_bundle(DOMAIN, bundle(authority.entry, second.entry)))
    assert {verify(svid).spiffe_id for svid in (old, new, old)} == {WORKLOAD}

    store.put(parse_bundle(DOMAIN, bundle(second.entry)))

    assert refusal_of(verify, old, new) is ProofUntrusted


def test_a_domain_that_signs_tokens_only_vouches_for_no_certificate(
    verify: Verify, store: TrustStore, authority: Authority
) -> None:
    """Bundle §4.1.3: no authority means that no certificate is trusted."""
    svid = authority.issue()
    verify(svid)

    store.put(parse_bundle(DOMAIN, bundle(entry("P-256"))))

    with pytest.raises(ProofUntrusted):
        verify(svid)


def test_a_workloads_certificate_signs_no_other(verify: Verify, authority: Authority) -> None:
    """RFC 5280 §4.2.1.9: only an authority signs; who can show a certificate cannot make others."""
    held = authority.issue()
    forger = Authority()
    forger.key = held.key
    forger.__dict__["certificate"] = held.certificates[0]
    forged = forger.issue(f"spiffe://{DOMAIN}/admin")

    bad = Svid((forged.certificates[0], held.certificates[0]), forged.key)

    assert refusal_of(verify, bad, held) is ProofUntrusted


def test_an_authority_that_is_shown_as_ones_own_is_refused(verify: Verify, authority: Authority) -> None:
    """X509-SVID §5.2: a signing certificate must not authenticate, not even a trusted one."""
    assert refusal_of(verify, Svid((authority.certificate,), authority.key), authority.issue()) is ProofMalformed


def test_a_certificate_of_a_version_that_does_not_exist_is_refused(
    store: TrustStore, domains: dict[str, TrustDomain], authority: Authority
) -> None:
    """Issue 4, SPIFFE: found by the test below; the library raises what is no ValueError."""
    (der,) = authority.issue().chain
    assert der[8:13] == b"\xa0\x03\x02\x01\x02"  # RFC 5280 §4.1.2.1: v3

    with pytest.raises(ProofMalformed):
        CertificateVerifier(store).verify((der[:12] + b"\x01" + der[13:],), domains, NOW)


@pytest.mark.parametrize("bad", [(), (b"",), (b"junk",), (b"0" * (LARGEST_CHAIN + 1),), (b"\x30\x03\x02\x01\x01",)])
def test_what_is_no_certificate_is_refused(
    store: TrustStore, domains: dict[str, TrustDomain], bad: tuple[bytes, ...]
) -> None:
    """Issue 4, SPIFFE: oversized and malformed proofs are refusals with a code, never an exception of a parser's."""
    with pytest.raises(ProofMalformed):
        CertificateVerifier(store).verify(bad, domains, NOW)


def test_more_certificates_than_a_path_has_are_refused(verify: Verify, authority: Authority) -> None:
    """Issue 4, SPIFFE: nobody has the broker look for paths in a heap of certificates."""
    good = authority.issue()

    assert refusal_of(verify, Svid(good.certificates * 9, good.key), good) is ProofMalformed


@given(which=st.sampled_from([0, 1]), position=st.integers(min_value=0), value=st.integers(0, 255))
def test_a_certificate_with_one_byte_changed_is_never_another_workload(which: int, position: int, value: int) -> None:
    """X509-SVID §5.1: the signature covers all of it; whatever is changed, it is the same workload or refused."""
    chain = [bytearray(der) for der in _SIGNED.chain]
    chain[which][position % len(chain[which])] = value
    try:
        identity = _VERIFIER.verify([bytes(der) for der in chain], {DOMAIN: TrustDomain(DOMAIN, "production")}, NOW)
    except Unauthenticated:
        return
    assert identity.spiffe_id == WORKLOAD


_AUTHORITY = Authority()
_SIGNED = Authority(above=_AUTHORITY).issue()
_STORE = TrustStore()
_STORE.put(parse_bundle(DOMAIN, bundle(_AUTHORITY.entry)))
_VERIFIER = CertificateVerifier(_STORE)
