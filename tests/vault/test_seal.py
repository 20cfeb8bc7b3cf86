import base64
import dataclasses
import os
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import VaultUnreadable
from broker.vault import KeyEncryptionKey
from broker.vault.seal import Place, seal, unseal

KEY = KeyEncryptionKey(bytes(range(32)))
PLACE = Place("salesforce", "broker", "grant", 1)


@given(st.binary(max_size=200))
def test_what_was_sealed_for_a_place_opens_there(plain: bytes) -> None:
    """credentials.md B5: AES-256-GCM rows under a data key each."""
    assert unseal(KEY, PLACE, seal(KEY, PLACE, plain)) == plain


@pytest.mark.parametrize(
    "changes",
    [{"connector": "github"}, {"principal": "user"}, {"field": "token"}, {"version": 2}, {"version": 0}],
    ids=str,
)
def test_what_was_sealed_for_another_place_does_not_open(changes: dict[str, Any]) -> None:
    """Issue 2, Vault: the associated data binds connector, principal, field and version."""
    sealed = seal(KEY, PLACE, b"secret")

    with pytest.raises(VaultUnreadable):
        unseal(KEY, dataclasses.replace(PLACE, **changes), sealed)


def test_parts_of_a_place_cannot_run_into_each_other() -> None:
    """credentials.md B5: the separator has no place in what it separates."""
    with pytest.raises(ValueError, match="separates"):
        seal(KEY, dataclasses.replace(PLACE, connector="salesforce|broker"), b"secret")

    with pytest.raises(VaultUnreadable):
        unseal(KEY, dataclasses.replace(PLACE, principal="a|b"), seal(KEY, PLACE, b"secret"))


def test_another_key_does_not_open() -> None:
    """credentials.md B5: the data key is wrapped under the key-encryption key, whose id is bound too."""
    with pytest.raises(VaultUnreadable):
        unseal(KeyEncryptionKey(os.urandom(32)), PLACE, seal(KEY, PLACE, b"secret"))


def test_every_byte_of_a_seal_counts() -> None:
    """credentials.md B5: the wrapped key, the nonce, the text and the tag; nothing can be changed or cut off."""
    sealed = base64.b64decode(seal(KEY, PLACE, b"secret"))
    changed = [
        sealed[:position] + bytes([sealed[position] ^ 1]) + sealed[position + 1 :] for position in range(len(sealed))
    ]
    cut = [sealed[:length] for length in range(len(sealed))]

    for bad in (*changed, *cut, sealed + b"\0", b""):
        with pytest.raises(VaultUnreadable):
            unseal(KEY, PLACE, base64.b64encode(bad).decode())


@pytest.mark.parametrize("text", ["", "=", "not base64!", "\u00e9", "\x00"])
def test_what_is_no_seal_does_not_open(text: str) -> None:
    """errors.py: `vault_unreadable`, and no exception of a decoder's."""
    with pytest.raises(VaultUnreadable):
        unseal(KEY, PLACE, text)


def test_nothing_is_sealed_twice_alike() -> None:
    """credentials.md B5: a fresh data key and nonce each time, so equal secrets cannot be told."""
    seals = {seal(KEY, PLACE, b"secret") for _ in range(50)}
    parts = [base64.b64decode(sealed) for sealed in seals]

    assert len({part[:40] for part in parts}) == len({part[40:52] for part in parts}) == 50
    assert not [part for part in parts if b"secret" in part]
