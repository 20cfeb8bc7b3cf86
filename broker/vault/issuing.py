"""Has tokens issued for grants: one refresh at a time, and nothing that rotates is lost or used twice.

A refresh that may rotate its token writes down first that it begins; the new token, the grant's new version and the
record of the access token are one commit, before any call gets the access token. A crash in between leaves the old
token to be tried once more, and once only: a provider that sees a rotated token again and again revokes them all.
"""

import asyncio
import base64
import hashlib
import hmac
from dataclasses import replace
from typing import Any

from broker import oauth
from broker.audit import Record, timestamp
from broker.egress import HeaderSecret, Secret, origin
from broker.errors import GrantMisplaced, ReauthorizationNeeded, Refusal, UpstreamUnauthorized
from broker.oauth import ApiKeyGrant, AuthorizationCodeGrant, BasicGrant, OAuthClient, Token, TokenExchangeGrant
from broker.store import GrantRow
from broker.vault.ledger import Ledger
from broker.vault.matcher import Needles
from broker.vault.material import CLIENT, Kept, with_secret
from broker.vault.principals import BROKER
from broker.vault.rows import event
from broker.vault.service import Service
from broker.vault.tokens import Issued, earliness

_MOST_TRIES = 2  # of one refresh token: the refresh that a crash cut off, and one more
_INTERRUPTED = "a refresh was cut off, and the service no longer takes the token from before it"


class Issuing:
    """Asks the services for tokens, and keeps what they rotate."""

    def __init__(self, ledger: Ledger, fingerprint_key: bytes) -> None:
        self._ledger = ledger
        self._fingerprint_key = fingerprint_key
        self._turns: dict[str, asyncio.Lock] = {}
        self._unsaved: dict[str, tuple[GrantRow, GrantRow, Record]] = {}
        """What a service has rotated and the store did not take: written before anything else is asked."""

    async def issue(self, row: GrantRow, service: Service, scopes: tuple[str, ...], *, again: bool) -> Issued:
        """Get a token; `again` says that the service has refused the one before."""
        async with self._turns.setdefault(row.id, asyncio.Lock()):
            await self._save(row.id)
            row = self._ledger[row.id]  # whoever had the turn before may have rotated it
            kept = self._complete(self._ledger.opened(row), service)
            if isinstance(kept, ApiKeyGrant | BasicGrant):
                return self._as_it_is(kept, service, again=again)
            if isinstance(kept, AuthorizationCodeGrant) and kept.refresh_token is None:
                return await self._given(row, kept, service, again=again)
            return await self._asked(row, kept, service, scopes)

    async def _asked(self, row: GrantRow, kept: Kept, service: Service, scopes: tuple[str, ...]) -> Issued:
        assert not isinstance(kept, OAuthClient)  # noqa: S101 - no client's registration is opened for a call
        rotates = isinstance(kept, AuthorizationCodeGrant)
        began = await self._begin(row) if rotates else row
        try:
            token = await oauth.issue(service.client, service.server, kept, scopes)
            if token.instance_url not in {None, origin(service.url)}:
                raise GrantMisplaced(detail=f"the token is for {token.instance_url}, the connector for {service.url}")
        except Refusal as refusal:
            if rotates:
                await self._failed(began, refusal)
            raise
        issued = self._issued(token, HeaderSecret(f"Bearer {token.access.reveal()}"))
        record = self._record(row, issued)
        if isinstance(kept, AuthorizationCodeGrant):
            fresh = replace(kept, refresh_token=token.refresh or kept.refresh_token)
            self._unsaved[row.id] = (self._ledger.sealed(began, fresh), began, record)
            await self._save(row.id)
        else:
            await self._note(record)
        return issued

    async def _begin(self, row: GrantRow) -> GrantRow:
        """Write down that a refresh begins; refuse where two have begun and none has ended."""
        if row.refreshing >= _MOST_TRIES:
            raise ReauthorizationNeeded(detail=_INTERRUPTED)
        began = replace(row, refreshing=row.refreshing + 1)
        await self._ledger.renew(began, row)
        return began

    async def _failed(self, began: GrantRow, refusal: Refusal) -> None:
        """Forget that it began, unless the grant is dead: then its end is recorded by whoever asked."""
        if not isinstance(refusal, ReauthorizationNeeded):
            await self._ledger.renew(replace(began, refreshing=0), began)

    async def _save(self, grant_id: str) -> None:
        if grant_id in self._unsaved:
            after, before, record = self._unsaved[grant_id]
            await self._ledger.renew(after, before, record)
            del self._unsaved[grant_id]

    async def _given(self, row: GrantRow, kept: AuthorizationCodeGrant, service: Service, *, again: bool) -> Issued:
        if again:
            raise ReauthorizationNeeded(detail="the service refuses the token, and gave nothing to get another with")
        token = await oauth.issue(service.client, service.server, kept)
        issued = self._issued(token, HeaderSecret(f"Bearer {token.access.reveal()}"))
        await self._note(self._record(row, issued))
        return issued

    def _as_it_is(self, kept: ApiKeyGrant | BasicGrant, service: Service, *, again: bool) -> Issued:
        """Return a key or password as a header: there is nothing to get another with."""
        if again:
            raise UpstreamUnauthorized(detail="the service refuses the key or password that is stored")
        if isinstance(kept, ApiKeyGrant):
            token = Token(kept.key, None, (), 0.0, None)
            return self._issued(token, HeaderSecret(service.key_prefix + kept.key.reveal(), service.key_header))
        pair = base64.b64encode(f"{kept.username}:{kept.password.reveal()}".encode()).decode()
        token = Token(kept.password, None, (), 0.0, None)
        return self._issued(token, HeaderSecret(f"Basic {pair}"))

    def _issued(self, token: Token, header: HeaderSecret) -> Issued:
        digest = hmac.digest(self._fingerprint_key, token.access.reveal().encode(), hashlib.sha256)
        fingerprint = base64.b32encode(digest[:10]).decode().lower()
        return Issued(token, header, fingerprint, Needles.of(token.access), earliness())

    def _complete(self, kept: Any, service: Service) -> Kept:
        """Add what is not kept with the grant: the client as registered now, and the broker's own JWT-SVID."""
        if isinstance(kept, AuthorizationCodeGrant):
            kept = replace(kept, client=self.client(service, kept.client))
        if isinstance(kept, TokenExchangeGrant) and service.client_svid is not None:
            kept = replace(kept, actor=service.client_svid())
        client = getattr(kept, "client", None)
        if client is not None and client.method == "jwt_spiffe":
            kept = replace(kept, client=_with_svid(client, service))
        completed: Kept = kept
        return completed

    def unsaved(self, grant_id: str) -> Secret | None:
        """Forget, and return, a refresh token that the service has given and the store has not taken."""
        waiting = self._unsaved.pop(grant_id, None)
        kept = None if waiting is None else self._ledger.opened(waiting[0])
        return kept.refresh_token if isinstance(kept, AuthorizationCodeGrant) else None

    async def replace_secret(self, row: GrantRow, secret: Secret, actor: Record) -> None:
        """Put a new key, password or client secret in a grant's place, on record."""
        async with self._turns.setdefault(row.id, asyncio.Lock()):
            row = self._ledger[row.id]
            fresh = with_secret(self._ledger.opened(row), secret)
            await self._ledger.renew(self._ledger.sealed(row, fresh), row, event("grant_rotated", row, actor))

    async def reseal(self, grant_id: str) -> None:
        """Seal a grant with the key that seals now."""
        async with self._turns.setdefault(grant_id, asyncio.Lock()):
            await self._save(grant_id)
            row = self._ledger[grant_id]
            if row.status != "revoked":
                fresh = replace(self._ledger.sealed(row, self._ledger.opened(row)), refreshing=row.refreshing)
                await self._ledger.renew(fresh, row)

    def client(self, service: Service, copy: OAuthClient | None = None) -> OAuthClient:
        """Return the connector's registered client; a grant's own copy where that is of another client or none is."""
        for row in self._ledger.live(service.connector, BROKER):
            if row.kind == CLIENT:
                registered = self._ledger.opened(row)
                assert isinstance(registered, OAuthClient)  # noqa: S101 - that is what the kind says
                if copy is None or copy.client_id == registered.client_id:
                    return _with_svid(registered, service) if registered.method == "jwt_spiffe" else registered
        if copy is None:
            raise GrantMisplaced(
                f"No client is registered for {service.connector}; 'aam grants client {service.connector}' does that."
            )
        return copy

    def _record(self, row: GrantRow, issued: Issued) -> Record:
        """Say what may be known of a new access token."""
        end = issued.token.expires_at
        return {
            **event("token_issued", row, {"service": row.connector}),
            "fingerprint": issued.fingerprint,
            "scopes": list(issued.token.scopes),
            "expires_at": None if end is None else timestamp(end),
        }

    async def _note(self, record: Record) -> None:
        store = self._ledger.store
        await store.commits.commit(lambda change: store.trail.append(change, record))


def _with_svid(client: OAuthClient, service: Service) -> OAuthClient:
    if service.client_svid is None:
        raise GrantMisplaced(detail="jwt_spiffe needs oauth.client_svid in the Connector document")
    return replace(client, secret=service.client_svid())
