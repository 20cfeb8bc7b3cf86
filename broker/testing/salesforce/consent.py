"""The page where a person lets the app act for them, and the codes that come of it.

Source: Salesforce Help, "OAuth 2.0 Web Server Flow for Web App Integration" and "Authorization Errors". As in the
service, what is wrong with the app or its callback URL is said on the page and never sent anywhere; anything else
goes back to the callback URL. Unlike the service, signing in is naming a user: there are no passwords here. The
service adds no `iss` to what it sends back (RFC 9207), so neither does this.
"""

import base64
import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import Final
from urllib.parse import urlencode

from starlette.responses import HTMLResponse, RedirectResponse, Response

from broker.testing.salesforce.external_app import ExternalApp, OAuthError
from broker.testing.salesforce.tokens import TokenMint
from broker.testing.salesforce.users import BY_USERNAME, PEOPLE, Person

CODE_SECONDS: Final = 900.0  # "The authorization code expires after 15 minutes"
_PAGE: Final = """<!doctype html><title>Allow Access?</title>
<form method="post" action="/services/oauth2/authorize">
{hidden}<p>The app asks for: {scope}</p>
<label>Username <select name="username">{people}</select></label>
<button name="decision" value="allow">Allow</button> <button name="decision" value="deny">Deny</button>
</form>"""
_KEPT: Final = ("response_type", "client_id", "redirect_uri", "scope", "state", "code_challenge", "prompt")


@dataclass(frozen=True, slots=True)
class Code:
    """What an authorization code stands for."""

    person: Person
    scope: str
    redirect_uri: str
    challenge: str | None
    end: float


class Consent:
    """Asks people, and keeps the codes until they are spent. `signed_in` is who the browser's session belongs to."""

    def __init__(self, app: ExternalApp, mint: TokenMint) -> None:
        self._app = app
        self._mint = mint
        self._codes: dict[str, Code] = {}
        self.signed_in: str | None = None

    def ask(self, query: Mapping[str, str]) -> Response:
        """Show the page, or go straight on for a person who is signed in and whom the administrator approved."""
        refused = self._refused(query)
        if refused is not None:
            return refused
        person = BY_USERNAME.get(self.signed_in or "")
        if person and person.username in self._app.preauthorized and "consent" not in query.get("prompt", ""):
            return self._allow(query, person)
        hidden = "".join(
            f'<input type="hidden" name="{name}" value="{escape(query[name])}">\n' for name in _KEPT if name in query
        )
        people = "".join(f"<option>{escape(person.username)}</option>" for person in PEOPLE)
        return HTMLResponse(_PAGE.format(hidden=hidden, scope=escape(self._scope(query)), people=people))

    def decide(self, form: Mapping[str, str]) -> Response:
        """Take what the person chose on the page."""
        refused = self._refused(form)
        if refused is not None:
            return refused
        person = BY_USERNAME.get(form.get("username", ""))
        if person is None or form.get("decision") != "allow":
            return _back(form, error="access_denied", error_description="end-user denied authorization")
        return self._allow(form, person)

    def spend(self, form: Mapping[str, str]) -> Code:
        """Exchange a code, once; raise `OAuthError` where it is none, has expired, or does not match the request."""
        code = self._codes.pop(form.get("code", ""), None)
        if code is None or time.time() >= code.end:
            raise OAuthError("invalid_grant", "expired authorization code")
        if form.get("redirect_uri") != code.redirect_uri:
            raise OAuthError("redirect_uri_mismatch", "redirect_uri must match configuration")
        if code.challenge is not None and _challenge(form.get("code_verifier", "")) != code.challenge:
            raise OAuthError("invalid_grant", "invalid code verifier")
        return code

    def _allow(self, query: Mapping[str, str], person: Person) -> Response:
        code = self._mint.mint_code()
        end = time.time() + CODE_SECONDS
        challenge = query.get("code_challenge")
        self._codes[code] = Code(person, self._scope(query), query["redirect_uri"], challenge, end)
        return _back(query, code=code)

    def _refused(self, query: Mapping[str, str]) -> Response | None:
        if query.get("client_id") != self._app.consumer_key:
            return _said("invalid_client_id", "client identifier invalid")
        if query.get("redirect_uri") not in self._app.callback_urls:
            return _said("redirect_uri_mismatch", "redirect_uri must match configuration")
        if query.get("response_type") != "code":
            return _back(query, error="unsupported_response_type", error_description="response type not supported")
        if not set(self._scope(query).split()) <= self._app.scopes:
            return _back(query, error="invalid_scope", error_description="the requested scope is not allowed")
        if self._app.requires_pkce and not query.get("code_challenge"):
            return _back(query, error="invalid_request", error_description="missing required code challenge")
        return None

    def _scope(self, query: Mapping[str, str]) -> str:
        return query.get("scope") or " ".join(sorted(self._app.scopes))


def _challenge(verifier: str) -> str:
    digest = hashlib.sha256(verifier.encode()).digest()  # RFC 7636 §4.6; the service knows S256 only
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _said(error: str, description: str) -> Response:
    return HTMLResponse(f"<!doctype html><p>error={error}&amp;error_description={escape(description)}</p>", 400)


def _back(query: Mapping[str, str], **answer: str) -> Response:
    state = {"state": query["state"]} if "state" in query else {}
    separator = "&" if "?" in query["redirect_uri"] else "?"
    return RedirectResponse(f"{query['redirect_uri']}{separator}{urlencode(answer | state)}", 302)
