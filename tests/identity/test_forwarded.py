"""`X-Forwarded-Client-Cert`: what is read of it, and what is refused rather than guessed at."""

import base64
import hashlib
from collections.abc import Callable
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import ProofMalformed
from broker.identity import parse_forwarded
from tests.support.low_issuer import DOMAIN, WORKLOAD
from tests.support.low_x509 import Authority, Svid

AUTHORITY = Authority()
SVID = Authority(above=AUTHORITY).issue()
LEAF = Svid(SVID.certificates[:1], SVID.key)
OTHER = AUTHORITY.issue(f"spiffe://{DOMAIN}/admin")
HASH = hashlib.sha256(SVID.chain[0]).hexdigest()


def pem(svid: Svid) -> str:
    """Return certificates as the header holds them."""
    return quote(svid.pem, safe="")


def odd() -> str:
    """Return a certificate of version 2, as only a forger would write it."""
    (der,) = LEAF.chain
    text = base64.b64encode(der[:12] + b"\x01" + der[13:]).decode()
    return quote(f"-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n", safe="")


WHOLE = f'By=spiffe://prod/proxy;Hash={HASH};Cert="{pem(LEAF)}";Chain="{pem(SVID)}";Subject="O=w\\"x\\"";URI={WORKLOAD}'


def test_certificates_and_uri_are_read() -> None:
    """Envoy, x-forwarded-client-cert: the chain in PEM form, URL-encoded, the caller's own certificate first."""
    forwarded = parse_forwarded(WHOLE)

    assert forwarded.chain == SVID.chain
    assert forwarded.uri == WORKLOAD


@pytest.mark.parametrize(
    ("header", "certificates"),
    [
        (f'Chain="{pem(SVID)}"', 2),
        (f'cert="{pem(LEAF)}"', 1),
        (f"Cert={pem(LEAF)}", 1),
        (f"URI={WORKLOAD}", 0),
        (f"By=;URI={WORKLOAD};DNS=a.example;DNS=b.example", 0),
        (f'Hash={HASH.upper()};Cert="{pem(LEAF)}";URI={WORKLOAD}', 1),
    ],
    ids=range(6),  # the certificates are new each time
)
def test_what_a_proxy_leaves_out_is_not_missed(header: str, certificates: int) -> None:
    """Envoy: set_current_client_cert_details says which keys there are; nginx writes Cert alone."""
    assert len(parse_forwarded(header).chain) == certificates


@pytest.mark.parametrize(
    "header",
    [
        pytest.param("", id="empty"),
        pytest.param(f"URI={WORKLOAD},URI=spiffe://{DOMAIN}/admin", id="two-elements"),
        pytest.param(f"{WHOLE},{WHOLE}", id="two-equal-elements"),
        pytest.param(f"URI=spiffe://{DOMAIN}/admin;URI={WORKLOAD}", id="two-uris"),
        pytest.param(f'Cert="{pem(LEAF)}";Cert="{pem(OTHER)}"', id="two-certificates"),
        pytest.param(f'Cert="{pem(LEAF)}";CERT="{pem(LEAF)}"', id="two-spellings"),
        pytest.param(f'Cert="{pem(LEAF)}";Chain="{pem(OTHER)}"', id="another-chain"),
        pytest.param(f'Cert="{pem(SVID)}"', id="a-chain-as-certificate"),
        pytest.param(f'Hash={"0" * 64};Cert="{pem(LEAF)}"', id="another-hash"),
        pytest.param(f'Cert="{pem(LEAF)}";URI=spiffe://{DOMAIN}/admin', id="another-uri"),
        pytest.param(f'Chain="{pem(OTHER)}";URI={WORKLOAD}', id="another-chains-uri"),
        pytest.param(f"URI=spiffe://{DOMAIN}", id="no-workload"),
        pytest.param("URI=https://example.org/", id="no-spiffe-id"),
        pytest.param("URI=", id="empty-uri"),
        pytest.param(f"Hash={HASH}", id="nothing-of-use"),
        pytest.param('Subject="O=w"', id="subject-alone"),
        pytest.param(f"URI={WORKLOAD};X=1", id="unknown-key"),
        pytest.param(f"URI = {WORKLOAD}", id="blanks"),
        pytest.param(f"URI={WORKLOAD}\n", id="newline"),
        pytest.param(f"URI={WORKLOAD};\u00e9=1", id="not-ascii"),
        pytest.param(f'URI="{WORKLOAD}', id="quote-that-does-not-end"),
        pytest.param(f'Subject="a\\";URI={WORKLOAD}', id="quote-that-is-escaped"),
        pytest.param(f'URI="{WORKLOAD}"x', id="more-after-the-quote"),
        pytest.param('Cert="junk"', id="no-pem"),
        pytest.param(f'Cert="{pem(LEAF)}junk"', id="more-than-pem"),
        pytest.param('Cert="-----BEGIN%20CERTIFICATE-----AAAA-----END%20CERTIFICATE-----"', id="no-certificate"),
        pytest.param('Cert=""', id="empty-certificate"),
        pytest.param(f'Cert="{odd()}"', id="a-version-that-does-not-exist"),
        pytest.param(f'Chain="{pem(SVID) * 5}"', id="too-many"),
        pytest.param("URI=" + "x" * 70_000, id="too-long"),
        pytest.param(";" * 100, id="nothing-but-ends"),
    ],
)
def test_what_could_be_read_in_two_ways_is_refused(header: str) -> None:
    """Issue 4, SPIFFE: strict parsing; a second element means that the proxy passed on what its caller had written."""
    assert parse_forwarded(WHOLE).uri == WORKLOAD

    with pytest.raises(ProofMalformed):
        parse_forwarded(header)


@pytest.mark.parametrize("wrap", [lambda text: text + ";", lambda text: text.lower().replace("uri", "URI")])
def test_harmless_variants_mean_the_same(wrap: Callable[[str], str]) -> None:
    """Envoy: keys are case-insensitive; an element may end with its separator."""
    assert parse_forwarded(wrap(f"By=spiffe://prod/proxy;URI={WORKLOAD}")).uri == WORKLOAD


@given(st.text(alphabet=st.sampled_from('URIHashCert=;,"\\%/:.-_ spiffe\n\0\u00e9'), max_size=60))
def test_whatever_comes_is_read_or_refused(text: str) -> None:
    """Issue 4, SPIFFE: malformed proofs are refusals with a code, never an exception of a parser's."""
    try:
        forwarded = parse_forwarded(text)
    except ProofMalformed:
        return
    assert forwarded.uri is None or forwarded.uri.startswith("spiffe://")
