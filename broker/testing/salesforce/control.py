"""The service's switchboard for tests in another process: `/__control__`, JSON, on loopback like everything here.

GET                                                   -> the counters of Traffic
POST {"action": "add_fault", "fault": {"kind": "drop", "path": "/query"}}
POST {"action": "clear_faults"}
POST {"action": "expire_tokens"}
POST {"action": "revoke_tokens"}
"""

from msgspec import DecodeError, Struct
from msgspec.json import decode
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
            action = decode(await request.body(), type=AddFault | ClearFaults | ExpireTokens | RevokeTokens)
        except DecodeError as error:
            return JSONResponse({"error": str(error)}, 400)
        match action:
            case AddFault(fault=fault):
                self._faults.add(fault)
            case ClearFaults():
                self._faults.clear()
            case ExpireTokens():
                self._authorization.expire_tokens()
            case RevokeTokens():
                self._authorization.revoke_tokens()
        return Response(status_code=204)
