import os
from pathlib import Path
from typing import Any

import pytest

from broker.errors import KeyMismatch, KeyUnavailable, VaultUnreadable
from broker.store import Store
from broker.testing.salesforce import SalesforceService
from broker.vault import KeyEncryptionKey, Service, SigningKeys, Vault
from broker.vault.keys import create_key, make_next_key, put_next_key_in_place, read_key, read_next_key
from broker.vault.rekey import Rekeying
from broker.vault.seal import Place, unseal
from tests.support.broker import ServedBroker
from tests.support.clients import Wire
from tests.support.documents import Written, recording_policy
from tests.support.low_salesforce import CONNECTOR, grant_of
from tests.support.notes import Notes
from tests.support.operators import OperatorRefused

ACTOR = {"user": "ada"}


async def filled(store: Store, key: KeyEncryptionKey, salesforce: SalesforceService) -> Vault:
    """Start a vault with everything in it that a key seals."""
    vault = Vault(store, key)
    await vault.start()
    await vault.add(CONNECTOR, grant_of(salesforce), ACTOR)
    await vault.digest_key("trail digests")
    signing = SigningKeys(store, key)
    await signing.start()

    def keep(transaction: Any) -> None:
        for number in range(3):
            sealed = vault.sealed_payload(f"call{number:04}", "result", b"kept")
            store.payloads.add(transaction, f"call{number:04}", "result", sealed, "now")

    await store.commits.commit(keep)
    return vault


async def opens_all(store: Store, key: KeyEncryptionKey, service: Service) -> bool:
    """Tell whether a process that starts now with this key can use all that is sealed."""
    vault = Vault(store, key)
    await vault.start()
    await vault.open(service).header()
    await vault.digest_key("trail digests")
    signing = SigningKeys(store, key)
    await signing.start()
    await signing.sign("text\n")
    kept = store.read(lambda connection: store.payloads.of_call(connection, "call0001"))
    return vault.opened_payload("call0001", "result", kept["result"]) == b"kept"


@pytest.mark.anyio
async def test_everything_is_sealed_with_the_new_key_and_the_old_one_opens_nothing(
    store: Store, key: KeyEncryptionKey, salesforce: SalesforceService, service: Service
) -> None:
    """Issue 5: `aam vault rotate-key`, online; grants, digests' keys, the signing key and recorded values alike."""
    vault = await filled(store, key, salesforce)
    old, new = KeyEncryptionKey(key._key), KeyEncryptionKey(os.urandom(32))
    rekeying = vault.rekeying()
    await rekeying.begin(new, ACTOR)
    while not (step := await rekeying.step()).done:
        await vault.open(service).header()
    await rekeying.finish(ACTOR, lambda: "")

    assert step.sealed == 3
    assert await opens_all(store, KeyEncryptionKey(new._key), service)
    with pytest.raises(KeyMismatch):
        await Vault(store, old).start()
    row = next(iter(vault._grants.values()))
    for sealed in (row.sealed, *store.read(lambda connection: store.settings.named(connection, "sealed ")).values()):
        place = Place(row.connector, row.principal, "jwt-bearer grant", row.version)
        with pytest.raises(VaultUnreadable):
            unseal(old, place, sealed)


@pytest.mark.anyio
@pytest.mark.parametrize("steps", range(3))
async def test_a_rotation_that_is_killed_after_any_step_loses_nothing_and_is_resumed(
    store: Store, key: KeyEncryptionKey, salesforce: SalesforceService, service: Service, steps: int
) -> None:
    """Issue 5: resumable; a process that starts in between has both keys, and the last one only the new."""
    vault = await filled(store, key, salesforce)
    old, new = key._key, KeyEncryptionKey(os.urandom(32))
    await taken(vault.rekeying(), new, steps)

    between = KeyEncryptionKey(old)
    between.others = (KeyEncryptionKey(new._key),)
    assert await opens_all(store, between, service)
    again = Vault(store, between)
    await again.start()
    await taken(again.rekeying(), KeyEncryptionKey(new._key), 100)

    assert await opens_all(store, KeyEncryptionKey(new._key), service)


async def taken(rekeying: Rekeying, new: KeyEncryptionKey, steps: int) -> None:
    """Take so many steps of a rotation, as far as there are any."""
    if steps > 0:
        await rekeying.begin(new, ACTOR)
    for _ in range(steps - 1):
        if (await rekeying.step()).done:
            await rekeying.finish(ACTOR, lambda: "")
            return


def test_the_new_key_takes_the_old_ones_place_at_once_or_not_at_all(tmp_path: Path) -> None:
    """vault/keys.py: at no moment is there no key; the old one is kept for backups, and stays nobody else's."""
    where = str(tmp_path / "vault.key")
    create_key("file", where)
    old = read_key("file", where)
    new = make_next_key("file", where)
    assert (following := read_next_key("file", where)) is not None
    assert following.key_id == new.key_id == make_next_key("file", where).key_id

    kept = put_next_key_in_place("file", where, old.key_id)

    assert read_key("file", where).key_id == new.key_id
    assert read_key("file", kept).key_id == old.key_id
    assert read_next_key("file", where) is None
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
    with pytest.raises(KeyUnavailable):
        make_next_key("environment", "AAM_VAULT_KEY")


def test_a_broker_rotates_its_key_while_it_serves_and_starts_with_the_new_one(written: Written) -> None:
    """Issue 5: online; what was recorded before can be revealed after; a broker that was killed at the end starts."""
    written.put("recorded.yaml", recording_policy("arguments"))
    key_file = written.directory / "secrets/vault.key"
    old = key_file.read_bytes()
    notes = Notes()
    with ServedBroker(written, notes) as broker:
        call_id = Wire(broker).call("notes_notes_read", {"id": "n1"}).call_id
        while not (step := broker.operators.post("/v1/vault/key"))["done"]:
            assert Wire(broker).call("notes_notes_read", {"id": "n1"}).code is None
        kinds = [record["kind"] for record in broker.records()]

    new = key_file.read_bytes()
    assert "vault_key_rotation_begun" in kinds
    assert "vault_key_rotated" in kinds
    assert Path(step["retired_key"]).read_bytes() == old != new
    key_file.rename(key_file.with_name("vault.key.next"))  # as a kill before the very last step would have left it
    Path(step["retired_key"]).rename(key_file)
    with ServedBroker(written, notes, grant=False) as broker:
        assert Wire(broker).call("notes_notes_read", {"id": "n1"}).code is None
        revealed = broker.operators.post(f"/v1/trail/calls/{call_id}/reveal", {"reason": "test"})
        with pytest.raises(OperatorRefused):
            broker.operators.post("/v1/grants/nothing/rotate", {})
    assert "n1" in str(revealed)
    assert key_file.read_bytes() == new
