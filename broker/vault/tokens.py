"""Access tokens in use: one for each grant and place where it is good, however many calls want it."""

import asyncio
import base64
import hashlib
import hmac
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from broker import oauth
from broker.egress import Client, Secret, origin
from broker.errors import GrantMisplaced, Refusal
from broker.vault.matcher import needles

_RENEW_EARLY = 60.0  # seconds before a known expiry; less for a token that lives for minutes only


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
class Issued:
    """An access token in use, with what every attempt needs of it, worked out once."""

    token: oauth.Token
    header: Secret
    fingerprint: str
    needles: frozenset[bytes] = field(repr=False)

    def is_spent(self, refused: Secret | None) -> bool:
        """Tell whether it is about to expire, or is the one that the service has refused."""
        if self.token.expires_at is not None:
            early = min(_RENEW_EARLY, (self.token.expires_at - self.token.issued_at) / 10)
            if time.time() >= self.token.expires_at - early:
                return True
        return self.header == refused


Unseal = Callable[[], oauth.JwtBearerGrant]
Note = Callable[[Issued], Awaitable[None]]
"""Puts on record that a token was issued; durable once it returns."""
_Key = tuple[str, str, str]  # grant, token endpoint, audience


class Tokens:
    """Keeps the tokens in use, in memory only, and has each issued once."""

    def __init__(self, fingerprint_key: bytes) -> None:
        self._fingerprint_key = fingerprint_key
        self._issued: dict[_Key, Issued] = {}
        self._issuing: dict[_Key, asyncio.Task[Issued]] = {}

    async def current(
        self, grant_id: str, unseal: Unseal, service: Service, refused: Secret | None, note: Note
    ) -> Issued:
        """Return the grant's token; issue one if there is none, or it is about to expire, or was `refused`.

        One that is issued is on record before anybody has it; if it cannot be recorded, nobody uses it.

        However many calls wait, the service is asked once, and all of them share what comes of it. A call that stops
        waiting stops nobody else.
        """
        key = (grant_id, service.token_endpoint, service.audience)
        if (issued := self._issued.get(key)) is not None and not issued.is_spent(refused):
            return issued
        if (issuing := self._issuing.get(key)) is None:
            issuing = self._issuing[key] = asyncio.create_task(self._issue(key, unseal, service, note))
            issuing.add_done_callback(lambda _: self._issuing.pop(key))
        failure: Refusal
        try:
            return await asyncio.shield(issuing)
        except Refusal as refusal:
            failure = refusal.anew()
        raise failure

    async def forget(self, grant_id: str) -> list[oauth.Token]:
        """Take a grant's tokens out of use and return them, those that are just being issued included."""
        if under_way := [task for key, task in self._issuing.items() if key[0] == grant_id]:
            await asyncio.wait(under_way)
        return [self._issued.pop(key).token for key in list(self._issued) if key[0] == grant_id]

    async def _issue(self, key: _Key, unseal: Unseal, service: Service, note: Note) -> Issued:
        token = await oauth.issue_by_assertion(service.client, service.token_endpoint, service.audience, unseal())
        if token.instance_url not in {None, origin(service.url)}:
            raise GrantMisplaced(detail=f"the token is for {token.instance_url}, the connector for {service.url}")
        value = token.access.reveal()
        digest = hmac.digest(self._fingerprint_key, value.encode(), hashlib.sha256)
        fingerprint = base64.b32encode(digest[:10]).decode().lower()
        issued = Issued(token, Secret(f"Bearer {value}"), fingerprint, needles(token.access))
        await note(issued)
        self._issued[key] = issued
        return issued
