import base64
import html
import json
import re
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.egress import Secret
from broker.vault.matcher import Needles, SecretMatcher

TOKEN = "00D5g000000abcd!AQ.CANARY_x/y+z==&<'" + "Qq7" * 20
JWT = f"{'eyJhbGciOiJSUzI1NiJ9' * 2}.{'eyJzdWIiOiJ4In0' * 3}.{'c2lnbmF0dXJl' * 4}"
TOKENS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=16, max_size=120)


def matcher(*values: str) -> SecretMatcher:
    """Look for these secrets."""
    made = SecretMatcher()
    for value in values:
        made.add(Needles.of(Secret(value)))
    return made


def javascript(value: str) -> str:
    """Escape as encodeURIComponent does."""
    return quote(value, safe="!'()*")


ENCODERS = {
    "raw": str,
    "bearer": "Bearer {}".format,
    "hex": lambda value: value.encode().hex(),
    "HEX": lambda value: value.encode().hex().upper(),
    "url": lambda value: quote(value, safe=""),
    "url, lower case": lambda value: re.sub("%..", lambda escape: escape[0].lower(), quote(value, safe="")),
    "url, Python's default": quote,
    "url, form": quote_plus,
    "url, JavaScript": javascript,
    "json": json.dumps,
    "json, slashes escaped": lambda value: json.dumps(value).replace("/", r"\/"),
    "html": html.escape,
    "base64": lambda value: base64.b64encode(value.encode()).decode(),
    "base64url": lambda value: base64.urlsafe_b64encode(value.encode()).decode().rstrip("="),
    "basic": lambda value: base64.b64encode(f"user:{value}".encode()).decode(),
}


@pytest.mark.parametrize("encode", ENCODERS.values(), ids=ENCODERS.keys())
@pytest.mark.parametrize("token", [TOKEN, JWT], ids=["opaque", "JWT"])
def test_a_secret_is_found_in_every_encoding(encode: object, token: str) -> None:
    """credentials.md B6: raw, base64, base64url, hex, URL-encoded, JSON-escaped, Bearer and Basic."""
    assert callable(encode)

    assert matcher(token).hits(f'{{"echo": "before {encode(token)} after"}}'.encode())


@given(token=TOKENS, before=st.binary(max_size=7), after=st.binary(max_size=7))
def test_base64_of_a_text_that_holds_a_secret_is_found_at_every_offset(token: str, before: bytes, after: bytes) -> None:
    """credentials.md B6: the middle of an encoding does not depend on its ends."""
    whole = before + token.encode() + after

    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        assert matcher(token).hits(b"..." + encode(whole) + b"...")


@given(token=TOKENS, other=st.binary(max_size=300))
def test_what_does_not_hold_the_secret_is_no_hit(token: str, other: bytes) -> None:
    """redact: a needle is as long as what it stands for, so that ordinary data passes."""
    if token.encode() in other:
        return

    assert not matcher(token).hits(b"\x00" + other)


@given(TOKENS)
def test_no_needle_is_short(token: str) -> None:
    """credentials.md B6: a short needle would find itself everywhere and block every answer."""
    assert Needles.of(Secret(token)).shortest >= 8


@pytest.mark.parametrize("part", JWT.split("."))
def test_a_part_of_a_jwt_is_found_by_itself(part: str) -> None:
    """credentials.md B6: each JWT segment."""
    assert matcher(JWT).hits(part.encode())


ESCAPERS = {
    **ENCODERS,
    "url, every character": lambda value: "".join(f"%{byte:02x}" for byte in value.encode()),
    "json, every character": lambda value: "".join(f"\\u{byte:04X}" for byte in value.encode()),
    "json in json": lambda value: json.dumps(json.dumps("".join(f"\\u{byte:04x}" for byte in value.encode()))),
    "html, every character": lambda value: "".join(f"&#{byte};" for byte in value.encode()),
    "html in url": lambda value: quote("".join(f"&#x{byte:x};" for byte in value.encode()), safe=""),
    "base64 in short lines": lambda value: "\n".join(re.findall(".{1,9}", base64.b64encode(value.encode()).decode())),
    "in short lines, in json": lambda value: json.dumps("\n".join(re.findall(".{1,5}", value))),
}


@pytest.mark.parametrize("encode", ESCAPERS.values(), ids=ESCAPERS.keys())
@given(start=st.integers(18, 60))
def test_eight_bytes_of_a_secret_are_found_in_every_encoding(encode: object, start: int) -> None:
    """Issue 5, The leak suite: no 8 consecutive bytes of a secret, whatever escapes and line ends are put into it."""
    assert callable(encode)
    part = (TOKEN[:17] + "Zy8_Xw7.Vu6-Ts5~Rq4Po3Nm2Lk1" * 4)[: start + 8][start:]
    found = matcher(TOKEN[:17] + "Zy8_Xw7.Vu6-Ts5~Rq4Po3Nm2Lk1" * 4)

    assert len(part) == 8
    assert found.hits(f'{{"echo": "before {encode(part)} after"}}'.encode())


def test_an_empty_matcher_finds_nothing_and_a_full_one_everything_that_it_was_given() -> None:
    """redact: an attempt may use two tokens, one after the other."""
    assert not SecretMatcher().hits(b"anything")

    both = matcher("first-token-of-this", "second-token-of-this")

    assert both.hits(b"a first-token-of-this b")
    assert both.hits(b"a second-token-of-this b")


def test_the_organisations_own_id_is_no_secret() -> None:
    """Issue 2, Salesforce: a token begins with the org's id, which stands in ordinary results."""
    assert not matcher(TOKEN).hits(b'{"Id": "00D5g000000abcdEAA", "OrganizationId": "00D5g000000abcd"}')
