import asyncio
import json
import time
from typing import Any
from unittest.mock import Mock

import anyio
import pytest

from broker.audit import timestamp
from broker.egress import HeaderSecret, Secret
from broker.errors import AuditUnavailable, GrantUnavailable, UpstreamFailed
from broker.oauth import Token
from broker.store import Store
from broker.testing.salesforce import Answer, Delay, SalesforceService
from broker.vault import Service, Vault
from broker.vault.matcher import Needles
from broker.vault.tokens import Issued
from tests.support.low_salesforce import CONNECTOR, grant_of

pytestmark = pytest.mark.anyio

ACTOR = {"user": "ada"}


@pytest.fixture
async def connected(vault: Vault, salesforce: SalesforceService) -> Vault:
    """Connect an account."""
    await vault.add(CONNECTOR, grant_of(salesforce), ACTOR)
    return vault


async def test_however_many_calls_wait_one_token_is_issued(
    connected: Vault, salesforce: SalesforceService, service: Service
) -> None:
    """credentials.md B3: single flight; two hundred calls at once are one request to the token endpoint."""
    before = salesforce.token_requests

    headers = await asyncio.gather(*(connected.open(service).header() for _ in range(200)))

    assert salesforce.token_requests == before + 1
    assert len({header.reveal() for header in headers}) == 1


async def test_however_many_calls_meet_an_expired_token_it_is_renewed_once(
    connected: Vault, salesforce: SalesforceService, service: Service
) -> None:
    """credentials.md B3.2: whoever comes second finds another token than the one refused, and takes it."""
    opened = [connected.open(service) for _ in range(200)]
    spent = (await asyncio.gather(*(credential.header() for credential in opened)))[0]
    before = salesforce.token_requests

    await asyncio.gather(*(credential.renew(spent) for credential in opened[:150]))
    await asyncio.gather(*(credential.renew(spent) for credential in opened[150:]))
    renewed = await asyncio.gather(*(credential.header() for credential in opened))

    assert salesforce.token_requests == before + 1
    assert {header.reveal() for header in renewed} == {f"Bearer {salesforce.tokens_issued[-1]}"}
    assert renewed[0] != spent


async def test_however_many_calls_wait_a_failure_is_asked_for_once(
    connected: Vault, salesforce: SalesforceService, service: Service
) -> None:
    """credentials.md B3.5: a service that is down is not asked two hundred times in a row; the next call asks again."""
    salesforce.faults.add(Answer(path="/oauth2/token", status=503))
    before = salesforce.token_requests

    ended = await asyncio.gather(*(connected.open(service).header() for _ in range(200)), return_exceptions=True)
    again = await connected.open(service).header()

    assert {type(end) for end in ended} == {UpstreamFailed}
    assert len({id(end) for end in ended}) == 200
    assert salesforce.token_requests == before + 2
    assert again.reveal() == f"Bearer {salesforce.tokens_issued[-1]}"


async def test_a_call_that_stops_waiting_stops_nobody_else(
    connected: Vault, salesforce: SalesforceService, service: Service
) -> None:
    """architecture.md, The way of one call: one call's cancellation is not another's failure."""
    salesforce.faults.add(Delay(path="/oauth2/token", seconds=0.2))
    before = salesforce.token_requests
    calls = [asyncio.create_task(connected.open(service).header()) for _ in range(3)]
    await asyncio.sleep(0)

    calls[0].cancel()

    with anyio.fail_after(30):
        ended = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(end) for end in ended] == [asyncio.CancelledError, HeaderSecret, HeaderSecret]
    assert salesforce.token_requests == before + 1


async def test_a_token_that_is_being_issued_while_its_grant_is_revoked_is_revoked_too(
    connected: Vault, salesforce: SalesforceService, service: Service
) -> None:
    """vault: nothing is issued after a revocation, and what was under way is neither used nor left alive."""
    salesforce.faults.add(Delay(path="/oauth2/token", seconds=0.2))
    grant = connected.find(CONNECTOR)
    call = asyncio.create_task(connected.open(service).header())
    await asyncio.sleep(0)

    with anyio.fail_after(30):
        await connected.revoke(grant.id, service, ACTOR)
        with pytest.raises(GrantUnavailable):
            await call

    assert [request.path for request in salesforce.requests[-2:]] == [
        "/services/oauth2/token",
        "/services/oauth2/revoke",
    ]


async def test_another_place_gets_another_token(
    connected: Vault, salesforce: SalesforceService, service: Service
) -> None:
    """vault: a token is kept for the endpoint and audience that it came from; changed documents start afresh."""
    before = salesforce.token_requests
    other = Service(
        **{**{name: getattr(service, name) for name in Service.__slots__}, "audience": "https://login.salesforce.com"}
    )

    first, second, third = [await connected.open(place).header() for place in (service, other, service)]

    assert first == third != second
    assert salesforce.token_requests == before + 2


async def test_every_token_is_on_record_once_with_nothing_of_its_secret(
    connected: Vault, store: Store, salesforce: SalesforceService, service: Service
) -> None:
    """Issue 3, What must be true: grants refreshed are in the trail, once for each token that is issued."""
    await asyncio.gather(*(connected.open(service).header() for _ in range(200)))
    spent = await connected.open(service).header()
    await connected.open(service).renew(spent)
    used = connected.open(service)
    await used.header()

    first, second = issuings(store)

    assert second["fingerprint"] == (used.record() or {})["fingerprint"] != first["fingerprint"]
    assert second["actor"] == {"service": CONNECTOR}
    assert second["grant"]["id"] == connected.find(CONNECTOR).id
    assert (second["scopes"], second["expires_at"]) == (list((used.record() or {})["scopes"]), None)
    assert not any(token in json.dumps([first, second]) for token in salesforce.tokens_issued)


async def test_the_end_of_a_token_is_on_record_where_the_service_says_it(
    connected: Vault, store: Store, salesforce: SalesforceService, service: Service
) -> None:
    """Issue 3, What must be true: an auditor sees how long a credential could have been used."""
    answer = {"access_token": "x" * 40, "token_type": "Bearer", "expires_in": 600}
    salesforce.faults.add(Answer(path="/oauth2/token", status=200, body=answer))
    before = timestamp(time.time() + 590)

    await connected.open(service).header()

    (record,) = issuings(store)
    assert before < record["expires_at"] < timestamp(time.time() + 610)


async def test_a_token_that_cannot_be_recorded_is_not_used(
    connected: Vault, store: Store, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """architecture.md, Recording surrounds the call: what cannot be recorded is not done; the next call asks again."""
    with monkeypatch.context() as failing:
        failing.setattr(store.trail, "append", Mock(side_effect=AuditUnavailable))
        with pytest.raises(AuditUnavailable):
            await connected.open(service).header()
    kept = dict(connected._tokens._issued)

    await connected.open(service).header()

    assert kept == {}
    assert len(issuings(store)) == 1


def issuings(store: Store) -> list[dict[str, Any]]:
    """Return the records of tokens that were issued."""
    with store.reading() as connection:
        records = [json.loads(body) for body in store.trail.bodies(connection, 0, 10_000)]
    return [record for record in records if record["kind"] == "token_issued"]


def issued(lives: float | None, age: float) -> Issued:
    """Make a token that lives so many seconds and is so old."""
    now = time.time() - age
    token = Token(Secret("x" * 20), None, (), now, None if lives is None else now + lives)
    return Issued(token, HeaderSecret("Bearer " + "x" * 20), "f", Needles(()))


@pytest.mark.parametrize(
    ("lives", "age", "spent"),
    [
        (None, 1e6, False),
        (3600, 0, False),
        (3600, 3530, False),
        (3600, 3541, True),
        (3600, 3700, True),
        (30, 0, False),
        (30, 26, False),
        (30, 28, True),
    ],
)
async def test_a_token_is_renewed_shortly_before_its_end_and_not_all_the_time(
    lives: float | None, age: float, spent: Any
) -> None:
    """credentials.md B3.6: early when the end is known; a token that lives for half a minute is still used."""
    assert issued(lives, age).is_spent(None) is spent


async def test_a_token_that_was_refused_is_spent_and_another_refused_one_is_not_it() -> None:
    """credentials.md B3.2: which token was refused is known by its value."""
    token = issued(3600, 0)

    assert token.is_spent(Secret("Bearer " + "x" * 20))
    assert not token.is_spent(Secret("Bearer other"))
