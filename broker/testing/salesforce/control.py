"""The service's switchboard for tests in another process: `/__control__`, JSON, on loopback like everything here.

GET                                                   -> the counters of Traffic
POST {"action": "add_fault", "fault": {"kind": "drop", "path": "/query"}}
POST {"action": "clear_faults"}
POST {"action": "expire_tokens"}
POST {"action": "revoke_tokens"}
POST {"action": "set_up_app", "callback_urls": [...], "rotates_refresh_tokens": true, "preauthorized": [...]}
POST {"action": "sign_in", "username": "jane@example.com"}
"""

from msgspec import UNSET, DecodeError, Struct, UnsetType
from msgspec.json import decode
from msgspec.structs import asdict
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from broker.testing.salesforce.faults import AnyFault, Faults
from broker.testing.salesforce.oauth import AuthorizationServer
from broker.testing.salesforce.traffic import Traffic

CONTROL_PATH = "/__control__"


class AddFault(Struct, frozen=True, forbid_unknown_fields=True, tag_field="action", tag="add_fault"):
    """Let a fault wait for its requests."""

    fault: AnyFault


class ClearFaults(Struct, frozen=True, forbid_unknown_fields=True, tag_field="action", tag="clear_faults"):
    """Forget every fault that still waits."""


class ExpireTokens(Struct, frozen=True, forbid_unknown_fields=True, tag_field="action", tag="expire_tokens"):
    """End every session by its timeout."""


class RevokeTokens(Struct, frozen=True, forbid_unknown_fields=True, tag_field="action", tag="revoke_tokens"):
    """Forget every session."""


class SetUpApp(Struct, frozen=True, forbid_unknown_fields=True, tag_field="action", tag="set_up_app"):
    """Change the registered app's settings; what is left out stays."""

    callback_urls: set[str] | UnsetType = UNSET
    preauthorized: set[str] | UnsetType = UNSET
    run_as: str | UnsetType | None = UNSET
    requires_pkce: bool | UnsetType = UNSET
    requires_secret: bool | UnsetType = UNSET
    rotates_refresh_tokens: bool | UnsetType = UNSET


class SignIn(Struct, frozen=True, forbid_unknown_fields=True, tag_field="action", tag="sign_in"):
    """Let the browser be this user's; null signs out."""

    username: str | None


_Action = AddFault | ClearFaults | ExpireTokens | RevokeTokens | SetUpApp | SignIn


class Control:
    """Carries out what a test asks for, and shows what it wants to count."""

    def __init__(self, traffic: Traffic, faults: Faults, authorization: AuthorizationServer) -> None:
        self._traffic = traffic
        self._faults = faults
        self._authorization = authorization

    def routes(self) -> list[Route]:
        """List the switchboard's own paths; they are neither counted nor subject to faults."""
        return [
            Route(CONTROL_PATH, self._show, methods=["GET"]),
            Route(CONTROL_PATH, self._act, methods=["POST"]),
        ]

    async def _show(self, _: Request) -> Response:
        return JSONResponse(self._traffic.counters())

    async def _act(self, request: Request) -> Response:
        try:
            action = decode(await request.body(), type=_Action)
        except DecodeError as error:
            return JSONResponse({"error": str(error)}, 400)
        match action:
            case AddFault(fault=fault):
                self._faults.add(fault)
            case ClearFaults():
                self._faults.clear()
            case ExpireTokens():
                self._authorization.sessions.expire()
            case RevokeTokens():
                self._authorization.sessions.forget()
            case SetUpApp():
                for name, value in asdict(action).items():
                    if value is not UNSET:
                        setattr(self._authorization.app, name, value)
            case SignIn(username=username):
                self._authorization.consent.signed_in = username
        return Response(status_code=204)
