"""What a policy has recorded of a call: sealed for its call and field, and of no use anywhere else."""

import os

import pytest

from broker.errors import VaultUnreadable
from broker.store import Store
from broker.vault import KeyEncryptionKey, Vault

pytestmark = pytest.mark.anyio

CALL, OTHER = "0197a000-0000-7000-8000-000000000001", "0197a000-0000-7000-8000-000000000002"


async def test_what_was_sealed_for_a_call_and_field_opens_there_and_nowhere_else(vault: Vault) -> None:
    """Issue 3, What must be true: recorded encrypted; the associated data binds call and field."""
    sealed = vault.sealed_payload(CALL, "arguments.id", b'"n1"')

    assert vault.opened_payload(CALL, "arguments.id", sealed) == b'"n1"'
    for call, field in ((OTHER, "arguments.id"), (CALL, "result"), (CALL, "arguments"), ("broker", "trail digests")):
        with pytest.raises(VaultUnreadable):
            vault.opened_payload(call, field, sealed)


async def test_another_key_opens_nothing(vault: Vault, store: Store) -> None:
    """credentials.md B5: wrapped under the key-encryption key, which is not in the store."""
    sealed = vault.sealed_payload(CALL, "result", b"{}")

    with pytest.raises(VaultUnreadable) as refused:
        Vault(store, KeyEncryptionKey(os.urandom(32))).opened_payload(CALL, "result", sealed)

    assert "account" not in refused.value.message


async def test_nothing_is_sealed_twice_alike(vault: Vault) -> None:
    """A digest of it confirms no guess."""
    assert len({vault.sealed_payload(CALL, "result", b"{}") for _ in range(50)}) == 50


@pytest.mark.parametrize("sealed", [b"", b"x", b"x" * 51, b"x" * 500])
async def test_what_is_no_seal_does_not_open(vault: Vault, sealed: bytes) -> None:
    """errors.py: `vault_unreadable`, and no exception of a library's."""
    with pytest.raises(VaultUnreadable):
        vault.opened_payload(CALL, "result", sealed)
