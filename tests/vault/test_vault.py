import asyncio
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from broker.audit import Statement, verify
from broker.egress import Secret, Session
from broker.errors import (
    AlreadyExists,
    AuditUnavailable,
    GrantMisplaced,
    GrantUnavailable,
    KeyMismatch,
    NotFound,
    ReauthorizationNeeded,
    StoreUnusable,
    UpstreamFailed,
    VaultUnreadable,
)
from broker.store import Store
from broker.testing.salesforce import Answer, SalesforceService
from broker.vault import KeyEncryptionKey, Service, Vault
from tests.support.low_salesforce import CONNECTOR, grant_of, service_of

pytestmark = pytest.mark.anyio

ACTOR = {"user": "ada", "role": "admin"}
LOG = "access.example/log/test"


class Held:
    """An authorization that is what it was."""

    def __init__(self, held: Secret) -> None:
        self._held = held

    async def header(self) -> Secret:
        """Return it."""
        return self._held

    async def renew(self, spent: Secret) -> None:
        """Have no other."""


def events(store: Store) -> list[dict[str, Any]]:
    """Return the trail's records."""
    with store.reading() as connection:
        return [json.loads(body) for body in store.trail.bodies(connection, 0, 10_000)]


def expired(response: Any) -> bool:
    """Tell whether the token has expired."""
    return bool(response.status == 401)


async def use(vault: Vault, service: Service) -> int:
    """Make one attempt, as the pipeline does."""
    with vault.open(service) as credential:
        session = Session(service.client, service.url, credential, expired)
        return (await session.call("GET", "/services/data/v59.0/limits")).status


async def test_a_grant_is_sealed_listed_and_opened(
    vault: Vault, store: Store, salesforce: SalesforceService, service: Service
) -> None:
    """Issue 2, Vault: what may be shown is shown, what is used is on record, and nothing of the secret is either."""
    grant = await vault.add(CONNECTOR, grant_of(salesforce), ACTOR)

    with vault.open(service) as credential:
        unused = credential.record()
        header = await credential.header()
        used = credential.record()

    assert vault.grants() == [grant] == [vault.find(CONNECTOR)] == [vault.find(grant.id)]
    assert (grant.client_id, grant.subject, grant.status) == (salesforce.consumer_key, salesforce.username, "active")
    assert header.reveal() == f"Bearer {salesforce.tokens_issued[-1]}"
    assert (unused, set(used or {})) == (None, {"grant", "kind", "principal", "fingerprint", "scopes"})
    assert "CANARY" not in json.dumps(used)
    assert [(event["kind"], event["actor"]) for event in events(store)] == [
        ("grant_added", ACTOR),
        ("token_issued", {"service": CONNECTOR}),
    ]


async def test_a_grant_outlives_the_process(
    tmp_path: Path, key: KeyEncryptionKey, salesforce: SalesforceService, service: Service
) -> None:
    """Issue 2, Vault: sealed at rest, opened by whoever has the key."""
    for start in range(2):
        store = Store.open(tmp_path / "own.db", LOG)
        vault = Vault(store, key)
        await vault.start()
        if start == 0:
            await vault.add(CONNECTOR, grant_of(salesforce), ACTOR)
        assert await use(vault, service) == 200
        store.close()


async def test_another_key_does_not_start_the_vault(store: Store, vault: Vault) -> None:
    """Issue 2, Vault: a key-check value tells at the start, not at the first call."""
    assert vault.grants() == []

    with pytest.raises(KeyMismatch):
        await Vault(store, KeyEncryptionKey(os.urandom(32))).start()


@pytest.mark.parametrize("value", ["", "\u00e9", "0" * 64])
async def test_a_key_check_that_was_changed_does_not_start_the_vault(
    store: Store, vault: Vault, key: KeyEncryptionKey, value: str
) -> None:
    """Issue 2, Vault: fail closed, whatever stands in the store."""
    await store.commits.commit(lambda change: store.settings.put(change, "vault key check", value))

    with pytest.raises(KeyMismatch):
        await Vault(store, key).start()
    assert vault.grants() == []


async def test_a_store_that_lost_its_key_check_takes_no_other_key(
    store: Store, vault: Vault, salesforce: SalesforceService
) -> None:
    """Issue 2, Vault: whoever deletes the check value does not make the next key the right one."""
    await vault.add(CONNECTOR, grant_of(salesforce), ACTOR)
    await store.commits.commit(lambda change: change.execute("DELETE FROM settings").rowcount)

    with pytest.raises(KeyMismatch):
        await Vault(store, KeyEncryptionKey(os.urandom(32))).start()


async def test_the_key_of_digests_stays_the_same_and_is_sealed(
    store: Store, vault: Vault, key: KeyEncryptionKey
) -> None:
    """Issue 2, Trail: arguments and results are keyed digests that can be compared after a restart."""
    digest_key = await vault.digest_key("trail digests")

    assert await vault.digest_key("trail digests") == digest_key
    assert await vault.digest_key("others") != digest_key
    again = Vault(store, key)
    await again.start()
    assert await again.digest_key("trail digests") == digest_key


async def test_a_digest_key_that_was_tampered_with_does_not_start_the_broker(store: Store, vault: Vault) -> None:
    """errors.py: what is wrong with the store at the start is a `CannotStart`."""
    await vault.digest_key("trail digests")
    await store.commits.commit(lambda change: store.settings.put(change, "sealed trail digests", "AAAA"))

    with pytest.raises(StoreUnusable):
        await vault.digest_key("trail digests")


async def test_a_connector_has_one_grant(vault: Vault, store: Store, salesforce: SalesforceService) -> None:
    """architecture.md, Connectors: which grant is used is never a matter of order; also for two who add at once."""
    ended = await asyncio.gather(
        *(vault.add(CONNECTOR, grant_of(salesforce), ACTOR) for _ in range(5)), return_exceptions=True
    )

    assert sorted(type(end).__name__ for end in ended) == ["AlreadyExists"] * 4 + ["Grant"]
    assert len(vault.grants()) == 1
    assert len(events(store)) == 1
    with pytest.raises(AlreadyExists):
        await vault.add(CONNECTOR, grant_of(salesforce), ACTOR)


async def test_without_a_grant_nothing_opens(vault: Vault, service: Service) -> None:
    """house-style.md: absent means less."""
    with pytest.raises(GrantUnavailable):
        vault.open(service)
    with pytest.raises(NotFound):
        vault.find(CONNECTOR)
    with pytest.raises(NotFound):
        await vault.revoke("nothing", service, ACTOR)


async def test_a_grant_is_opened_for_its_own_connector_only(
    vault: Vault, egress: Any, salesforce: SalesforceService
) -> None:
    """architecture.md, Connectors: a grant belongs to one connector; the vault refuses any other pairing."""
    grant = await vault.add(CONNECTOR, grant_of(salesforce), ACTOR)
    other = service_of(egress, salesforce, connector="other")

    with pytest.raises(GrantUnavailable):
        vault.open(other)
    with pytest.raises(GrantMisplaced):
        await vault.issued(grant.id, other)


@pytest.mark.parametrize(
    "instance", ["https://evil.example", "https://localhost", "https://localhost:1", "http://localhost", "https://["]
)
async def test_a_token_for_another_host_is_not_used(
    vault: Vault, salesforce: SalesforceService, service: Service, instance: str
) -> None:
    """credentials.md B2 and Issue 2, Salesforce: `instance_url` is pinned; the API is not called with such a token."""
    await vault.add(CONNECTOR, grant_of(salesforce), ACTOR)
    answer = {"access_token": "x" * 40, "token_type": "Bearer", "instance_url": instance}
    salesforce.faults.add(Answer(path="/oauth2/token", status=200, body=answer))
    before = salesforce.api_requests

    with pytest.raises(GrantMisplaced):
        await use(vault, service)

    assert salesforce.api_requests == before
    assert await use(vault, service) == 200


async def test_an_expired_token_is_renewed_within_the_attempt(
    vault: Vault, salesforce: SalesforceService, service: Service
) -> None:
    """Issue 2, Salesforce: refresh on 401 once; the next attempt uses the new token without asking."""
    await vault.add(CONNECTOR, grant_of(salesforce), ACTOR)
    await use(vault, service)
    salesforce.expire_tokens()
    before = salesforce.token_requests

    statuses = [await use(vault, service) for _ in range(3)]

    assert statuses == [200, 200, 200]
    assert salesforce.token_requests == before + 1


async def test_a_grant_that_the_service_has_ended_says_so_from_then_on(
    vault: Vault, store: Store, salesforce: SalesforceService, service: Service
) -> None:
    """credentials.md B3.5: `invalid_grant` is terminal; it is recorded once, and the service is asked no more."""
    await vault.add(CONNECTOR, grant_of(salesforce, subject="nobody@example.com"), ACTOR)
    before = salesforce.token_requests

    ended = await asyncio.gather(*(use(vault, service) for _ in range(50)), return_exceptions=True)
    with pytest.raises(ReauthorizationNeeded):
        await use(vault, service)

    assert {type(end) for end in ended} == {ReauthorizationNeeded}
    assert len({id(end) for end in ended}) == 50
    assert salesforce.token_requests == before + 1
    assert vault.find(CONNECTOR).status == "reauthorization_needed"
    assert [event["kind"] for event in events(store)] == ["grant_added", "grant_ended"]


async def test_an_ended_grant_makes_room_for_a_new_one_once_it_is_revoked(
    vault: Vault, salesforce: SalesforceService, service: Service
) -> None:
    """errors.py, reauthorization_needed: an administrator connects the account again."""
    first = await vault.add(CONNECTOR, grant_of(salesforce, subject="nobody@example.com"), ACTOR)
    with pytest.raises(ReauthorizationNeeded):
        await use(vault, service)

    await vault.revoke(first.id, service, ACTOR)
    await vault.add(CONNECTOR, grant_of(salesforce), ACTOR)

    assert await use(vault, service) == 200
    assert vault.find(first.id).status == "revoked"


async def test_a_revoked_grant_is_gone_here_and_its_token_is_gone_there(
    vault: Vault, store: Store, salesforce: SalesforceService, service: Service
) -> None:
    """Issue 2, What a user can do: `aam grants revoke`; a running attempt gets no further token either."""
    grant = await vault.add(CONNECTOR, grant_of(salesforce), ACTOR)
    running = vault.open(service)
    header = await running.header()

    await vault.revoke(grant.id, service, ACTOR)

    answer = await Session(service.client, service.url, Held(header), lambda _: False).call(
        "GET", "/services/data/v59.0/limits"
    )
    assert answer.status == 401
    for attempt in (running.header(), running.renew(header)):
        with pytest.raises(GrantUnavailable):
            await attempt
    with pytest.raises(GrantUnavailable):
        vault.open(service)
    with store.reading() as connection:
        assert [row.sealed for row in store.grants.all(connection)] == [""]
    assert [event["kind"] for event in events(store)] == ["grant_added", "token_issued", "grant_revoked"]


async def test_a_grant_is_revoked_even_if_the_service_will_not_hear_of_it(
    vault: Vault, salesforce: SalesforceService, service: Service
) -> None:
    """vault: what was decided here holds here, and the operator learns that it does not hold there."""
    grant = await vault.add(CONNECTOR, grant_of(salesforce), ACTOR)
    await use(vault, service)
    salesforce.faults.add(Answer(path="/oauth2/revoke", status=500))

    failure = await vault.revoke(grant.id, service, ACTOR)

    assert isinstance(failure, UpstreamFailed)
    assert vault.find(grant.id).status == "revoked"


async def test_a_revocation_that_was_said_to_have_failed_and_stands_is_known_here_too(
    vault: Vault, store: Store, salesforce: SalesforceService, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """queue.py: a disk may fail between a commit and saying so; nobody goes on using what is revoked."""
    grant = await vault.add(CONNECTOR, grant_of(salesforce), ACTOR)

    async def fail_afterwards(change: Callable[[Any], Any]) -> None:
        await store.commits.submit(change).done
        raise AuditUnavailable

    monkeypatch.setattr(store.commits, "commit", fail_afterwards)
    with pytest.raises(AuditUnavailable):
        await vault.revoke(grant.id, service, ACTOR)

    assert vault.find(grant.id).status == "revoked"
    with pytest.raises(GrantUnavailable):
        vault.open(service)


async def test_a_revoked_grant_stays_revoked(
    vault: Vault, store: Store, salesforce: SalesforceService, service: Service
) -> None:
    """vault: revoking twice records one event, and what the service says later changes nothing."""
    grant = await vault.add(CONNECTOR, grant_of(salesforce), ACTOR)
    row = vault._grants[grant.id]
    await vault.revoke(grant.id, service, ACTOR)

    await vault.revoke(grant.id, service, ACTOR)
    await vault._set_status(row, "reauthorization_needed", "grant_ended", ACTOR)

    assert vault.find(grant.id).status == "revoked"
    with store.reading() as connection:
        assert [stored.status for stored in store.grants.all(connection)] == ["revoked"]
    assert [event["kind"] for event in events(store)] == ["grant_added", "grant_revoked"]


@pytest.mark.parametrize("revoked", [False, True])
async def test_what_is_on_disk_is_known_even_if_the_operator_has_gone(
    vault: Vault, store: Store, salesforce: SalesforceService, monkeypatch: pytest.MonkeyPatch, *, revoked: bool
) -> None:
    """vault: a request that is cut off after its commit was queued leaves memory and disk of one mind."""
    grant = await vault.add(CONNECTOR, grant_of(salesforce), ACTOR) if revoked else None
    queued, submit = asyncio.Event(), store.commits.submit

    def noting(change: Any) -> Any:
        queued.set()
        return submit(change)

    async def change() -> None:
        if grant is None:
            await vault.add(CONNECTOR, grant_of(salesforce), ACTOR)
        else:
            await vault.revoke(grant.id, None, ACTOR)

    monkeypatch.setattr(store.commits, "submit", noting)
    doing = asyncio.create_task(change())
    await queued.wait()
    doing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await doing
    await store.commits.commit(lambda _: None)

    with store.reading() as connection:
        on_disk = [row.status for row in store.grants.all(connection)]
    assert on_disk == [grant.status for grant in vault.grants()] == ["revoked" if revoked else "active"]


async def test_a_change_that_cannot_be_recorded_is_not_made(
    vault: Vault, store: Store, salesforce: SalesforceService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """architecture.md, The way of one call: what cannot be recorded is not done, for operators too."""

    def fails(*_: Any) -> None:
        raise AuditUnavailable

    monkeypatch.setattr(store.trail, "append", fails)
    with pytest.raises(AuditUnavailable):
        await vault.add(CONNECTOR, grant_of(salesforce), ACTOR)
    monkeypatch.undo()

    assert vault.grants() == []
    with store.reading() as connection:
        assert store.grants.all(connection) == []


async def test_a_grant_sealed_with_another_key_is_unreadable(
    vault: Vault, store: Store, salesforce: SalesforceService, service: Service, key: KeyEncryptionKey
) -> None:
    """errors.py: `vault_unreadable`; the row says which key it was."""
    await vault.add(CONNECTOR, grant_of(salesforce), ACTOR)
    await store.commits.commit(lambda change: change.execute("UPDATE grants SET key_id = 'other'").rowcount)
    again = Vault(store, key)
    await again.start()

    with pytest.raises(VaultUnreadable):
        await use(again, service)


async def test_the_trail_of_grants_verifies(vault: Vault, store: Store, salesforce: SalesforceService) -> None:
    """Issue 2, Trail: changing grants are records too."""
    grant = await vault.add(CONNECTOR, grant_of(salesforce), ACTOR)
    await vault.revoke(grant.id, None, ACTOR)

    head = store.commits.values[store.trail.HEAD]
    with store.reading() as connection:
        report = verify(store.trail.bodies(connection, 0, head.size), Statement.of(LOG, head))

    assert (report.holds, report.records) == (True, 2)
