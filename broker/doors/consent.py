"""The pages on which a person connects their own account: an invitation, a sign-in, a consent, and back.

Nothing of a page comes from a query, and no page is cached, framed or told of elsewhere.
"""

import html
import secrets
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from broker.egress import Secret
from broker.errors import ConsentRefused, Refusal
from broker.pipeline import Consents

_COOKIE = "__Host-aam-consent"  # RFC 6265bis §4.1.3.2: of this host alone, and over TLS (or to localhost) alone
_SECONDS = 600
_LONGEST = 4096  # characters of a code or state

Page = Callable[[Request], Awaitable[Response]]


def consent_routes(consents: Consents) -> list[Route]:
    """Return the pages."""

    async def invitation(request: Request) -> Response:
        consent = consents.shown(request.path_params["ticket"])
        scopes = ", ".join(consent.scopes) or "what its administrator has registered"
        return _page(
            f"Connect {consent.connector}?",
            f"An agent, {consent.actor.get('agent')}, wants to use {consent.connector} on your behalf: {scopes}. "
            "You sign in as yourself, then you consent at the service. The agent never sees your password or a token. "
            "If you did not ask an agent for this, close this page.",
            '<form method="post"><button>Sign in and continue</button></form>',
        )

    async def begin(request: Request) -> Response:
        browser = request.cookies.get(_COOKIE) or secrets.token_urlsafe(32)
        response = RedirectResponse(consents.sign_in(request.path_params["ticket"], browser), status_code=303)
        response.set_cookie(_COOKIE, browser, max_age=_SECONDS, path="/", secure=True, httponly=True, samesite="lax")
        return response

    async def signed_in(request: Request) -> Response:
        state, code, issuer = await _answer(request, consents)
        return RedirectResponse(await consents.signed_in(state, _browser(request), code, issuer), status_code=303)

    async def callback(request: Request) -> Response:
        state, code, issuer = await _answer(request, consents)
        grant = await consents.consented(state, _browser(request), code, issuer)
        if grant is None:
            return _page("Almost done", "Go back to the terminal in which you began.")
        return _page(
            "Connected", f"Your account of {grant.connector} is connected. Go back to the agent: it can go on."
        )

    return [
        Route("/consent/signed-in", _safely(signed_in), methods=["GET"]),
        Route("/consent/callback", _safely(callback), methods=["GET"]),
        Route("/consent/{ticket}", _safely(invitation), methods=["GET"]),
        Route("/consent/{ticket}", _safely(begin), methods=["POST"]),
    ]


async def _answer(request: Request, consents: Consents) -> tuple[str, Secret, str | None]:
    """Return state, code and issuer of what a browser brings back; each at most once (RFC 6749 §3.1)."""
    query = request.query_params
    if any(len(query.getlist(name)) > 1 for name in ("state", "code", "iss", "error")):
        raise ConsentRefused
    state, code = query.get("state", ""), query.get("code", "")
    if len(state) > _LONGEST or len(code) > _LONGEST:
        raise ConsentRefused
    if "error" in query or not code:
        await consents.declined(state, _browser(request))
    return state, Secret(code), query.get("iss")


def _browser(request: Request) -> str:
    return request.cookies.get(_COOKIE, "")


def _safely(page: Page) -> Page:
    async def safe(request: Request) -> Response:
        try:
            response = await page(request)
        except Refusal as refusal:
            response = _page("This did not work", refusal.message, status=403)
        response.headers.update(
            {
                "Cache-Control": "no-store",
                "Referrer-Policy": "same-origin",  # a link is no one else's to know; a form still says where it is from
                "X-Frame-Options": "DENY",
                "X-Content-Type-Options": "nosniff",
                "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; "
                "base-uri 'none'",
            }
        )
        return response

    return safe


def _page(title: str, text: str, form: str = "", status: int = 200) -> Response:
    return HTMLResponse(
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>'
        "<style>body{font:16px/1.5 system-ui;max-width:36rem;margin:4rem auto;padding:0 1rem}</style>"
        f"<h1>{html.escape(title)}</h1><p>{html.escape(text)}</p>{form}</html>",
        status_code=status,
    )
