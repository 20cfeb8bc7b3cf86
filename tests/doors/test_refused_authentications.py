from typing import Any

import anyio
import pytest
import requests

from broker.doors.entrance import RefusedAuthentications
from broker.errors import AgentSuspended, AuditUnavailable, ProofExpired, ProofMalformed, Refusal
from broker.identity import WorkloadIdentity
from tests.conftest import Serve
from tests.support.broker import locked, until
from tests.support.clients import Wire


class Notes:
    """What has been recorded, by something that may fail as the store may."""

    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = []
        self.failing = False

    async def note(self, kind: str, **facts: Any) -> None:
        """Record, or refuse to."""
        if self.failing:
            raise AuditUnavailable
        self.records.append({"kind": kind, **facts})

    def counted(self) -> int:
        """Return how many refusals the records speak of."""
        return sum(record["outcome"]["count"] for record in self.records)


def count(refused: RefusedAuthentications, *sources: str, refusal: Refusal | None = None) -> None:
    """Count one refusal from each source."""

    async def case() -> None:
        for source in sources:
            await refused.count("sse", source, refusal or ProofExpired())

    anyio.run(case)


def test_the_first_of_a_kind_is_recorded_at_once_and_repeats_as_a_count() -> None:
    """Issue 2, Identity: the first per source and reason at once, repeats as counts."""
    notes = Notes()
    refused = RefusedAuthentications(notes.note)

    count(refused, *["192.0.2.1"] * 500, "192.0.2.2")
    at_once = len(notes.records)
    count(refused, "192.0.2.1", refusal=ProofMalformed(detail="no dots"))
    anyio.run(refused.flush)

    assert at_once == 2
    assert [record["outcome"]["count"] for record in notes.records] == [1, 1, 1, 499]
    assert notes.records[2]["outcome"] == {"code": "proof_malformed", "count": 1, "detail": "no dots"}


def test_a_flood_from_everywhere_makes_few_records_and_none_is_forgotten() -> None:
    """Issue 2, Identity: a stranger cannot fill the disk."""
    notes = Notes()
    refused = RefusedAuthentications(notes.note)

    count(refused, *(f"192.0.{high}.{low}" for high in range(40) for low in range(250)))
    anyio.run(refused.flush)

    assert len(notes.records) < 100
    assert notes.counted() == 10_000


@pytest.mark.parametrize(
    ("sources", "place"),
    [
        ([f"2001:db8:1:2::{low:x}" for low in range(1, 100)], "2001:db8:1:2::/64"),
        ([f"127.0.{low}.1" for low in range(100)], "loopback"),
        (["::1", "127.0.0.1", "::ffff:127.0.0.9"], "loopback"),
        (["::ffff:192.0.2.7", "192.0.2.7"], "192.0.2.7"),
        (["fe80::1%eth0", "fe80::2%eth1"], "fe80::/64"),
        (["uid:1000"], "uid:1000"),
    ],
)
def test_whoever_has_many_addresses_is_one_source(sources: list[str], place: str) -> None:
    """An IPv6 user has a /64 and a local one all of 127/8; one record each, whatever address is used."""
    notes = Notes()

    count(RefusedAuthentications(notes.note), *sources)

    assert [record["origin"]["source"] for record in notes.records] == [place]


def test_each_barred_agent_is_named() -> None:
    """A workload that has proved itself is known: its refusals are its own, wherever they come from."""
    notes = Notes()
    refused = RefusedAuthentications(notes.note)

    async def case() -> None:
        for name in ("a", "b", "a"):
            identity = WorkloadIdentity(f"spiffe://prod/agent/{name}", "prod", "jwt-svid", "attested", "sha256:0")
            await refused.count("sse", "192.0.2.1", AgentSuspended(), identity)

    anyio.run(case)

    assert [record["identity"]["spiffe_id"] for record in notes.records] == [
        "spiffe://prod/agent/a",
        "spiffe://prod/agent/b",
    ]


def test_a_store_that_fails_stops_nobody_and_loses_no_count() -> None:
    """Issue 2, Identity: a stranger cannot stop the broker; what could not be recorded is counted for the next time."""
    notes = Notes()
    refused = RefusedAuthentications(notes.note)

    notes.failing = True
    count(refused, *(f"192.0.2.{low}" for low in range(1, 101)), *["192.0.2.1"] * 50)
    anyio.run(refused.flush)
    bounded = len(refused._repeats)
    notes.failing = False
    anyio.run(refused.flush)

    assert bounded <= 100
    assert notes.counted() == 150


def test_refused_tokens_are_in_the_trail_without_themselves(serve: Serve) -> None:
    """Issue 2, Identity: refused authentication is on record; the token that was refused is not."""
    broker = serve()
    token = broker.token(seconds=-5)

    for _ in range(3):
        requests.post(f"{broker.url}/mcp", headers={"Authorization": f"Bearer {token}"}, timeout=60)
    broker.await_(broker.parts.refused.flush)

    records = broker.records(kind="authentication_refused")
    assert [(record["outcome"]["code"], record["outcome"]["count"]) for record in records] == [
        ("proof_expired", 1),
        ("proof_expired", 2),
    ]
    assert token not in repr(records)
    assert token.split(".")[2] not in repr(records)


def test_without_a_store_a_refusal_is_still_a_refusal(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """Issue 2, Identity: neither the stranger nor the trouble with the store changes the answer."""
    monkeypatch.setattr("broker.store._BUSY_SECONDS", 0.05)
    broker = serve()

    with locked(broker.written.directory / "data/broker.db"):
        response = requests.post(f"{broker.url}/mcp", timeout=60)

    assert response.status_code == 401
    until(lambda: broker.parts.trouble() is None)
    assert Wire(broker).tools()
