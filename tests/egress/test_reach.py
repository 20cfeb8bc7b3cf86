from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.egress import Reach, origin
from broker.errors import EgressDenied

REACH = Reach(frozenset({"api.example.com", "api.example.com:8443", "*.my.example.com", "203.0.113.7:1"}))


@pytest.mark.parametrize(
    "url",
    [
        "https://api.example.com",
        "https://api.example.com/",
        "https://API.Example.COM/services?q=1#part",
        "https://api.example.com:443/a",
        "https://api.example.com:8443/a",
        "https://acme.my.example.com/a",
        "https://acme.sandbox.my.example.com/a",
        "https://api.example.com/a%20b/...",
        "https://api.example.com/a..b/.hidden",
    ],
)
def test_a_named_host_may_be_called(url: str) -> None:
    """architecture.md, The rooms: egress owns the allowed hosts; the positive control of the refusals below."""
    target = REACH.check_url(url)

    assert target.scheme == "https"
    assert target.raw_host == str(target.raw_host).lower()


@pytest.mark.parametrize(
    "url",
    [
        "http://api.example.com/",
        "ftp://api.example.com/",
        "//api.example.com/",
        "api.example.com",
        "https:api.example.com/",
        "https:///path",
        "https://",
        "",
        "https://api.example.com:444/",
        "https://api.example.com:0/",
        "https://api.example.com:99999/",
        "https://api.example.com:port/",
        "https://api.example.com.evil.net/",
        "https://api.example.com./",
        "https://evilapi.example.com/",
        "https://example.com/",
        "https://my.example.com/",
        "https://.my.example.com/",
        "https://notmy.example.com/",
        "https://acme.my.example.com:8443/",
        "https://api.example.com@evil.net/",
        "https://evil.net@api.example.com/",
        "https://user:password@api.example.com/",
        "https://:@api.example.com/",
        "https://@api.example.com/",
        "https://evil.net#@api.example.com/",
        "https://evil.net\\@api.example.com/",
        "https://api.example.com\\.evil.net/",
        "https://api.example.com\t/",
        "https://api.exam\nple.com/",
        "https://api.example.com/a b",
        "https://api.example.com/a\r\nHost: evil.net",
        "https://api.example.com/\x00",
        "https://api.example.com/caf\u00e9",
        "https://\u0430pi.example.com/",
        "https://api.example\u3002com/",
        "https://[api.example.com/",
        "https://[::1]/",
        "https://127.0.0.1/",
    ],
)
def test_any_other_place_is_refused(url: str) -> None:
    """architecture.md, The rooms: hosts are pinned; another scheme, port, host, user info or reading is refused."""
    with pytest.raises(EgressDenied):
        REACH.check_url(url)


@pytest.mark.parametrize(
    "path",
    [
        "/a/../b",
        "/..",
        "/a/./b",
        "/%2e%2e/b",
        "/a/%2E./b",
        "/a/..%2fb",
        "/a%2f..%2fb",
        "/a/..%5cb",
        "/a/..;x=1/b",
    ],
)
def test_a_path_that_climbs_is_refused_however_it_is_spelled(path: str) -> None:
    """architecture.md, Connectors: '.' and '..' segments are refused (CVE-2026-32871)."""
    REACH.check_url("https://api.example.com/a/b")

    with pytest.raises(EgressDenied):
        REACH.check_url(f"https://api.example.com{path}")


OWN = Reach(
    frozenset({"127.0.0.1:11434", "api.example.com", "10.0.0.1:80"}), (ip_network("127.0.0.0/8"),), plain_http=True
)


def test_an_address_of_this_machine_may_be_called_without_tls_if_that_is_said() -> None:
    """decisions/0116: a model's server on this machine speaks plain HTTP, and its document says that it may."""
    assert OWN.check_url("http://127.0.0.1:11434/v1").port == 11434
    assert origin("http://127.0.0.1:11434/v1") == "http://127.0.0.1:11434"
    with pytest.raises(EgressDenied):
        replace(OWN, plain_http=False).check_url("http://127.0.0.1:11434/v1")
    with pytest.raises(EgressDenied):
        replace(OWN, private=()).check_url("http://127.0.0.1:11434/v1")


@pytest.mark.parametrize(
    "url",
    [
        "http://api.example.com/",
        "http://api.example.com:443/",
        "http://10.0.0.1/",
        "http://localhost:11434/",
        "http://127.0.0.1:11435/",
        "http://127.0.0.1/",
        "http://127.0.0.2:11434/",
        "http://127.1:11434/",
        "http://127.0.0.01:11434/",
        "http://0177.0.0.1:11434/",
        "http://2130706433:11434/",
        "http://127.0.0.1.evil.net:11434/",
        "http://127.0.0.1:11434@evil.net/",
        "http://evil.net@127.0.0.1:11434/",
        "http://[::1]:11434/",
        "http://[::ffff:127.0.0.1]:11434/",
        "HTTP://api.example.com/",
        "ws://127.0.0.1:11434/",
    ],
)
def test_nothing_else_is_called_without_tls(url: str) -> None:
    """decisions/0116: neither a name, which others decide, nor an address of another machine."""
    with pytest.raises(EgressDenied):
        OWN.check_url(url)


def test_an_empty_reach_reaches_nothing() -> None:
    """house-style.md: absent means less."""
    with pytest.raises(EgressDenied):
        Reach(frozenset()).check_url("https://api.example.com/")


@pytest.mark.parametrize("host", ["", ":443", "*", "*.", "host:port", "::1", "a\nb"])
def test_a_host_that_is_none_matches_nothing_and_breaks_nothing(host: str) -> None:
    """house-style.md: absent means less; a mistake in a document is no exception in a call."""
    with pytest.raises(EgressDenied):
        Reach(frozenset({host})).check_url("https://api.example.com/")


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",  # noqa: S104 - an address, not a listener
        "224.0.0.1",
        "255.255.255.255",
        "240.0.0.1",
        "198.18.0.1",
        "::",
        "::1",
        "fe80::1",
        "fc00::1",
        "fec0::1",
        "ff02::1",
        "ff0e::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::127.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::7f00:1",
        "2002:7f00:1::",
        "2002:a00:1::1",
        "2001::1",
        "2001:db8::1",
        "100::1",
        "5f00::1",
    ],
)
def test_an_address_that_is_not_public_is_refused_however_it_is_wrapped(address: str) -> None:
    """credentials.md B6: private, link-local and shared ranges are denied unless the connector says so."""
    with pytest.raises(EgressDenied):
        REACH.check_address(ip_address(address))


@pytest.mark.parametrize(
    "address", ["93.184.216.34", "2606:4700::1111", "::ffff:93.184.216.34", "64:ff9b::5db8:d822", "2002:5db8:d822::"]
)
def test_a_public_address_is_allowed_however_it_is_wrapped(address: str) -> None:
    """architecture.md, The rooms: what is refused are private ranges; the positive control of the list above."""
    REACH.check_address(ip_address(address))


def test_a_private_range_is_open_once_it_is_named_and_only_it() -> None:
    """Issue 2, Egress: private ranges are refused unless named; a wrapped address is the address that it wraps."""
    reach = Reach(REACH.hosts, (ip_network("10.1.0.0/16"), ip_network("fd00:1::/32")))

    for named in ("10.1.2.3", "::ffff:10.1.2.3", "64:ff9b::a01:203", "fd00:1::5"):
        reach.check_address(ip_address(named))

    for other in ("10.2.0.1", "127.0.0.1", "fd00:2::5", "::1"):
        with pytest.raises(EgressDenied):
            reach.check_address(ip_address(other))


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "[::ffff:7f00:1]", "127.1", "2130706433", "1.2.3.4.5"])
def test_a_literal_address_is_checked_even_when_it_is_named_as_a_host(host: str) -> None:
    """credentials.md B6: naming a host opens no private range, and a literal meets no resolver, however written."""
    with pytest.raises(EgressDenied):
        Reach(frozenset({f"{host}:8443"})).check_url(f"https://{host}:8443/")


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_a_literal_address_may_be_called_once_its_range_is_named_too(host: str) -> None:
    """The positive control of the test above."""
    reach = Reach(frozenset({f"{host}:8443"}), (ip_network("127.0.0.0/8"), ip_network("::1/128")))

    assert reach.check_url(f"https://{host}:8443/").port == 8443


def test_an_origin_has_one_spelling() -> None:
    """RFC 6454 §4: scheme, host and port; a session and a token are pinned to it."""
    spellings = ("https://a.example", "https://A.example:443/x?y", "https://a.example:443")

    assert {origin(url) for url in spellings} == {"https://a.example:443"}
    assert origin("https://a.example:8443") != origin("https://a.example")
    assert origin("https://[::1]:8443/x") == "https://[::1]:8443"


@given(st.text(max_size=60) | st.text(max_size=40).map("https://api.example.com/{}".format))
def test_no_text_is_anything_but_allowed_or_refused(url: str) -> None:
    """errors.py: a refusal has a code; a URL is never an exception of a parser's."""
    try:
        target = REACH.check_url(url)
    except EgressDenied:
        return

    assert REACH.names(str(target.raw_host), int(target.port or 0))
