import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.identity import SpiffeId


@pytest.mark.parametrize(
    ("text", "trust_domain", "path"),
    [
        ("spiffe://prod/agent/finance-analyst", "prod", "/agent/finance-analyst"),
        ("spiffe://td/a", "td", "/a"),
        ("spiffe://td/.hidden/a_b-c.d", "td", "/.hidden/a_b-c.d"),
        ("spiffe://td/Mixed/Case", "td", "/Mixed/Case"),
        ("spiffe://td/...", "td", "/..."),
        ("spiffe://a_b-c.d0/x", "a_b-c.d0", "/x"),
        ("spiffe://10.0.0.1/x", "10.0.0.1", "/x"),
        ("spiffe://" + "d" * 255 + "/x", "d" * 255, "/x"),
        ("spiffe://td/" + "x" * 2036, "td", "/" + "x" * 2036),
    ],
)
def test_id_2_what_the_standard_allows_is_accepted(text: str, trust_domain: str, path: str) -> None:
    """SPIFFE-ID §2, catalogue ID-2: the characters, the case and the length that must be supported."""
    parsed = SpiffeId.parse(text)

    assert (parsed.trust_domain, parsed.path, str(parsed)) == (trust_domain, path, text)


@pytest.mark.parametrize(
    "text",
    [
        "spiffe:///a",
        "spiffe://td:8080/a",
        "spiffe://u@td/a",
        "spiffe://td/a?x=1",
        "spiffe://td/a#f",
        "spiffe://td/%41",
        "spiffe://td//b",
        "spiffe://td/a//b",
        "spiffe://td/a/./b",
        "spiffe://td/a/../b",
        "spiffe://td/..",
        "spiffe://td/a/",
        "spiffe://td/a!b",
        "spiffe://t$d/a",
        # our own: no workload without a path, and nothing that only looks like a name
        "spiffe://td",
        "spiffe://td/",
        "spiffe://TD/a",
        "SPIFFE://td/a",
        "spiffe:/td/a",
        "https://td/a",
        " spiffe://td/a",
        "spiffe://td/a ",
        "spiffe://td/a\n",
        "spiffe://td\n/a",
        "spiffe://td/a\x00",
        "spiffe://td/a\tb",
        "spiffe://td/\u0430",
        "spiffe://td/a\u200b",
        "spiffe://t\u0501/a",
        "spiffe://td/\uff41",
        "spiffe://" + "d" * 256 + "/x",
        "spiffe://td/" + "x" * 2037,
        "",
    ],
)
def test_id_1_what_the_standard_does_not_allow_is_refused(text: str) -> None:
    """SPIFFE-ID §2, catalogue ID-1, and the newline of identity.md A3 that made a second identity of one."""
    assert SpiffeId.parse("spiffe://td/a").path == "/a"

    with pytest.raises(ValueError, match="not a SPIFFE ID"):
        SpiffeId.parse(text)


@given(st.text() | st.from_regex(r"\Aspiffe://[a-z.]{1,9}(/[A-Za-z.]{1,5}){1,3}\Z").map(str))
def test_what_is_accepted_has_one_spelling_and_no_surprise(text: str) -> None:
    """SPIFFE-ID §2.1 and §2.2: an accepted ID is printable ASCII, has no empty or dot segment, and parses to itself."""
    try:
        parsed = SpiffeId.parse(text)
    except ValueError:
        return

    assert str(parsed) == text
    assert text.isascii()
    assert text.isprintable()
    assert not {"", ".", ".."} & set(parsed.path.split("/")[1:])
