"""The vault: which grants there are, and the access tokens that they yield, one issue at a time."""

import asyncio
import base64
import hashlib
import hmac
import json
import os
import time
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import urlsplit

from broker import oauth
from broker.audit import Record, new_id, timestamp
from broker.egress import Client, Secret
from broker.errors import (
    AlreadyExists,
    GrantMisplaced,
    GrantUnavailable,
    KeyMismatch,
    NotFound,
    ReauthorizationNeeded,
    VaultUnreadable,
)
from broker.store import Connection, GrantRow, Store, Transaction
from broker.vault.keys import KeyEncryptionKey
from broker.vault.matcher import SecretMatcher, needles
from broker.vault.seal import Place, seal, unseal

BROKER = "broker"
"""The principal of grants that belong to no person: the connector's service account."""

_RENEW_EARLY = 60.0  # seconds before a known expiry
_CHECK = "vault key check"


@dataclass(frozen=True, slots=True)
class Service:
    """The one place at which a connector's grant is good: where its tokens come from and where they go."""

    connector: str
    url: str
    client: Client
    token_endpoint: str
    audience: str
    revocation_endpoint: str | None = None


@dataclass(frozen=True, slots=True)
class Grant:
    """What may be shown of a stored authorisation."""

    id: str
    connector: str
    principal: str
    kind: str
    status: str
    client_id: str
    subject: str
    created: str
    changed: str


@dataclass(frozen=True, slots=True)
class Issued:
    """An access token in use, with what every attempt needs of it, worked out once."""

    token: oauth.Token
    header: Secret
    fingerprint: str
    needles: frozenset[bytes] = field(repr=False)


class Vault:
    """Keeps grants sealed, opens them for one attempt, and issues each grant's tokens one at a time."""

    def __init__(self, store: Store, key: KeyEncryptionKey) -> None:
        self._store = store
        self._key = key
        self._grants: dict[str, GrantRow] = {}
        self._issued: dict[tuple[str, str, str], Issued] = {}
        self._issuing: dict[str, asyncio.Lock] = {}

    async def start(self) -> None:
        """Load the grants; raise `KeyMismatch` if the store was sealed with another key."""
        check = self._key.derive("check").hex()
        known = await asyncio.to_thread(self._store.read, self._load)
        if known is None:
            await self._store.commits.commit(lambda change: self._store.settings.put(change, _CHECK, check))
        elif not hmac.compare_digest(known, check):
            raise KeyMismatch

    def _load(self, connection: Connection) -> str | None:
        self._grants = {row.id: row for row in self._store.grants.all(connection)}
        return self._store.settings.get(connection, _CHECK)

    async def digest_key(self, purpose: str) -> bytes:
        """Return a random key for keyed digests, made at first use and sealed; it outlives the key that seals it."""
        name, place = f"sealed {purpose}", Place("-", BROKER, purpose, 1)
        sealed = await asyncio.to_thread(
            self._store.read, lambda connection: self._store.settings.get(connection, name)
        )
        if sealed is not None:
            return unseal(self._key, place, sealed)
        fresh = os.urandom(32)
        value = seal(self._key, place, fresh)
        await self._store.commits.commit(lambda change: self._store.settings.put(change, name, value))
        return fresh

    def grants(self) -> list[Grant]:
        """Return what may be shown of every grant, the newest first."""
        return [_shown(row) for row in sorted(self._grants.values(), key=lambda row: row.created, reverse=True)]

    async def add(self, connector: str, grant: oauth.JwtBearerGrant, actor: Record) -> Grant:
        """Seal and keep a grant; raise `AlreadyExists` if the connector has one that is not revoked."""
        if any(row.connector == connector and row.status != "revoked" for row in self._grants.values()):
            raise AlreadyExists(f"{connector} has a grant already; revoke it first.")
        now, version = timestamp(), 1
        sealed = seal(self._key, Place(connector, BROKER, "private_key", version), grant.private_key.reveal().encode())
        public = json.dumps({"client_id": grant.client_id, "subject": grant.subject})
        row = GrantRow(
            new_id(), connector, BROKER, "jwt-bearer", "active", "", public, version, self._key.key_id, sealed, now, now
        )

        def change(transaction: Transaction) -> None:
            self._store.grants.add(transaction, row)
            self._store.trail.append(transaction, _event("grant_added", row, actor))

        await self._store.commits.commit(change)
        self._grants[row.id] = row
        return _shown(row)

    def find(self, grant_id: str) -> Grant:
        """Return a grant by its id, or by the name of its connector; raise `NotFound`."""
        for row in sorted(self._grants.values(), key=lambda row: row.status == "revoked"):
            if grant_id in {row.id, row.connector}:
                return _shown(row)
        raise NotFound(f"There is no grant {grant_id!r}.")

    async def revoke(self, grant_id: str, service: Service | None, actor: Record) -> None:
        """Forget a grant for good and, where the service offers it, have its live tokens revoked.

        The grant is revoked here even if the service cannot be reached; then the error of the service is raised.
        """
        await self._set_status(grant_id, "revoked", "grant_revoked", actor)
        live = [self._issued.pop(key) for key in list(self._issued) if key[0] == grant_id]
        if service is not None and service.revocation_endpoint is not None:
            for issued in live:
                await oauth.revoke(service.client, service.revocation_endpoint, issued.token.access)

    def open(self, service: Service) -> "Opened":
        """Open the connector's grant for one attempt.

        Raises `GrantUnavailable` if there is none and `ReauthorizationNeeded` if the service has ended it. No token is
        issued before one is needed.
        """
        rows = [row for row in self._grants.values() if row.connector == service.connector and row.status != "revoked"]
        if not rows:
            raise GrantUnavailable(f"No account is connected for {service.connector}; 'aam grants add' connects one.")
        if rows[0].status == "reauthorization_needed":
            raise ReauthorizationNeeded
        return Opened(self, rows[0], service)

    async def issued(self, row: GrantRow, service: Service, spent: Secret | None = None) -> Issued:
        """Return the grant's current token; issue one if there is none, if it is about to expire, or if it is `spent`.

        However many calls wait, one token is issued.
        """
        if row.connector != service.connector:
            raise GrantMisplaced(detail=f"a grant of {row.connector} for {service.connector}")
        key = (row.id, service.token_endpoint, service.audience)
        if (issued := self._issued.get(key)) is not None and not _is_spent(issued, spent):
            return issued
        async with self._issuing.setdefault(row.id, asyncio.Lock()):
            if (issued := self._issued.get(key)) is not None and not _is_spent(issued, spent):
                return issued
            issued = self._issued[key] = await self._issue(row, service)
            return issued

    async def _issue(self, row: GrantRow, service: Service) -> Issued:
        try:
            token = await oauth.issue_by_assertion(
                service.client, service.token_endpoint, service.audience, self._unsealed(row)
            )
        except ReauthorizationNeeded:
            await self._set_status(row.id, "reauthorization_needed", "grant_ended", {"service": row.connector})
            raise
        if token.instance_url is not None and not _same_origin(token.instance_url, service.url):
            raise GrantMisplaced(detail=f"the token is for {token.instance_url}, the connector for {service.url}")
        value = token.access.reveal()
        digest = hmac.digest(self._key.derive("fingerprint"), value.encode(), hashlib.sha256)
        fingerprint = base64.b32encode(digest[:10]).decode().lower()
        return Issued(token, Secret(f"Bearer {value}"), fingerprint, needles(token.access))

    def _unsealed(self, row: GrantRow) -> oauth.JwtBearerGrant:
        if row.key_id != self._key.key_id:
            raise VaultUnreadable(detail=f"grant {row.id} is sealed with key {row.key_id}")
        place = Place(row.connector, row.principal, "private_key", row.version)
        public = json.loads(row.public)
        return oauth.JwtBearerGrant(
            public["client_id"], public["subject"], Secret(unseal(self._key, place, row.sealed).decode())
        )

    async def _set_status(self, grant_id: str, status: Any, kind: str, actor: Record) -> None:
        row, now = self._grants[grant_id], timestamp()

        def change(transaction: Transaction) -> None:
            self._store.grants.set_status(transaction, grant_id, status, now)
            self._store.trail.append(transaction, _event(kind, row, actor))

        await self._store.commits.commit(change)
        self._grants = {row.id: row for row in await asyncio.to_thread(self._store.read, self._store.grants.all)}


class Opened:
    """One grant, for one attempt; satisfies `egress.Authorization`."""

    def __init__(self, vault: Vault, row: GrantRow, service: Service) -> None:
        self._vault = vault
        self._row = row
        self._service = service
        self.matcher = SecretMatcher()
        self._used: Issued | None = None

    async def header(self) -> Secret:
        """Return the `Authorization` header's value."""
        return self._use(await self._vault.issued(self._row, self._service))

    async def renew(self, spent: Secret) -> None:
        """Have a new token issued, unless another call already has."""
        self._use(await self._vault.issued(self._row, self._service, spent))

    def record(self) -> Record | None:
        """Return what the trail keeps of the credential's use; None if it was not used."""
        if self._used is None:
            return None
        return {
            "grant": self._row.id,
            "kind": self._row.kind,
            "principal": self._row.principal,
            "fingerprint": self._used.fingerprint,
            "scopes": list(self._used.token.scopes),
        }

    def _use(self, issued: Issued) -> Secret:
        if issued is not self._used:
            self._used = issued
            self.matcher.add(issued.needles)
        return issued.header

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.matcher = SecretMatcher()  # the secrets' encodings go with the attempt


def _is_spent(issued: Issued, spent: Secret | None) -> bool:
    expires_at = issued.token.expires_at
    return (expires_at is not None and expires_at - _RENEW_EARLY <= time.time()) or issued.header == spent


def _same_origin(one: str, other: str) -> bool:
    first, second = urlsplit(one), urlsplit(other)
    return first.scheme == second.scheme == "https" and (first.hostname, first.port or 443) == (
        second.hostname,
        second.port or 443,
    )


def _shown(row: GrantRow) -> Grant:
    public = json.loads(row.public)
    return Grant(
        row.id,
        row.connector,
        row.principal,
        row.kind,
        row.status,
        public["client_id"],
        public["subject"],
        row.created,
        row.changed,
    )


def _event(kind: str, row: GrantRow, actor: Record) -> Record:
    return {
        "id": new_id(),
        "time": timestamp(),
        "kind": kind,
        "actor": dict(actor),
        "grant": {"id": row.id, "connector": row.connector, "principal": row.principal, "kind": row.kind},
    }
