"""People and their browsers: they log in at oidc-provider, for an agent's token or to connect an own account."""

import base64
import hashlib
import secrets
from urllib.parse import parse_qs, urlencode, urljoin, urlsplit

import requests

from tests.support.idp.browser import _Forms

PUBLIC = "https://access.example.com"
CALLBACK = "http://127.0.0.1:1717/callback"
_MOST_PAGES = 20


class Person:
    """Somebody with a browser of their own: it keeps their session, and goes where it is sent."""

    def __init__(self, name: str, issuer: str, authority: str) -> None:
        self.name = name
        self._issuer = issuer
        self._http = requests.Session()
        self._http.verify, self._http.trust_env = authority, False
        self._cookies: dict[str, str] = {}

    def token(self, client: str, audience: str) -> str:
        """Log in to an agent's client, and return its access token for the broker."""
        verifier = secrets.token_urlsafe(48)
        digest = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        asked = {"client_id": client, "redirect_uri": CALLBACK, "response_type": "code", "resource": audience}
        asked |= {"scope": "openid agent-access", "code_challenge": digest, "code_challenge_method": "S256"}
        back = self._through(self._http.get(f"{self._issuer}/auth?{urlencode(asked)}", allow_redirects=False))
        (code,) = parse_qs(urlsplit(back.headers["location"]).query)["code"]
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK, "client_id": client}
        answer = self._http.post(f"{self._issuer}/token", form | {"code_verifier": verifier, "resource": audience})
        return str(answer.json()["access_token"])

    def connect(self, link: str, broker_url: str) -> str:
        """Follow an invitation of the broker to its end, and return the last page."""
        self._at_broker("GET", link, broker_url)
        page = self._at_broker("POST", link, broker_url)
        for _ in range(_MOST_PAGES):
            where = page.headers.get("location", "")
            if where.startswith(PUBLIC):
                page = self._at_broker("GET", where, broker_url)
            elif where:
                page = self._through(self._http.get(urljoin(page.url, where), allow_redirects=False))
            else:
                return page.text
        raise AssertionError(page.url)

    def _through(self, page: requests.Response) -> requests.Response:
        """Fill in the authorization server's pages until it sends the browser back."""
        for _ in range(_MOST_PAGES):
            where = page.headers.get("location", "")
            if where.startswith((CALLBACK, PUBLIC)):
                return page
            if where:
                page = self._http.get(urljoin(page.url, where), allow_redirects=False)
                continue
            forms = _Forms()
            forms.feed(page.text)
            assert forms.action is not None, page.text
            fields = {**forms.fields, **dict.fromkeys({"login", "password"} & forms.fields.keys(), self.name)}
            page = self._http.post(urljoin(page.url, forms.action), data=fields, allow_redirects=False)
        raise AssertionError(page.url)

    def _at_broker(self, method: str, url: str, broker_url: str) -> requests.Response:
        """Open a page of the broker, which listens elsewhere than browsers think."""
        headers = {"Host": urlsplit(PUBLIC).netloc, "Origin": PUBLIC}
        headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in self._cookies.items())
        where = broker_url + url.removeprefix(PUBLIC)
        page = requests.request(method, where, headers=headers, allow_redirects=False, timeout=60)
        for cookie in page.raw.headers.getlist("set-cookie"):
            name, _, value = cookie.partition(";")[0].partition("=")
            self._cookies[name] = value
        return page
