"""Grants sealed at rest, opened for one attempt: where credentials live, and their life cycle."""

from broker.vault.access_keys import AccessKeys
from broker.vault.delegations import Delegations
from broker.vault.keys import KeyEncryptionKey, create_key, read_key
from broker.vault.signing import SigningKeys
from broker.vault.tokens import Service
from broker.vault.vault import Grant, Opened, Vault

__all__ = [
    "AccessKeys",
    "Delegations",
    "Grant",
    "KeyEncryptionKey",
    "Opened",
    "Service",
    "SigningKeys",
    "Vault",
    "create_key",
    "read_key",
]
