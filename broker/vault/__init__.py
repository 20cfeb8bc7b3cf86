"""Grants sealed at rest, opened for one attempt: where credentials live, and their life cycle."""

from broker.vault.access_keys import AccessKeys
from broker.vault.delegations import Delegations
from broker.vault.keys import (
    KeyEncryptionKey,
    create_key,
    make_next_key,
    put_next_key_in_place,
    read_key,
    read_next_key,
)
from broker.vault.opened import Credential, NoCredential, Opened
from broker.vault.principals import BROKER, person
from broker.vault.rekey import Rekeying
from broker.vault.rows import Grant
from broker.vault.service import Accounts, Service
from broker.vault.signing import SigningKeys
from broker.vault.vault import Vault

__all__ = [
    "BROKER",
    "AccessKeys",
    "Accounts",
    "Credential",
    "Delegations",
    "Grant",
    "KeyEncryptionKey",
    "NoCredential",
    "Opened",
    "Rekeying",
    "Service",
    "SigningKeys",
    "Vault",
    "create_key",
    "make_next_key",
    "person",
    "put_next_key_in_place",
    "read_key",
    "read_next_key",
]
