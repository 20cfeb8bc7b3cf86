import asyncio
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from broker.egress import Secret
from broker.errors import AuditUnavailable, ReauthorizationNeeded, UpstreamFailed, UpstreamInterrupted
from broker.oauth import AuthorizationCodeGrant
from broker.store import Store
from broker.testing.salesforce import Answer, Lose, SalesforceService
from broker.vault import KeyEncryptionKey, Service, Vault
from broker.vault.tokens import Tokens
from tests.support.clock import Clock
from tests.support.consenting import consented
from tests.support.low_salesforce import CONNECTOR

pytestmark = pytest.mark.anyio

ACTOR = {"user": "ada"}


@pytest.fixture
def rotating(salesforce: SalesforceService) -> Iterator[SalesforceService]:
    """Have the service rotate refresh tokens, and revoke the old one at once."""
    salesforce.app.rotates_refresh_tokens = True
    yield salesforce
    salesforce.app.rotates_refresh_tokens = False


@pytest.fixture
async def connected(vault: Vault, rotating: SalesforceService) -> Vault:
    """Connect what somebody has consented to."""
    await vault.add(CONNECTOR, consented(rotating), ACTOR)
    return vault


def refresh_token(vault: Vault) -> str:
    """Return the refresh token that stands in the store."""
    kept = vault._grants.opened(next(iter(vault._grants.values())))
    assert isinstance(kept, AuthorizationCodeGrant)
    assert kept.refresh_token is not None
    return kept.refresh_token.reveal()


def records(store: Store) -> list[dict[str, Any]]:
    """Return the trail's records."""
    with store.reading() as connection:
        return [json.loads(body) for body in store.trail.bodies(connection, 0, 10_000)]


async def reopened(store: Store, key: KeyEncryptionKey) -> Vault:
    """Start the vault as another process would, after a crash of this one."""
    again = Vault(store, key)
    await again.start()
    return again


async def test_two_hundred_callers_on_one_expired_grant_refresh_it_once(
    connected: Vault, rotating: SalesforceService, service: Service
) -> None:
    """Issue 5, Show in the closing note: 200 callers on one expired grant, one refresh at the provider."""
    spent = await connected.open(service).header()
    opened = [connected.open(service) for _ in range(200)]
    before, rotated = rotating.token_requests, len(rotating.refresh_tokens_issued)

    await asyncio.gather(*(credential.renew(spent) for credential in opened))
    headers = await asyncio.gather(*(credential.header() for credential in opened))

    assert rotating.token_requests == before + 1
    assert len(rotating.refresh_tokens_issued) == rotated + 1
    assert len({header.reveal() for header in headers}) == 1


async def test_the_new_refresh_token_is_on_disk_before_anybody_has_the_access_token(
    connected: Vault, rotating: SalesforceService, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """credentials.md B3.3: in one transaction with the version's step and the record of the token."""
    kept: list[str] = []
    issue = Tokens._issue

    async def noting(self: Tokens, *arguments: Any) -> Any:
        issued = await issue(self, *arguments)
        kept.append(refresh_token(await reopened(connected._store, connected._key)))
        return issued

    monkeypatch.setattr(Tokens, "_issue", noting)
    await connected.open(service).header()

    assert kept == [rotating.refresh_tokens_issued[-1]]


async def test_each_refresh_uses_the_token_that_the_one_before_has_given(
    connected: Vault, rotating: SalesforceService, service: Service
) -> None:
    """credentials.md B3: the old token is dead at once; a second use of it would end the grant."""
    opened = connected.open(service)
    for _ in range(5):
        await opened.renew(await opened.header())

    assert refresh_token(connected) == rotating.refresh_tokens_issued[-1]
    assert connected.find(CONNECTOR).status == "active"


async def test_calls_that_need_different_scopes_do_not_use_one_refresh_token_twice(
    connected: Vault, rotating: SalesforceService, service: Service
) -> None:
    """credentials.md B3: what is single is the flight of a grant, whatever its tokens are for."""
    wanted = [connected.open(service, scopes=scopes) for scopes in ((), ("api",), ("refresh_token",))]

    await asyncio.gather(*(opened.header() for opened in wanted))

    assert connected.find(CONNECTOR).status == "active"
    assert refresh_token(connected) == rotating.refresh_tokens_issued[-1]


async def test_a_refresh_that_a_crash_cut_off_before_the_provider_saw_it_is_made_again(
    connected: Vault, store: Store, key: KeyEncryptionKey, service: Service
) -> None:
    """credentials.md B3.4: the old token is tried once, and here it still is the right one."""
    row = next(iter(connected._grants.values()))
    await connected._issuing._begin(row)

    again = await reopened(store, key)
    await again.open(service).header()

    assert again.find(CONNECTOR).status == "active"
    assert next(iter(again._grants.values())).refreshing == 0


async def test_a_rotation_whose_answer_was_lost_is_tried_once_more_and_then_needs_consent(
    connected: Vault, store: Store, key: KeyEncryptionKey, rotating: SalesforceService, service: Service
) -> None:
    """credentials.md B3.4: never in a loop; the end is on record with its reason, and says how it is mended."""
    rotating.faults.add(Lose(path="/oauth2/token"))
    with pytest.raises(UpstreamInterrupted):
        await connected.open(service).header()
    before = rotating.token_requests

    again = await reopened(store, key)
    for _ in range(3):
        with pytest.raises(ReauthorizationNeeded, match="connect it again"):
            await again.open(service).header()

    assert rotating.token_requests == before + 1
    (ended,) = [record for record in records(store) if record["kind"] == "grant_ended"]
    assert ended["reason"] == "token endpoint: invalid_grant"


@pytest.mark.usefixtures("connected")
async def test_two_crashes_in_one_refresh_are_not_a_third_try(
    store: Store, key: KeyEncryptionKey, rotating: SalesforceService, service: Service
) -> None:
    """credentials.md B3.4: the provider is not shown a token again that it may have rotated twice over."""
    for _ in range(2):
        again = await reopened(store, key)
        await again._issuing._begin(next(iter(again._grants.values())))
    before = rotating.token_requests

    again = await reopened(store, key)
    with pytest.raises(ReauthorizationNeeded):
        await again.open(service).header()

    assert rotating.token_requests == before
    assert records(store)[-1]["kind"] == "grant_ended"


async def test_a_rotated_token_that_the_store_does_not_take_is_written_before_anything_else(
    connected: Vault, store: Store, rotating: SalesforceService, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """credentials.md B3.3: nobody gets the access token meanwhile, and the new refresh token is not lost."""
    await connected._issuing._begin(next(iter(connected._grants.values())))
    with monkeypatch.context() as failing:

        def fail(*_: Any) -> None:
            raise AuditUnavailable

        failing.setattr(store.trail, "append", fail)
        with pytest.raises(AuditUnavailable):
            await connected.open(service).header()

    await connected.open(service).header()

    assert connected.find(CONNECTOR).status == "active"
    assert refresh_token(connected) == rotating.refresh_tokens_issued[-1]


async def test_a_service_that_fails_is_asked_less_and_less_and_the_old_token_stays(
    connected: Vault, rotating: SalesforceService, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """credentials.md B3.5: 5xx keeps the old token and backs off; a service that is well again is asked at once."""
    clock = Clock(1000.0)
    monkeypatch.setattr("broker.vault.tokens.time", clock)
    rotating.faults.add(Answer(path="/oauth2/token", status=503, times=3))
    held, before = refresh_token(connected), rotating.token_requests

    for _ in range(20):
        with pytest.raises(UpstreamFailed):
            await connected.open(service).header()
    asked_at_once = rotating.token_requests - before
    clock.now += 1.1
    with pytest.raises(UpstreamFailed):
        await connected.open(service).header()
    clock.now += 2.1
    await connected.open(service).header()

    assert asked_at_once == 2
    assert held != refresh_token(connected) == rotating.refresh_tokens_issued[-1]
    assert connected.find(CONNECTOR).status == "active"


async def test_a_token_that_cannot_be_renewed_early_is_used_to_its_end(
    vault: Vault, salesforce: SalesforceService, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """credentials.md B3.6: early renewal is for speed; a service that is down ends no token before its time."""
    now = time.time()
    monkeypatch.setattr("time.time", lambda: now)
    await vault.add(CONNECTOR, AuthorizationCodeGrant(consented(salesforce).client, Secret("r" * 40)), ACTOR)
    good = {"access_token": "x" * 40, "token_type": "Bearer", "expires_in": 3600}
    salesforce.faults.add(Answer(path="/oauth2/token", status=200, body=good))
    first = await vault.open(service).header()

    now += 3590
    salesforce.faults.add(Answer(path="/oauth2/token", status=503, times=2))
    assert await vault.open(service).header() == first
    now += 20
    with pytest.raises(UpstreamFailed):
        await vault.open(service).header()


async def test_a_revoked_grant_has_its_refresh_token_revoked_too(
    connected: Vault, rotating: SalesforceService, service: Service
) -> None:
    """Issue 5: `aam grants revoke`, at the provider too; what could get another token is gone there as well."""
    await connected.open(service).header()
    held = refresh_token(connected)

    assert await connected.revoke(connected.find(CONNECTOR).id, service, ACTOR) is None

    assert rotating._authorization.sessions.renews(held) is None


async def test_rotating_a_grant_by_hand_replaces_its_tokens(
    connected: Vault, rotating: SalesforceService, service: Service
) -> None:
    """Issue 5: `aam grants rotate`; what may have been seen by others is of no use to them any more."""
    first = await connected.open(service).header()
    held = refresh_token(connected)

    await connected.rotate(connected.find(CONNECTOR).id, service, ACTOR)

    assert await connected.open(service).header() != first
    assert refresh_token(connected) == rotating.refresh_tokens_issued[-1] != held
