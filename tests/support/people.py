"""An identity provider and a service of people's own notes, at one place: codes with PKCE, tokens that are somebody's.

Who comes to the authorization endpoint is who `login` says; the service answers each call with whose token it was.
"""

import base64
import hashlib
import json
import secrets
import time
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, urlencode, urlsplit

import requests
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from broker.testing.certificates import CertificateAuthority
from broker.testing.server import LoopbackServer, bind
from tests.support.documents import HEAD, Written, write_documents
from tests.support.notes import NotesService

PUBLIC = "https://access.example.com"
SIGN_IN, APP, SECRET = "broker-sign-in", "broker-app", "app-secret-0123456789"


class People:
    """Serves for the length of a `with` block. `owners` says whose each live token is."""

    def __init__(self, directory: Path) -> None:
        authority = CertificateAuthority(directory)
        listener = bind(0)
        self.url = f"https://localhost:{listener.getsockname()[1]}"
        self.ca_file = authority.certificate_file
        self.owners: dict[str, str] = {}
        self.refreshing: dict[str, str] = {}
        self.asked: list[str] = []
        """Whose token each call of the notes had, in order."""
        self._codes: dict[str, dict[str, str]] = {}
        routes = [
            Route("/authorize", self._authorize),
            Route("/token", self._token, methods=["POST"]),
            Route("/notes/{id}", self._note),
        ]
        self._server = LoopbackServer(Starlette(routes=routes), authority.issue("people"), listener)

    def __enter__(self) -> Self:
        self._server.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.__exit__(None, None, None)

    async def _authorize(self, request: Request) -> Response:
        query = dict(request.query_params)
        assert query["code_challenge_method"] == "S256"
        code = secrets.token_urlsafe(16)
        self._codes[code] = query | {"login": request.headers["x-login"]}
        answer = {"code": code, "state": query["state"], "iss": self.url}
        return RedirectResponse(f"{query['redirect_uri']}?{urlencode(answer)}", status_code=302)

    async def _token(self, request: Request) -> Response:
        form = {name: value for name, (value,) in parse_qs((await request.body()).decode()).items()}
        if form["grant_type"] == "refresh_token":
            login = self.refreshing.pop(form["refresh_token"], None)
            return self._refused() if login is None else JSONResponse(self._tokens(login))
        code = self._codes.pop(form.get("code", ""), None)
        if code is None or code["redirect_uri"] != form["redirect_uri"] or not _proves(code, form):
            return self._refused()
        tokens = self._tokens(code["login"])
        if "nonce" in code:
            claims = {"iss": self.url, "sub": code["login"], "aud": code["client_id"], "nonce": code["nonce"]}
            tokens["id_token"] = f"e30.{_encode(claims | {'exp': int(time.time()) + 60})}.c2ln"
        return JSONResponse(tokens)

    def _tokens(self, login: str) -> dict[str, Any]:
        access, refresh = f"CANARY-{secrets.token_hex(24)}", f"refresh-{secrets.token_hex(24)}"
        self.owners[access] = login
        self.refreshing[refresh] = login
        return {"access_token": access, "refresh_token": refresh, "token_type": "Bearer", "scope": "notes.read"}

    async def _note(self, request: Request) -> Response:
        owner = self.owners.get(request.headers.get("authorization", "").removeprefix("Bearer "))
        if owner is None:
            return JSONResponse({}, status_code=401)
        self.asked.append(owner)
        return JSONResponse({"id": request.path_params["id"], "text": f"a note of {owner}"})

    def _refused(self) -> Response:
        return JSONResponse({"error": "invalid_grant"}, status_code=400)


def documents_for(people: People, directory: Path, notes: NotesService) -> Written:
    """Write documents whose notes belong to people."""
    sign_in = {
        "issuer": people.url,
        "client_id": SIGN_IN,
        "authorization_endpoint": f"{people.url}/authorize",
        "token_endpoint": f"{people.url}/token",
        "private_ranges": ["127.0.0.0/8", "::1/128"],
        "certificate_authority": "people.pem",
    }
    directory.mkdir()
    (directory / "people.pem").write_text(people.ca_file.read_text())
    written = write_documents(directory, notes, consent={"url": PUBLIC, "sign_in": [sign_in]})
    written.put(
        "notes.yaml",
        f"""{HEAD}kind: Connector
metadata: {{name: notes}}
spec:
  type: notes
  url: {people.url}
  resources: {{notes: notes, secrets: secrets}}
  grants: {{kinds: [authorization-code, api-key]}}
  oauth:
    token_endpoint: "{people.url}/token"
    authorization_endpoint: "{people.url}/authorize"
    issuer: "{people.url}"
    authorization_response_iss_parameter_supported: true
    scopes: [notes.read]
  reach: {{private_ranges: [127.0.0.0/8, "::1/128"], certificate_authority: people.pem}}
""",
    )
    return written


class Browser:
    """A browser of somebody who is signed in as `login`; it follows one redirect at a time, and keeps cookies."""

    def __init__(self, people: People, broker_url: str, public_url: str, login: str) -> None:
        self._people = people
        self._broker_url = broker_url
        self._public_url = public_url
        self._login = login
        self.cookies: dict[str, str] = {}

    def get(self, url: str) -> requests.Response:
        """Open a page; the broker's own address is where it listens."""
        return self._ask("GET", url)

    def press(self, url: str) -> requests.Response:
        """Press the button of a page of the broker."""
        return self._ask("POST", url)

    def accept(self, link: str) -> requests.Response:
        """Follow an invitation to its end, whatever that is."""
        self.get(link)
        answer = self.press(link)
        while answer.status_code in {302, 303}:
            answer = self.get(answer.headers["location"])
        return answer

    def _ask(self, method: str, url: str) -> requests.Response:
        headers = {}
        if url.startswith(self._public_url):
            headers = {"Host": urlsplit(self._public_url).netloc, "Origin": self._public_url}
            headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
            url = self._broker_url + url.removeprefix(self._public_url)
        else:
            headers = {"X-Login": self._login}
        verify = str(self._people.ca_file)
        answer = requests.request(method, url, headers=headers, allow_redirects=False, verify=verify, timeout=60)
        for cookie in answer.raw.headers.getlist("set-cookie"):
            name, _, value = cookie.partition(";")[0].partition("=")
            self.cookies[name] = value
        return answer


def _proves(code: dict[str, str], form: dict[str, str]) -> bool:
    digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode() == code["code_challenge"]


def _encode(claims: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
