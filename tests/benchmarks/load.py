"""Callers: so many at once, for so many calls, and how long each took."""

import asyncio
import json
import ssl
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import aiohttp
import requests
from simple_salesforce import Salesforce

_META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": {"name": "bench", "version": "1"},
}


@dataclass(frozen=True, slots=True)
class Measured:
    """How one load went: calls a second, and milliseconds."""

    rate: float
    median: float
    worst_percent: float

    @classmethod
    def of(cls, seconds: list[float], elapsed: float) -> "Measured":
        """Sum up."""
        ordered = sorted(seconds)
        at = len(ordered) * 99 // 100
        return cls(len(ordered) / elapsed, ordered[len(ordered) // 2] * 1000, ordered[at] * 1000)


async def measure(call: Callable[[], Awaitable[None]], callers: int, count: int) -> Measured:
    """Have `callers` make `count` calls between them, after a tenth as many to warm up."""
    seconds: list[float] = []
    for total in (max(count // 10, callers), count):
        seconds.clear()
        left = iter(range(total))

        async def caller(left: Any = left) -> None:
            for _ in left:
                began = time.perf_counter()
                await call()
                seconds.append(time.perf_counter() - began)

        began = time.perf_counter()
        await asyncio.gather(*(caller() for _ in range(callers)))
        elapsed = time.perf_counter() - began
    return Measured.of(seconds, elapsed)


async def measure_mcp(url: str, token: str | None, tool: str, arguments: Any, callers: int, count: int) -> Measured:
    """Call a tool on the 2026-07-28 wire."""
    body = json.dumps(
        {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "tools/call",
            "params": {"name": tool, "arguments": arguments, "_meta": _META},
        }
    ).encode()
    headers = {
        "Content-Type": "application/json",
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": "2026-07-28",
        "Mcp-Method": "tools/call",
        "Mcp-Name": tool,
    }
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def call() -> None:
            async with session.post(url, data=body, headers=headers) as response:
                answer = await response.json()
                if answer.get("error") or answer["result"].get("isError"):
                    raise RuntimeError(answer)

        return await measure(call, callers, count)


async def measure_direct(url: str, authority: str, callers: int, count: int) -> Measured:
    """Call the small service itself, with the client that egress uses."""
    tls = ssl.create_default_context(cafile=authority)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, ssl=tls)) as session:

        async def call() -> None:
            async with session.get(url, headers={"Authorization": "Bearer " + "a" * 96}) as response:
                await response.json()

        return await measure(call, callers, count)


def measure_simple_salesforce(url: str, authority: str, token: str, record: str, callers: int, count: int) -> Measured:
    """Read one account with simple-salesforce itself, in as many threads as there are callers."""
    session = requests.Session()
    session.trust_env, session.verify = False, authority
    session.mount("https://", requests.adapters.HTTPAdapter(pool_maxsize=callers))
    account: Any = Salesforce(instance_url=url, session_id=token, session=session).Account
    seconds: list[float] = []

    def call(_: int) -> None:
        began = time.perf_counter()
        account.get(record)
        seconds.append(time.perf_counter() - began)

    with ThreadPoolExecutor(callers) as pool:
        list(pool.map(call, range(max(count // 10, callers))))
        seconds.clear()
        began = time.perf_counter()
        list(pool.map(call, range(count)))
        elapsed = time.perf_counter() - began
    return Measured.of(seconds, elapsed)
