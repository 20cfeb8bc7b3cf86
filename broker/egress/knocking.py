"""Whether a service can be reached at all: each step of a connection by itself, and nothing sent."""

import asyncio
import contextlib
import ipaddress
import ssl
from typing import Literal

from broker.egress.client import Client
from broker.egress.reach import CheckedResolver
from broker.errors import EgressDenied, UpstreamUnreachable

Step = Literal["dns", "address", "connect", "tls"]


async def knock(client: Client, url: str) -> tuple[Step, ...]:
    """Connect as for a request, hang up, and return the steps that were gone through.

    Raises `EgressDenied` or `UpstreamUnreachable`, whose fact `step` says which of them failed.
    """
    target = client.reach.check_url(url)
    host, port, seconds = target.raw_host or "", target.port or 443, client.limits.connect_seconds
    async with contextlib.AsyncExitStack() as stack:
        address = await _resolved(client, host, port)
        try:
            async with asyncio.timeout(seconds):
                _, writer = await asyncio.open_connection(address, port)
        except (OSError, TimeoutError) as error:
            raise UpstreamUnreachable(detail=f"{host}:{port}: {_said(error)}", step="connect") from None
        stack.callback(writer.transport.abort)
        if target.scheme == "http":
            return "dns", "address", "connect"
        try:
            async with asyncio.timeout(seconds):
                await writer.start_tls(client.tls, server_hostname=host)
        except (OSError, TimeoutError) as error:
            raise UpstreamUnreachable(detail=f"{host}:{port}: {_said(error)}", step="tls") from None
    return "dns", "address", "connect", "tls"


async def _resolved(client: Client, host: str, port: int) -> str:
    """Return an address of the host, all of whose addresses may be connected to."""
    with contextlib.suppress(ValueError):
        return str(ipaddress.ip_address(host))  # it has been checked with the URL
    resolver = CheckedResolver(client.reach)
    try:
        async with asyncio.timeout(client.limits.connect_seconds):
            found = await resolver.resolve(host, port)
    except EgressDenied as denied:
        raise EgressDenied(denied.message, detail=denied.detail, step="address") from None
    except (OSError, TimeoutError) as error:
        raise UpstreamUnreachable(detail=f"{host}: {_said(error)}", step="dns") from None
    finally:
        await resolver.close()
    return str(found[0]["host"])


def _said(error: Exception) -> str:
    """Say what the system or OpenSSL says; nothing of it comes from the service."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return str(error.verify_message)
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, ssl.SSLError):
        return str(error.reason or "the handshake failed")
    return str(error.strerror or type(error).__name__) if isinstance(error, OSError) else type(error).__name__
