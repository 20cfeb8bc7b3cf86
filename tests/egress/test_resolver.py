import asyncio
import socket
from collections.abc import Callable
from ipaddress import ip_network
from typing import Any

import pytest

from broker.egress import Reach
from broker.egress.reach import CheckedResolver
from broker.errors import EgressDenied

pytestmark = pytest.mark.anyio

Answer = Callable[..., None]


@pytest.fixture
async def answers(monkeypatch: pytest.MonkeyPatch) -> Answer:
    """Let the resolver answer with these addresses, whatever the name."""

    def answer(*addresses: str) -> None:
        async def getaddrinfo(_host: str, port: int, **_: Any) -> list[Any]:
            return [
                (
                    (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (address, port, 0, 2 if "%" in address else 0))
                    if ":" in address
                    else (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
                )
                for address in addresses
            ]

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)

    return answer


async def test_a_name_may_stand_for_public_addresses(answers: Answer) -> None:
    """architecture.md, The rooms: names are resolved by egress; the positive control of the refusals below."""
    answers("93.184.216.34", "2606:4700::1111")

    found = await CheckedResolver(Reach(frozenset())).resolve("api.example.com", 443)

    assert [result["host"] for result in found] == ["93.184.216.34", "2606:4700::1111"]


@pytest.mark.parametrize("bad", ["127.0.0.1", "169.254.169.254", "::1", "::ffff:10.0.0.1", "fec0::1"])
async def test_one_forbidden_answer_condemns_the_name(answers: Answer, bad: str) -> None:
    """credentials.md B6: resolve, then connect; whoever answers for the name cannot smuggle one address in."""
    answers("93.184.216.34", bad)

    with pytest.raises(EgressDenied):
        await CheckedResolver(Reach(frozenset())).resolve("api.example.com", 443)


async def test_a_name_may_stand_for_a_private_range_that_is_named(answers: Answer) -> None:
    """Issue 2, Egress: private ranges are refused unless named."""
    answers("10.1.2.3")
    resolver = CheckedResolver(Reach(frozenset(), (ip_network("10.1.0.0/16"),)))

    found = await resolver.resolve("api.example.com", 443)

    assert [result["host"] for result in found] == ["10.1.2.3"]


async def test_loopback_has_two_names_for_one_thing(answers: Answer) -> None:
    """Issue 2, Egress: 'localhost' is ::1 too, and naming 127.0.0.0/8 alone does not open it."""
    answers("127.0.0.1", "::1")
    resolver = CheckedResolver(Reach(frozenset(), (ip_network("127.0.0.0/8"),)))

    with pytest.raises(EgressDenied):
        await resolver.resolve("localhost", 443)
