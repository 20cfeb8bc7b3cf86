"""Where a connector's calls may go: host names, and the addresses that those names may stand for."""

import functools
import ipaddress
import re
import socket
from dataclasses import dataclass
from urllib.parse import unquote

from aiohttp import ThreadedResolver
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from broker.errors import EgressDenied

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052 §2.1
_PUBLIC_IPV6 = ipaddress.IPv6Network("2000::/3")  # RFC 4291 §2.4: all the unicast space that has been given out
_HOST_AND_PORT = re.compile(r"(.*?)(?::([0-9]{1,5}))?", re.DOTALL)
_OF_THIS_MACHINE = re.compile(r"127(\.(0|[1-9][0-9]{0,2})){3}")  # 127.0.0.0/8, RFC 1122 §3.2.1.3, in its one spelling
_HTTPS_PORT = 443
_MOST_DECODINGS = 6
_SHORT = 200  # characters of a URL: those that are called again and again are shorter


@dataclass(frozen=True, slots=True)
class Reach:
    """The hosts that may be called (`host`, `host:port`, `*.domain`) and the private ranges that they may resolve to.

    An empty `hosts` reaches nothing. Private, loopback, link-local, shared and multicast addresses are refused unless
    one of `private` holds them. With `plain_http`, an address of this machine (127.0.0.0/8) may be called without TLS.
    """

    hosts: frozenset[str]
    private: tuple[Network, ...] = ()
    plain_http: bool = False

    def check_url(self, url: str) -> URL:
        """Return the URL as it is to be called; raise `EgressDenied` if it may not be. Names are resolved later."""
        target = parse_url(url)
        if target.scheme != "https" and not self.plain_http:
            raise EgressDenied(detail="only https leaves the broker, without 'reach.plain_http'")
        _check_place(self, target.raw_host or "", target.port or 0)
        if _path_climbs(target):
            raise EgressDenied(detail="the path climbs")
        return target

    def check_address(self, address: Address) -> None:
        """Return if the address may be connected to; raise `EgressDenied` otherwise."""
        plain = _unwrapped(address)
        if any(plain.version == network.version and plain in network for network in self.private):
            return
        given_out = plain.version == 4 or plain in _PUBLIC_IPV6  # noqa: PLR2004 - IP's version
        if not plain.is_global or plain.is_multicast or not given_out:
            raise EgressDenied(detail=f"{plain} is not a public address and not among the connector's private ranges")

    def names(self, host: str, port: int) -> bool:
        """Tell whether a host and port are among the hosts."""
        for allowed in self.hosts:
            name, wanted = _HOST_AND_PORT.fullmatch(allowed).groups()  # type: ignore[union-attr] # matches any text
            if int(wanted or _HTTPS_PORT) != port:
                continue
            if host == name.strip("[]") or (name.startswith("*.") and host.endswith(name[1:]) and host != name[1:]):
                return True
        return False


def parse_url(url: str) -> URL:
    """Parse a URL once, for every check and for the call itself, so that no two readings of it can differ.

    Raises `EgressDenied` for anything but plain `https://host[:port]/path?query`, or `http://` and an address of this
    machine: written as one, so that no name decides what is called without TLS.
    """
    return _remembered(url) if len(url) <= _SHORT else _parsed(url)


def _parsed(url: str) -> URL:
    if not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        raise EgressDenied(detail="a URL with characters that do not belong in one")
    try:
        target = URL(url, encoded=True)
        host, _ = target.raw_host, target.port  # read here: yarl takes a URL apart only when it is asked
    except ValueError:
        raise EgressDenied(detail="not a URL") from None
    if target.scheme != "https" and not (target.scheme == "http" and _OF_THIS_MACHINE.fullmatch(host or "")):
        raise EgressDenied(detail=f"only https leaves the broker, not {target.scheme!r}")
    if not host or "@" in target.raw_authority:
        raise EgressDenied(detail="the URL names no plain host")
    return target if host == host.lower() else target.with_host(host.lower())


_remembered = functools.lru_cache(maxsize=512)(_parsed)


def climbs(path: str) -> bool:
    """Tell whether a segment of a path is `.` or `..`.

    By any server's idea of where a segment ends, however often it decodes.
    """
    for _ in range(_MOST_DECODINGS):
        if any(segment.partition(";")[0] in {".", ".."} for segment in re.split(r"[/\\]", path)):
            return True
        decoded = unquote(path)
        if decoded == path:
            return False
        path = decoded
    return True  # encoded so many times over, it means nothing good


def origin(url: str) -> str:
    """Return the URL's origin (RFC 6454 §4) in one spelling; raise `EgressDenied` as `parse_url` does."""
    target = parse_url(url)
    return f"{target.scheme}://{target.host_subcomponent}:{target.port}"


@functools.lru_cache(maxsize=512)
def _short_climbs(path: str) -> bool:
    return climbs(unquote(path))


def _path_climbs(target: URL) -> bool:
    path = target.raw_path
    return _short_climbs(path) if len(path) <= _SHORT else climbs(unquote(path))


@functools.lru_cache(maxsize=1024)
def _check_place(reach: Reach, host: str, port: int) -> None:
    if not reach.names(host, port):
        raise EgressDenied(detail=f"{host}:{port} is not among the connector's hosts")
    if ":" in host or host.replace(".", "").isdigit():  # what aiohttp takes for an address never meets the resolver
        try:
            reach.check_address(ipaddress.ip_address(host))
        except ValueError:
            raise EgressDenied(detail=f"{host} is neither a name nor an address") from None


class CheckedResolver(AbstractResolver):
    """Resolves for one `Reach`; the addresses checked are the addresses connected to, so rebinding gains nothing."""

    def __init__(self, reach: Reach) -> None:
        self._reach = reach
        self._names = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Every address of the host must be allowed: one forbidden answer condemns the name."""
        found = await self._names.resolve(host, port, family)
        for result in found:
            self._reach.check_address(ipaddress.ip_address(result["host"].partition("%")[0]))
        return found

    async def close(self) -> None:
        """Let go of the resolver."""
        await self._names.close()


def _unwrapped(address: Address) -> Address:
    """Return the IPv4 address inside an IPv6 one that only wraps it, so that a wrapper hides nothing."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address
