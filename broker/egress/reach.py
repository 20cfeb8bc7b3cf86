"""Where a connector's calls may go: host names, and the addresses that those names may stand for."""

import functools
import ipaddress
import socket
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from aiohttp import ThreadedResolver
from aiohttp.abc import AbstractResolver, ResolveResult

from broker.errors import EgressDenied

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052 §2.1


@dataclass(frozen=True, slots=True)
class Reach:
    """The hosts that may be called (`host`, `host:port`, `*.domain`) and the private ranges that they may resolve to.

    An empty `hosts` reaches nothing. Private, loopback, link-local, shared and multicast addresses are refused unless
    one of `private` holds them.
    """

    hosts: frozenset[str]
    private: tuple[Network, ...] = ()

    def check_url(self, url: str) -> None:
        """Return if the URL may be called; raise `EgressDenied` otherwise. Host names are resolved later."""
        parts = urlsplit(url)
        _check_origin(self, parts.scheme, parts.netloc)
        if any(unquote(segment) in {".", ".."} for segment in parts.path.split("/")):
            raise EgressDenied(detail="the path climbs")

    def check_address(self, address: Address) -> None:
        """Return if the address may be connected to; raise `EgressDenied` otherwise."""
        plain = _unwrapped(address)
        if any(plain.version == network.version and plain in network for network in self.private):
            return
        if not plain.is_global or plain.is_multicast:
            raise EgressDenied(detail=f"{plain} is not a public address and not among the connector's private ranges")

    def names(self, host: str, port: int) -> bool:
        """Tell whether a host and port are among the hosts."""
        for allowed in self.hosts:
            name, _, wanted = allowed.partition(":")
            if int(wanted or 443) != port:
                continue
            if host == name or (name.startswith("*.") and host.endswith(name[1:]) and host != name[2:]):
                return True
        return False


@functools.lru_cache(maxsize=1024)
def _check_origin(reach: Reach, scheme: str, netloc: str) -> None:
    parts = urlsplit(f"{scheme}://{netloc}")
    if parts.scheme != "https":
        raise EgressDenied(detail=f"only https leaves the broker, not {parts.scheme!r}")
    if parts.username is not None or parts.password is not None or not parts.hostname:
        raise EgressDenied(detail="the URL names no plain host")
    if not reach.names(parts.hostname, parts.port or 443):
        raise EgressDenied(detail=f"{netloc} is not among the connector's hosts")
    if address := _literal(parts.hostname):
        reach.check_address(address)


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


def _literal(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _unwrapped(address: Address) -> Address:
    """Return the IPv4 address inside an IPv6 one that only wraps it, so that a wrapper hides nothing."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address
