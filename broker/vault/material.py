"""What is sealed of a grant, as JSON, and what of it may be read in clear."""

import dataclasses
import json
from typing import Any

from broker.egress import Secret
from broker.errors import GrantMisplaced, VaultUnreadable
from broker.oauth import KINDS, AuthorizationCodeGrant, Grant, OAuthClient

CLIENT = "oauth-client"
"""The kind of a client's own registration at a service: no grant, but kept like one."""

_SECRETS = frozenset(
    {"private_key", "refresh_token", "access_token", "subject_token", "key", "password", "secret", "actor"}
)
_CLIENTS = frozenset({"client", "identity_client"})
Kept = Grant | OAuthClient


def kind_of(kept: Kept) -> str:
    """Return the name of a grant's kind."""
    if isinstance(kept, OAuthClient):
        return CLIENT
    return next(name for name, kind in KINDS.items() if isinstance(kept, kind))


def pack(kept: Kept) -> bytes:
    """Return all of it, secrets included, to be sealed at once."""
    return json.dumps(_plain(kept)).encode()


def unpack(kind: str, packed: bytes) -> Any:
    """Return what was packed; raise `VaultUnreadable` for what is nothing of that kind."""
    try:
        return _read(OAuthClient if kind == CLIENT else KINDS[kind], json.loads(packed))
    except (KeyError, TypeError, ValueError):
        pass
    raise VaultUnreadable(detail=f"what is sealed is no {kind} grant")


def shown_of(kept: Kept) -> dict[str, str]:
    """Return what people may read of it: which client, and for whom. Nobody relies on that."""
    client = kept if isinstance(kept, OAuthClient) else getattr(kept, "client", None)
    client_id = client.client_id if client is not None else getattr(kept, "client_id", "")
    return {"client_id": client_id, "subject": getattr(kept, "subject", "") or getattr(kept, "username", "")}


def with_secret(kept: Any, secret: Secret) -> Kept:
    """Return it with a new secret in place of the one that it is about; raise `GrantMisplaced` where it has none."""
    changed: Kept
    for name in ("private_key", "key", "password", "secret"):
        if hasattr(kept, name):
            changed = dataclasses.replace(kept, **{name: secret})
            return changed
    client = getattr(kept, "client", None)
    if client is None or client.secret is None or isinstance(kept, AuthorizationCodeGrant):
        raise GrantMisplaced("This grant has no secret that could be given: connect the account again.")
    changed = dataclasses.replace(kept, client=dataclasses.replace(client, secret=secret))
    return changed


def _plain(kept: Any) -> dict[str, Any]:
    found = {}
    for field in dataclasses.fields(kept):
        value = getattr(kept, field.name)
        if isinstance(value, Secret):
            value = value.reveal()
        found[field.name] = _plain(value) if isinstance(value, OAuthClient) else value
    return found


def _read(kind: Any, members: dict[str, Any]) -> Any:
    values: dict[str, Any] = {}
    for name, value in members.items():
        if name in _CLIENTS:
            values[name] = _read(OAuthClient, value)
        else:
            values[name] = Secret(value) if name in _SECRETS and value is not None else value
    return kind(**values)
