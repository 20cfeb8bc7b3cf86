"""X.509 authorities, as bundles and the Workload API write them."""

import base64
from contextlib import suppress
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from broker.identity import parse_bundle
from broker.identity.authorities import load_certificate, split_certificates
from tests.support.low_issuer import DOMAIN, bundle, entry
from tests.support.low_x509 import Authority

FIRST, SECOND = Authority(), Authority()
DER = [one.certificate.public_bytes(Encoding.DER) for one in (FIRST, SECOND)]


@pytest.mark.parametrize(
    "bad",
    [
        {"use": None},
        {"use": "jwt-svid"},
        {"use": "X509-SVID"},
        {"kid": "1"},
        {"x5c": None},
        {"x5c": []},
        {"x5c": "text"},
        {"x5c": [7]},
        {"x5c": [""]},
        {"x5c": ["MIIB"]},
        {"x5c": ["!"]},
        {"x5c": [FIRST.entry["x5c"][0].replace("+", "-").replace("/", "_") + "-"]},
        {"x5c": [FIRST.entry["x5c"][0] + "\n"]},
    ],
    ids=range(13),  # the authorities are new each time
)
def test_an_entry_that_is_no_authority_is_left_out_and_the_rest_stays(bad: dict[str, Any]) -> None:
    """X509-SVID §6.2 and Bundle §4.2: one bad entry discards neither authorities nor keys."""
    broken = {name: value for name, value in {**FIRST.entry, **bad}.items() if value is not None}

    parsed = parse_bundle(DOMAIN, bundle(broken, SECOND.entry, entry("P-256")))

    assert parsed.authorities == (SECOND.certificate,)
    assert set(parsed.keys) >= {"P-256/1"}


def test_only_the_first_certificate_of_an_entry_counts() -> None:
    """X509-SVID §6.2: further values must be ignored."""
    two = {**FIRST.entry, "x5c": [*FIRST.entry["x5c"], *SECOND.entry["x5c"]]}

    assert parse_bundle(DOMAIN, bundle(two)).authorities == (FIRST.certificate,)


def test_certificates_one_behind_the_other_are_split() -> None:
    """Workload API §5.1: concatenated DER."""
    assert list(split_certificates(b"".join(DER))) == DER
    assert list(split_certificates(b"")) == []


@pytest.mark.parametrize(
    "bad",
    [DER[0][:-1], DER[0] + b"\0", b"0", b"\x30\x80", b"\x30\x85\1\1\1\1\1", b"\x31\0", b"\x30\x82\1"],
    ids=range(7),
)
def test_what_does_not_end_where_it_says_is_refused(bad: bytes) -> None:
    """X.690 §8.1.3: definite lengths, and nothing between certificates."""
    with pytest.raises(ValueError, match="certificate"):
        list(split_certificates(bad))


@given(st.binary(max_size=200))
def test_junk_is_no_certificate_and_no_other_exception(junk: bytes) -> None:
    """Issue 4, SPIFFE: whatever a Workload API or a caller sends, a parser's exception goes nowhere."""
    with suppress(ValueError):
        assert all(junk.startswith(part) for part in list(split_certificates(junk))[:1])
    with pytest.raises(ValueError, match=r"\w"):
        load_certificate(junk)


def test_an_entry_holds_standard_base64() -> None:
    """RFC 7517 §4.7: not base64url; the tests' own entries are of that kind."""
    assert base64.b64decode(FIRST.entry["x5c"][0]) == DER[0]
