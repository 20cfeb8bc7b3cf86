"""The Salesforce-shaped service: the org, its OAuth endpoints and its REST API behind one HTTPS port on loopback.

with SalesforceService(directory=tmp_path) as service:
    requests.get(f"{service.url}/services/data", verify=service.ca_file)
"""

import contextlib
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from joserfc.jwk import RSAKey
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.routing import Mount

from broker.testing.certificates import CertificateAuthority, write_private
from broker.testing.salesforce.control import Control
from broker.testing.salesforce.data import seeded_org
from broker.testing.salesforce.errors import ServiceError
from broker.testing.salesforce.external_app import ExternalApp
from broker.testing.salesforce.faults import Faults
from broker.testing.salesforce.oauth import AuthorizationServer
from broker.testing.salesforce.resource import refuse
from broker.testing.salesforce.rest import DataApi
from broker.testing.salesforce.tokens import TokenMint
from broker.testing.salesforce.traffic import SeenRequest, Traffic
from broker.testing.server import LoopbackServer, bind

CONSUMER_KEY: Final = "3MVG9.testing.AgentAccessManager.ConsumerKey"
USERNAME: Final = "broker@example.com"
SESSION_SECONDS: Final = 7200.0  # an org's default: two hours of inactivity
PAGE_SIZE: Final = 200
RSA_BITS: Final = 2048


class SalesforceService:
    """A seeded org that is served for the length of a `with` block.

    `directory` receives what a client needs: the CA's certificate and the registered app's private key, both PEM.
    Every token it issues is in `tokens_issued` or `refresh_tokens_issued` and has `canary` in it; `app` is the
    registered app, whose settings a test may change; `data` knows the day's
    allowance and the bulk jobs. A `page_size` below 200 is smaller than any that Salesforce
    would use, so that few records make several pages. The counters include requests that a fault or a check kept from
    the org.
    """

    def __init__(
        self,
        directory: Path,
        *,
        port: int = 0,
        session_seconds: float = SESSION_SECONDS,
        page_size: int = PAGE_SIZE,
        canary: str = "CANARY",
    ) -> None:
        self._mint = TokenMint(canary)
        authority = CertificateAuthority(directory)
        app_key = RSAKey.generate_key(RSA_BITS, auto_kid=False)
        self.ca_file = authority.certificate_file
        self.private_key_file = directory / "consumer-key.pem"
        write_private(self.private_key_file, app_key.as_pem(private=True))
        self.app = ExternalApp(CONSUMER_KEY, app_key)
        self.consumer_key = self.app.consumer_key
        self.username = USERNAME
        self.org = seeded_org()

        listener = bind(port)
        self.url = f"https://localhost:{listener.getsockname()[1]}"
        self._authorization = AuthorizationServer(
            self.url, self.app, self._mint, username=self.username, session_seconds=session_seconds
        )
        self.data = DataApi(self.org, self._authorization, page_size)
        api = Starlette(
            routes=[*self._authorization.routes(), *self.data.routes()],
            exception_handlers={ServiceError: refuse, HTTPException: refuse},
        )
        self.faults = Faults(api)
        self._traffic = Traffic(self.faults)
        control = Control(self._traffic, self.faults, self._authorization)
        routed = Starlette(routes=[*control.routes(), Mount("/", app=self._traffic)])
        self._server = LoopbackServer(routed, authority.issue("server"), listener)
        self._running = contextlib.ExitStack()

    def __enter__(self) -> Self:
        self._running.enter_context(self._server)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._running.close()

    @property
    def audience(self) -> str:
        """The `aud` to put into an assertion; `https://login.salesforce.com` is accepted as well."""
        return self._authorization.url

    @property
    def tokens_issued(self) -> tuple[str, ...]:
        """Every access token so far, oldest first."""
        return tuple(self._mint.minted)

    @property
    def refresh_tokens_issued(self) -> tuple[str, ...]:
        """Every refresh token so far, oldest first."""
        return tuple(self._mint.renewing)

    @property
    def codes_issued(self) -> tuple[str, ...]:
        """Every authorization code so far, oldest first."""
        return tuple(self._mint.codes)

    @property
    def requests(self) -> tuple[SeenRequest, ...]:
        """Every request so far, oldest first, without headers and bodies."""
        return tuple(self._traffic.requests)

    @property
    def token_requests(self) -> int:
        """How many requests the token endpoint received."""
        return self._traffic.token_requests

    @property
    def api_requests(self) -> int:
        """How many requests the data resources received, with whatever outcome."""
        return self._traffic.api_requests

    @property
    def writes(self) -> int:
        """How many of those would have changed something: POST, PUT, PATCH and DELETE, with whatever outcome."""
        return self._traffic.writes

    def sign_in(self, username: str | None) -> None:
        """Let the browser that comes to the authorization endpoint be this user's; None signs out."""
        self._authorization.consent.signed_in = username

    def expire_tokens(self) -> None:
        """End every session by its timeout, now; refresh tokens live on."""
        self._authorization.sessions.expire()

    def revoke_tokens(self) -> None:
        """Forget every session and every refresh token, now."""
        self._authorization.sessions.forget()
