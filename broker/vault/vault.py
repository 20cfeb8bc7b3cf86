"""The vault: which grants there are, sealed at rest, and their life: added, opened, ended by the service, revoked."""

import asyncio
import contextlib
import hmac
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from broker import oauth
from broker.audit import Record
from broker.egress import Secret
from broker.errors import (
    ConsentNeeded,
    GrantMisplaced,
    GrantUnavailable,
    KeyMismatch,
    NotFound,
    ReauthorizationNeeded,
    Refusal,
    StoreUnusable,
    VaultUnreadable,
)
from broker.identity import OnBehalfOf
from broker.store import Connection, GrantRow, GrantStatus, Store
from broker.vault.issuing import Issuing
from broker.vault.keys import KeyEncryptionKey
from broker.vault.ledger import Ledger
from broker.vault.material import CLIENT, Kept
from broker.vault.opened import Opened
from broker.vault.principals import BROKER, principal_of
from broker.vault.rekey import CHECK, RETIRED, Rekeying, retired_place
from broker.vault.rows import Grant, shown
from broker.vault.seal import Place, seal, seal_bytes, unseal, unseal_bytes
from broker.vault.service import Service
from broker.vault.tokens import Issued, Tokens

_NARROWED = frozenset({"client-credentials", "authorization-code", "token-exchange", "id-jag"})


class Vault:
    """Keeps grants sealed, and opens them for one attempt."""

    def __init__(self, store: Store, key: KeyEncryptionKey) -> None:
        self._store = store
        self._key = key
        self._grants = Ledger(store, key)
        self._tokens = Tokens()
        self._issuing = Issuing(self._grants, key.derive("fingerprint"))
        self.replaced_key_id = ""
        """The key that was in place at the start, where a rotation had only its last step still to make."""

    async def start(self) -> None:
        """Load the grants; raise `KeyMismatch` if the store was sealed with another key."""
        check = self._key.derive("check").hex()
        known = await asyncio.to_thread(self._store.read, self._load)
        if known is None and self._grants:
            raise KeyMismatch("The store's grants have lost the check value of the key that sealed them.")
        if known is None:
            await self._store.commits.commit(lambda change: self._store.settings.put(change, CHECK, check))
        elif not hmac.compare_digest(known.encode(), check.encode()):
            self._adopt_next(known)

    def _adopt_next(self, known: str) -> None:
        """Go on with the key that a rotation was putting in place, if that is the store's; raise `KeyMismatch`."""
        for other in self._key.others:
            if hmac.compare_digest(known.encode(), other.derive("check").hex().encode()):
                self.replaced_key_id = self._key.key_id
                self._key.give_way_to(other)
                return
        raise KeyMismatch

    def rekeying(self) -> Rekeying:
        """Return what puts another key in the place of the one that seals."""
        return Rekeying(self._store, self._grants, self._issuing, self._key)

    def _load(self, connection: Connection) -> str | None:
        self._grants.load(connection)
        return self._store.settings.get(connection, CHECK)

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
        return seal_bytes(self._key, payload_place(call_id, field), data)

    def opened_payload(self, call_id: str, field: str, sealed: bytes) -> bytes:
        """Return what was sealed for that call and field; raise `VaultUnreadable`."""
        try:
            return self._opened_payload(payload_place(call_id, field), sealed)
        except VaultUnreadable:
            message = "What was recorded encrypted of this call does not open; an administrator must look at the vault."
            raise VaultUnreadable(message, detail=f"{field} of call {call_id}") from None

    def _opened_payload(self, place: Place, sealed: bytes) -> bytes:
        """Open it with the key, or with one from before the last rotations: what is recorded stays as it was sealed."""
        for retired in self._retired_keys():
            with contextlib.suppress(VaultUnreadable):
                return unseal_bytes(retired, place, sealed)
        return unseal_bytes(self._key, place, sealed)

    def _retired_keys(self) -> list[KeyEncryptionKey]:
        names = self._store.read(lambda connection: self._store.settings.named(connection, RETIRED))
        places = {retired_place(name.removeprefix(RETIRED)): value for name, value in names.items()}
        return [KeyEncryptionKey(unseal(self._key, place, value)) for place, value in places.items()]

    def grants(self) -> list[Grant]:
        """Return what may be shown of every grant, the newest first."""
        rows = (row for row in self._grants.values() if row.kind != CLIENT)
        return [shown(row) for row in sorted(rows, key=lambda row: row.created, reverse=True)]

    def standing(self) -> Mapping[tuple[str, str, str], int]:
        """Return how many grants each connector has, of the organisation's and of persons', in each status."""
        rows = (row for row in self._grants.values() if row.kind != CLIENT)
        return Counter((row.connector, _whose(row), row.status) for row in rows)

    async def add(
        self,
        connector: str,
        grant: Kept,
        actor: Record,
        *,
        scopes: Sequence[str] = (),
        principal: str = BROKER,
        person: tuple[str, str] | None = None,
        instead: bool = False,
    ) -> Grant:
        """Seal and keep a grant; raise `AlreadyExists` if there is one of these scopes that is not revoked.

        With `instead`, it takes the place of one of its kind: somebody has connected their account again.
        """
        made = await self._grants.add(
            connector, principal, grant, actor, scopes=tuple(scopes), person=person, instead=instead
        )
        if instead:
            await self._forget_replaced(made)
        return shown(made)

    async def _forget_replaced(self, made: GrantRow) -> None:
        for row in list(self._grants.values()):
            if (row.connector, row.principal) == (made.connector, made.principal) and row.status == "revoked":
                await self._tokens.forget(row.id)

    def find(self, grant_id: str) -> Grant:
        """Return a grant by its id, or the organisation's by the name of its connector; raise `NotFound`."""
        named = [row for row in self._grants.values() if grant_id == row.id]
        named += [row for row in self._grants.values() if grant_id == row.connector and row.principal == BROKER]
        for row in sorted(named, key=lambda row: (row.status == "revoked", row.kind == CLIENT)):
            return shown(row)
        raise NotFound(f"There is no grant {grant_id!r}.")

    def client_of(self, service: Service) -> oauth.OAuthClient:
        """Return the client that is registered for a connector; raise `GrantMisplaced` if there is none."""
        return self._issuing.client(service)

    async def revoke(self, grant_id: str, service: Service | None, actor: Record) -> Refusal | None:
        """Forget a grant for good and, where the service offers it, have its tokens revoked there.

        The grant is revoked here even if the service cannot be told; then what kept it from knowing is returned.
        """
        row = self._grants[grant_id]
        kept = self._readable(row)
        await self._set_status(row, "revoked", "grant_revoked", actor)
        live = [(token.access, "access_token") for token in await self._tokens.forget(grant_id)]  # no other is issued
        refresh = self._issuing.unsaved(grant_id) or getattr(kept, "refresh_token", None)
        if refresh is not None:
            live.insert(0, (refresh, "refresh_token"))
        if row.kind in {"api-key", "basic", CLIENT}:
            return GrantMisplaced("A key or password is revoked at the service itself.") if row.kind != CLIENT else None
        if service is None or service.revocation_endpoint is None:
            return GrantMisplaced("The service offers no way to revoke tokens.") if live else None
        failure: Refusal | None = None
        client = getattr(kept, "client", None) or oauth.OAuthClient(shown(row).client_id)
        for secret, hint in live:
            try:
                await oauth.revoke(service.client, service.server, client, secret, hint)
            except Refusal as refusal:
                failure = refusal
        return failure

    async def rotate(self, grant_id: str, service: Service, actor: Record, secret: Secret | None = None) -> Grant:
        """Put a new secret in a grant's place, or have its tokens replaced now; what was in use is used no more."""
        row = self._usable(grant_id, service)
        if secret is not None:
            await self._issuing.replace_secret(row, secret, actor)
        elif row.kind in {"api-key", "basic"}:
            raise GrantMisplaced("A key or password is rotated by giving the new one.")
        await self._tokens.forget(grant_id)
        if secret is None:
            await self.issued(grant_id, service)
        return self.find(grant_id)

    def open(self, service: Service, delegated: OnBehalfOf | None = None, scopes: Sequence[str] = ()) -> Opened:
        """Open the grant that a call is made with, for one attempt: the narrowest that has the scopes it needs.

        Raises `GrantUnavailable` if there is none, `ConsentNeeded` if the person on whose behalf the call is made has
        none, and `ReauthorizationNeeded` if the service has ended it. No token is issued before one is needed.
        """
        principal, needed = principal_of(service, delegated), frozenset(scopes)
        found = [row for row in self._grants.live(service.connector, principal) if row.kind != CLIENT]
        wide = [row for row in found if not row.scopes or needed <= set(row.scopes.split())]
        for row in sorted(wide, key=_narrowest_first):
            narrowed = row.kind in _NARROWED
            wanted = tuple(sorted(needed)) or (tuple(row.scopes.split()) if row.kind == "client-credentials" else ())
            return Opened(self, self._usable(row.id, service), service, wanted if narrowed else ())
        lacking = f" with {' '.join(sorted(needed))}" if found and needed else ""
        if principal != BROKER:
            raise ConsentNeeded(
                f"The person on whose behalf this call is made has connected no account of {service.connector}"
                f"{lacking} yet; they must consent first.",
            )
        raise GrantUnavailable(
            f"No account is connected for {service.connector}{lacking}; 'aam grants add' connects one."
        )

    def open_for_operator(self, service: Service, grant_id: str | None = None) -> Opened:
        """Open one grant by its id, or the organisation's, for what an operator does himself: a test, a snapshot."""
        if grant_id is None:
            return self.open(replace(service, accounts="organisation"))
        return Opened(self, self._usable(grant_id, service), service)

    async def issued(
        self, grant_id: str, service: Service, refused: Secret | None = None, scopes: tuple[str, ...] = ()
    ) -> Issued:
        """Return the grant's current token, another than the one that was `refused`."""
        row = self._usable(grant_id, service)
        try:
            issued = await self._tokens.current(
                (grant_id, service.token_endpoint, service.audience, scopes),
                refused,
                lambda: self._issuing.issue(row, service, scopes, again=refused is not None),
            )
        except ReauthorizationNeeded as ended:
            await self._set_status(
                row, "reauthorization_needed", "grant_ended", {"service": row.connector}, reason=ended.detail
            )
            raise _ended(row, ended.detail) from None
        self._usable(grant_id, service)  # it may have been revoked meanwhile
        return issued

    def _usable(self, grant_id: str, service: Service) -> GrantRow:
        """Return the grant as it is now, if the service may be called with it."""
        row = self._grants[grant_id]
        if row.connector != service.connector:
            raise GrantMisplaced(detail=f"a grant of {row.connector} for {service.connector}")
        if row.status == "revoked":
            raise GrantUnavailable(f"The account that was connected for {service.connector} has been revoked.")
        if row.status == "reauthorization_needed":
            raise _ended(row)
        if row.kind not in service.kinds:
            raise GrantMisplaced(detail=f"the connector's document takes no {row.kind} grants")
        return row

    def _readable(self, row: GrantRow) -> Kept | None:
        """Return what is sealed in a grant that is to be revoked; None where it does not open: it is revoked anyway."""
        try:
            return self._grants.opened(row)
        except VaultUnreadable:
            return None

    async def _set_status(self, row: GrantRow, status: GrantStatus, kind: str, actor: Record, **facts: object) -> None:
        await self._grants.set_status(row, status, kind, actor, **facts)


def payload_place(call_id: str, field: str) -> Place:
    """Return where a recorded value belongs."""
    return Place("-", call_id, field, 1)  # no connector has this name, and no call that of a principal


def _ended(row: GrantRow, detail: str | None = None) -> Refusal:
    """Say how a grant that the service has ended is mended: by an administrator, or by the person whose it is."""
    if row.principal != BROKER:
        return ConsentNeeded(
            f"{row.connector} no longer honours the account that this person has connected; they must consent again.",
            detail=detail,
        )
    return ReauthorizationNeeded(
        f"{row.connector} no longer honours the connected account; an administrator must connect it again, with "
        f"'aam grants connect {row.connector}', or with 'aam grants revoke' and 'aam grants add'.",
        detail=detail,
    )


def _narrowest_first(row: GrantRow) -> tuple[bool, bool, int, str]:
    return row.status != "active", not row.scopes, len(row.scopes.split()), row.created


def _whose(row: GrantRow) -> str:
    return "organisation" if row.principal == BROKER else "person"
