"""Consents under way: people and administrators who are in their browsers, and the secrets of their way back.

What is under way lives in memory and for minutes. An invitation is for one person and one connector; the browser that
takes it up signs in as that person before it is sent on, and only that browser can finish.
"""

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

from broker import oauth
from broker.audit import Record
from broker.documents import Documents
from broker.egress import Egress, Limits, Secret, origin
from broker.errors import ConsentNeeded, ConsentRefused, GrantMisplaced, NotFound, Refusal
from broker.identity import OnBehalfOf
from broker.oauth import AuthorizationRequest, AuthorizationServer, OAuthClient
from broker.pipeline.recorder import Recorder
from broker.pipeline.service import service_of
from broker.vault import BROKER, Grant, Service, Vault, person

_SECONDS = 600.0
_MOST = 2000  # under way at once; the oldest makes room


@dataclass(slots=True)
class Consent:
    """One consent under way. `person` is whose it is to be; None for the organisation's, which an operator began."""

    connector: str
    scopes: tuple[str, ...]
    person: OnBehalfOf | None
    actor: Record
    until: float
    browser: str | None = field(default=None, repr=False)
    request: AuthorizationRequest | None = field(default=None, repr=False)
    signed_in: bool = False
    came_back: tuple[Secret, str | None] | None = None
    ticket: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)


class Consents:
    """Invites people, takes them through their sign-in and consent, and keeps what they have granted."""

    def __init__(self, documents: Documents, vault: Vault, egress: Egress, recorder: Recorder) -> None:
        self._documents = documents
        self._vault = vault
        self._egress = egress
        self._recorder = recorder
        self._under_way: dict[str, Consent] = {}

    # What the pipeline asks

    def invited(self, needed: ConsentNeeded, service: Service, delegated: OnBehalfOf | None, agent: str) -> Refusal:
        """Return the refusal with a link for the person, where that person can consent here."""
        current = self._documents.current
        consent = current.broker.consent
        if delegated is None or consent is None or delegated.issuer not in current.sign_in:
            return needed
        if "authorization-code" not in service.kinds or service.authorization_endpoint is None:
            return needed
        try:
            self._vault.client_of(service)
        except Refusal:
            return needed
        ticket = self._invitation(service, delegated, agent)
        return ConsentNeeded(
            f"{needed.message} Have them open this link, which works for them alone: {consent.url}/consent/{ticket}",
            detail=needed.detail,
            consent_url=f"{consent.url}/consent/{ticket}",
        )

    def _invitation(self, service: Service, delegated: OnBehalfOf, agent: str) -> str:
        """Return the person's ticket for a connector: the one that is under way, so that a loop invites but once."""
        self._sweep()
        for consent in self._under_way.values():
            known = consent.person
            same = known is not None and (known.issuer, known.subject) == (delegated.issuer, delegated.subject)
            if same and consent.connector == service.connector and consent.browser is None:
                return consent.ticket
        return self._begin(service, delegated, {"person": delegated.subject, "agent": agent}).ticket

    # What the pages ask

    def shown(self, ticket: str) -> Consent:
        """Return what an invitation is about; raise `ConsentRefused` if there is none, or no longer."""
        return self._find(lambda consent: consent.person is not None and _same(consent.ticket, ticket))

    def sign_in(self, ticket: str, browser: str) -> str:
        """Bind an invitation to the browser that takes it up, and return where the person signs in."""
        consent = self.shown(ticket)
        provider = self._documents.current.sign_in.get(consent.person.issuer if consent.person else "")
        if provider is None or consent.browser not in {None, _digest(browser)}:
            raise ConsentRefused("This link has been opened in another browser already; ask for a new one.")
        consent.browser = _digest(browser)
        server = AuthorizationServer(
            provider.token_endpoint, "", provider.issuer, authorization_endpoint=provider.authorization_endpoint
        )
        consent.request = oauth.authorize(
            server,
            OAuthClient(provider.client_id),
            f"{self._url()}/consent/signed-in",
            ("openid",),
            nonce=secrets.token_urlsafe(16),
        )
        return consent.request.url

    async def signed_in(self, state: str, browser: str, code: Secret, issuer: str | None) -> str:
        """Check that the person who signed in is the one who was invited; return where they consent."""
        consent = self._of_browser(state, browser)
        request, delegated = consent.request, consent.person
        provider = self._documents.current.sign_in.get(delegated.issuer if delegated else "")
        if request is None or delegated is None or provider is None or consent.signed_in:
            raise ConsentRefused
        consent.request = None  # a state is good for one way back
        server = AuthorizationServer(provider.token_endpoint, "", provider.issuer)
        oauth.check_issuer(server, issuer)
        app = OAuthClient(provider.client_id)
        client = self._egress.client(provider.reach, Limits(response_bytes=1 << 20), provider.authority)
        _, answered = await oauth.redeem(client, server, app, request, code)
        who = oauth.read_id_token(answered, provider.issuer, provider.client_id, request.nonce)
        if (who.issuer, who.subject) != (delegated.issuer, delegated.subject):
            await self._refuse(consent, "somebody else signed in")
        consent.signed_in = True
        return self._ask(consent, f"{self._url()}/consent/callback")

    async def consented(self, state: str, browser: str, code: Secret, issuer: str | None) -> Grant | None:
        """Keep what a person has granted; None for an operator's consent, which ends where it was begun."""
        waiting = self._find(lambda one: one.request is not None and _same(one.request.state, state))
        if waiting.person is None:
            waiting.came_back = (code, issuer)
            return None
        consent = self._of_browser(state, browser)
        if not consent.signed_in:
            raise ConsentRefused
        return await self._keep(consent, code, issuer)

    async def declined(self, state: str, browser: str) -> None:
        """End a consent that its person has refused, or that went wrong at the service; on record."""
        waiting = self._find(lambda one: one.request is not None and _same(one.request.state, state))
        if waiting.person is not None:
            waiting = self._of_browser(state, browser)
        await self._refuse(waiting, "it was declined, or the service failed")

    # What operators ask

    def connect(self, service: Service, scopes: tuple[str, ...], redirect_uri: str | None, actor: Record) -> Consent:
        """Begin an operator's consent for the organisation, whose browser comes back here or to `redirect_uri`."""
        consent = self._begin(service, None, actor)
        consent.scopes = scopes
        self._ask(consent, redirect_uri or f"{self._url()}/consent/callback")
        return consent

    async def connected(self, ticket: str, actor: Record, answer: Mapping[str, Any]) -> Grant | None:
        """End an operator's consent, with the answer that came to them or to us; None while there is none."""
        consent = self._under_way.get(ticket)
        if consent is None or consent.until < time.monotonic() or (consent.person, consent.actor) != (None, actor):
            raise NotFound("There is no such consent under way; begin again.")
        if "state" in answer:
            if consent.request is None or not _same(consent.request.state, str(answer["state"])):
                await self._refuse(consent, "the state is another")
            consent.came_back = (Secret(str(answer.get("code", ""))), answer.get("iss"))
        if consent.came_back is None:
            return None
        return await self._keep(consent, *consent.came_back)

    # How

    def _begin(self, service: Service, delegated: OnBehalfOf | None, actor: Record) -> Consent:
        self._sweep()
        consent = Consent(service.connector, service.scopes, delegated, actor, time.monotonic() + _SECONDS)
        self._under_way[consent.ticket] = consent
        return consent

    def _ask(self, consent: Consent, redirect_uri: str) -> str:
        service = self._service(consent)
        consent.request = oauth.authorize(service.server, self._vault.client_of(service), redirect_uri, consent.scopes)
        return consent.request.url

    async def _keep(self, consent: Consent, code: Secret, issuer: str | None) -> Grant:
        """Redeem the code and seal what it is good for; a consent ends here, however it ends."""
        service, request = self._service(consent), consent.request
        self._under_way.pop(consent.ticket, None)
        if request is None:
            raise ConsentRefused
        app = self._vault.client_of(service)
        try:
            oauth.check_issuer(service.server, issuer)
            token, _ = await oauth.redeem(service.client, service.server, app, request, code)
            if token.instance_url not in {None, origin(service.url)}:
                raise GrantMisplaced(detail=f"the token is for {token.instance_url}, the connector for {service.url}")
        except Refusal as refusal:
            await self._refuse(consent, refusal.detail or refusal.code)
        whose = consent.person
        grant = oauth.AuthorizationCodeGrant(
            app, token.refresh, None if token.refresh else token.access, None if token.refresh else token.expires_at
        )
        return await self._vault.add(
            service.connector,
            grant,
            consent.actor,
            scopes=token.scopes or consent.scopes,
            principal=BROKER if whose is None else person(whose.issuer, whose.subject),
            person=None if whose is None else (whose.issuer, whose.subject),
            instead=True,
        )

    async def _refuse(self, consent: Consent, why: str) -> NoReturn:
        """End a consent, on record."""
        self._under_way.pop(consent.ticket, None)
        await self._recorder.note(
            "consent_refused", actor=consent.actor, connector=consent.connector, outcome={"reason": why}
        )
        raise ConsentRefused(detail=why)

    def _of_browser(self, state: str, browser: str) -> Consent:
        """Return the consent of a state, in the browser that took it up and in no other."""
        return self._find(
            lambda consent: (
                consent.request is not None
                and _same(consent.request.state, state)
                and consent.browser is not None
                and _same(consent.browser, _digest(browser))
            )
        )

    def _find(self, wanted: Callable[[Consent], bool]) -> Consent:
        self._sweep()
        for consent in self._under_way.values():
            if wanted(consent):
                return consent
        raise ConsentRefused("This link is no longer good, or was never good in this browser; ask for a new one.")

    def _service(self, consent: Consent) -> Service:
        connection = self._documents.current.connections.get(consent.connector)
        if connection is None or "authorization-code" not in connection.kinds:
            raise GrantMisplaced(detail="the connector is gone, or takes no authorization-code grants any more")
        return service_of(connection, self._egress)

    def _url(self) -> str:
        consent = self._documents.current.broker.consent
        if consent is None:
            raise GrantMisplaced("The Broker document names no 'consent.url' at which a browser could come back.")
        return consent.url

    def _sweep(self) -> None:
        now = time.monotonic()
        kept = {ticket: consent for ticket, consent in self._under_way.items() if consent.until > now}
        while len(kept) >= _MOST:
            kept.pop(next(iter(kept)))
        self._under_way = kept


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode("utf-8", "replace"))


def _digest(browser: str) -> str:
    return hashlib.sha256(browser.encode("utf-8", "replace")).hexdigest()
