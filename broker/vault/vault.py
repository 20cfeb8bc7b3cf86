"""The vault: which grants there are, sealed at rest, and their life: added, opened, ended by the service, revoked."""

import asyncio
import contextlib
import hmac
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Self

from broker import oauth
from broker.audit import Record, new_id, timestamp
from broker.egress import Secret
from broker.errors import (
    AlreadyExists,
    AuditUnavailable,
    GrantMisplaced,
    GrantUnavailable,
    KeyMismatch,
    NotFound,
    ReauthorizationNeeded,
    Refusal,
    StoreUnusable,
    VaultUnreadable,
)
from broker.store import Connection, GrantRow, GrantStatus, Store, Transaction
from broker.vault.keys import KeyEncryptionKey
from broker.vault.matcher import SecretMatcher
from broker.vault.seal import Place, seal, seal_bytes, unseal, unseal_bytes
from broker.vault.tokens import Issued, Service, Tokens

BROKER = "broker"
"""The principal of grants that belong to no person: the connector's service account."""

_CHECK = "vault key check"
_FIELD = "jwt-bearer grant"


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


class Vault:
    """Keeps grants sealed, and opens them for one attempt."""

    def __init__(self, store: Store, key: KeyEncryptionKey) -> None:
        self._store = store
        self._key = key
        self._grants: dict[str, GrantRow] = {}
        self._tokens = Tokens(key.derive("fingerprint"))

    async def start(self) -> None:
        """Load the grants; raise `KeyMismatch` if the store was sealed with another key."""
        check = self._key.derive("check").hex()
        known = await asyncio.to_thread(self._store.read, self._load)
        if known is None and self._grants:
            raise KeyMismatch("The store's grants have lost the check value of the key that sealed them.")
        if known is None:
            await self._store.commits.commit(lambda change: self._store.settings.put(change, _CHECK, check))
        elif not hmac.compare_digest(known.encode(), check.encode()):
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
            try:
                return unseal(self._key, place, sealed)
            except VaultUnreadable:
                raise StoreUnusable(f"The store's sealed key for {purpose} does not open.") from None
        fresh = os.urandom(32)
        value = seal(self._key, place, fresh)
        await self._store.commits.commit(lambda change: self._store.settings.put(change, name, value))
        return fresh

    def sealed_payload(self, call_id: str, field: str, data: bytes) -> bytes:
        """Return a value of a call sealed for that call and field; it opens nowhere else."""
        return seal_bytes(self._key, _payload(call_id, field), data)

    def opened_payload(self, call_id: str, field: str, sealed: bytes) -> bytes:
        """Return what was sealed for that call and field; raise `VaultUnreadable`."""
        try:
            return unseal_bytes(self._key, _payload(call_id, field), sealed)
        except VaultUnreadable:
            message = "What was recorded encrypted of this call does not open; an administrator must look at the vault."
            raise VaultUnreadable(message, detail=f"{field} of call {call_id}") from None

    def grants(self) -> list[Grant]:
        """Return what may be shown of every grant, the newest first."""
        return [_shown(row) for row in sorted(self._grants.values(), key=lambda row: row.created, reverse=True)]

    async def add(self, connector: str, grant: oauth.JwtBearerGrant, actor: Record) -> Grant:
        """Seal and keep a grant; raise `AlreadyExists` if the connector has one that is not revoked."""
        now, version = timestamp(), 1
        sealed = self._sealed(Place(connector, BROKER, _FIELD, version), grant)
        public = json.dumps({"client_id": grant.client_id, "subject": grant.subject})
        row = GrantRow(
            new_id(), connector, BROKER, "jwt-bearer", "active", "", public, version, self._key.key_id, sealed, now, now
        )

        def change(transaction: Transaction) -> bool:
            if self._store.grants.has_live(transaction, connector):
                raise AlreadyExists(f"{connector} has a grant already; revoke it first.")
            self._store.grants.add(transaction, row)
            self._store.trail.append(transaction, _event("grant_added", row, actor))
            return True

        await self._make(row, change)
        return _shown(row)

    def find(self, grant_id: str) -> Grant:
        """Return a grant by its id, or by the name of its connector; raise `NotFound`."""
        for row in sorted(self._grants.values(), key=lambda row: row.status == "revoked"):
            if grant_id in {row.id, row.connector}:
                return _shown(row)
        raise NotFound(f"There is no grant {grant_id!r}.")

    async def revoke(self, grant_id: str, service: Service | None, actor: Record) -> Refusal | None:
        """Forget a grant for good and, where the service offers it, have its live tokens revoked.

        The grant is revoked here even if the service cannot be told; then what kept it from knowing is returned.
        """
        row = self._row(grant_id)
        await self._set_status(row, "revoked", "grant_revoked", actor)
        live = await self._tokens.forget(grant_id)  # no other is issued now
        failure: Refusal | None = None
        if service is None or service.revocation_endpoint is None:
            return GrantMisplaced("The service offers no way to revoke tokens.") if live else None
        for token in live:
            try:
                await oauth.revoke(service.client, service.revocation_endpoint, _shown(row).client_id, token.access)
            except Refusal as refusal:
                failure = refusal
        return failure

    def open(self, service: Service) -> "Opened":
        """Open the connector's grant for one attempt.

        Raises `GrantUnavailable` if there is none and `ReauthorizationNeeded` if the service has ended it. No token is
        issued before one is needed.
        """
        for row in self._grants.values():
            if row.connector == service.connector and row.status != "revoked":
                return Opened(self, self._usable(row.id, service), service)
        raise GrantUnavailable(f"No account is connected for {service.connector}; 'aam grants add' connects one.")

    async def issued(self, grant_id: str, service: Service, refused: Secret | None = None) -> Issued:
        """Return the grant's current token, another than the one that was `refused`."""
        row = self._usable(grant_id, service)
        try:
            issued = await self._tokens.current(
                grant_id, lambda: self._unsealed(row), service, refused, lambda issued: self._note_issued(row, issued)
            )
        except ReauthorizationNeeded:
            await self._set_status(row, "reauthorization_needed", "grant_ended", {"service": row.connector})
            raise
        self._usable(grant_id, service)  # it may have been revoked meanwhile
        return issued

    async def _note_issued(self, row: GrantRow, issued: Issued) -> None:
        """Record what may be known of a new access token; raise `AuditUnavailable` if that cannot be done."""
        end = issued.token.expires_at
        record = {
            **_event("token_issued", row, {"service": row.connector}),
            "fingerprint": issued.fingerprint,
            "scopes": list(issued.token.scopes),
            "expires_at": None if end is None else timestamp(end),
        }
        await self._store.commits.commit(lambda change: self._store.trail.append(change, record))

    def _row(self, grant_id: str) -> GrantRow:
        if grant_id not in self._grants:
            raise NotFound(f"There is no grant {grant_id!r}.")
        return self._grants[grant_id]

    def _usable(self, grant_id: str, service: Service) -> GrantRow:
        """Return the grant as it is now, if the service may be called with it."""
        row = self._row(grant_id)
        if row.connector != service.connector:
            raise GrantMisplaced(detail=f"a grant of {row.connector} for {service.connector}")
        if row.status == "revoked":
            raise GrantUnavailable(f"The account that was connected for {service.connector} has been revoked.")
        if row.status == "reauthorization_needed":
            raise ReauthorizationNeeded
        return row

    def _sealed(self, place: Place, grant: oauth.JwtBearerGrant) -> str:
        """Seal all of it: what is kept in clear beside it is for people to read, and for nobody to rely on."""
        whole = {"client_id": grant.client_id, "subject": grant.subject, "private_key": grant.private_key.reveal()}
        return seal(self._key, place, json.dumps(whole).encode())

    def _unsealed(self, row: GrantRow) -> oauth.JwtBearerGrant:
        if row.key_id != self._key.key_id:
            raise VaultUnreadable(detail=f"grant {row.id} is sealed with key {row.key_id}")
        whole = json.loads(unseal(self._key, Place(row.connector, row.principal, _FIELD, row.version), row.sealed))
        return oauth.JwtBearerGrant(whole["client_id"], whole["subject"], Secret(whole["private_key"]))

    async def _set_status(self, row: GrantRow, status: GrantStatus, kind: str, actor: Record) -> None:
        sealed = "" if status == "revoked" else row.sealed
        changed = replace(row, status=status, changed=timestamp(), sealed=sealed)

        def change(transaction: Transaction) -> bool:
            if not self._store.grants.set_status(transaction, row.id, status, changed.changed):
                return False
            self._store.trail.append(transaction, _event(kind, row, actor))
            return True

        await self._make(changed, change)

    async def _make(self, row: GrantRow, change: Callable[[Transaction], bool]) -> None:
        """Commit a change after which a grant is as `row` says; it is known here too, whoever stops waiting.

        Where nothing is changed, or nobody can say, the store is asked what is so: a commit that was said to have
        failed may stand.
        """

        async def commit() -> None:
            made = False
            try:
                made = await self._store.commits.commit(change)
            finally:
                if made:
                    self._grants[row.id] = row
                else:
                    with contextlib.suppress(AuditUnavailable):
                        await asyncio.to_thread(self._store.read, self._load)

        await asyncio.shield(commit())


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
        return self._use(await self._vault.issued(self._row.id, self._service))

    async def renew(self, spent: Secret) -> None:
        """Have a new token issued, unless another call already has."""
        self._use(await self._vault.issued(self._row.id, self._service, spent))

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


def _payload(call_id: str, field: str) -> Place:
    return Place("-", call_id, field, 1)  # no connector has this name, and no call that of a principal


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
