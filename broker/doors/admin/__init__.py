"""The operators' door: HTTP on a Unix socket, whose peer's user decides who is asking and what they may ask.

Every change names its actor in the trail.
"""

import logging

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from broker.doors.admin import (
    approvals,
    budgets,
    connectors,
    documents,
    evidence,
    grants,
    holds,
    keys,
    metrics,
    models,
    payloads,
    registry,
    retention,
    search,
    snapshots,
    suspensions,
    trail,
    trying,
    vault,
)
from broker.doors.admin.operators import Handler, Needed, Operators
from broker.errors import InternalError, OperatorRefusal, OperatorRequestInvalid, Refusal

logger = logging.getLogger(__name__)

__all__ = ["Operators", "operators_app"]

_STATUS = {
    "operator_unknown": 403,
    "operator_forbidden": 403,
    "consent_refused": 403,
    "not_found": 404,
    "already_exists": 409,
    "rollback_under_way": 409,
    "history_damaged": 500,
    "audit_unavailable": 503,
    "index_unavailable": 503,
    "internal_error": 500,
}


def operators_app(operators: Operators) -> ASGIApp:
    """Return everything that operators reach.

    Reading needs any role, changing needs admin, revealing not approver, deciding not auditor.
    """
    reading: dict[str, Handler] = {
        "/v1/status": registry.status,
        "/v1/agents": registry.agents,
        "/v1/agents/suspensions": suspensions.suspensions,
        "/v1/approvals": approvals.approvals,
        "/v1/approvals/{id}": approvals.one,
        "/v1/budgets": budgets.budgets,
        "/v1/budgets/raises": budgets.raises,
        "/v1/budgets/overruns": budgets.overruns,
        "/v1/spend": budgets.spend,
        "/v1/tools": registry.tools,
        "/v1/models": models.models,
        "/v1/metrics": metrics.metrics,
        "/v1/grants": grants.grants,
        "/v1/connectors": connectors.connectors,
        "/v1/connectors/{name}": connectors.show_connector,
        "/v1/keys": keys.keys,
        "/v1/grants/{name}": grants.show_grant,
        "/v1/documents/history": documents.history,
        "/v1/documents/history/{digest}": documents.one_set,
        "/v1/documents/files/{sha256}": documents.file,
        "/v1/documents/rules": documents.rules,
        "/v1/trail": trail.trail,
        "/v1/trail/calls/{call_id}": trail.call,
        "/v1/trail/calls/{call_id}/proofs": evidence.proofs,
        "/v1/trail/calls/{call_id}/run": trail.run,
        "/v1/trail/calls/{call_id}/costs": trail.costs,
        "/v1/trail/export": trail.export,
        "/v1/trail/checkpoint": evidence.checkpoint,
        "/v1/trail/keys": evidence.keys,
        "/v1/trail/paths": evidence.paths,
        "/v1/trail/bundles/previous": evidence.previous,
        "/v1/trail/calls/{call_id}/payloads": payloads.of_call,
        "/v1/trail/payloads": payloads.matching,
        "/v1/trail/holds": holds.holds,
        "/v1/trail/search": search.search,
    }
    revealing: dict[str, Handler] = {"/v1/trail/calls/{call_id}/reveal": payloads.show}
    changing: dict[tuple[str, str], Handler] = {
        ("POST", "/v1/agents/suspend"): suspensions.suspend,
        ("POST", "/v1/agents/resume"): suspensions.resume,
        ("POST", "/v1/grants"): grants.add_grant,
        ("PUT", "/v1/grants/client"): grants.put_client,
        ("POST", "/v1/grants/connect"): grants.connect,
        ("POST", "/v1/grants/connect/{ticket}"): grants.finish_connecting,
        ("POST", "/v1/grants/{name}/test"): grants.test_grant,
        ("POST", "/v1/grants/{name}/rotate"): grants.rotate_grant,
        ("DELETE", "/v1/grants/{name}"): grants.revoke_grant,
        ("POST", "/v1/models/{name}/test"): models.test_route,
        ("POST", "/v1/keys"): keys.add,
        ("POST", "/v1/keys/{id}/revoke"): keys.revoke,
        ("POST", "/v1/vault/key"): vault.rotate_key,
        ("POST", "/v1/trail/keys"): evidence.rotate_key,
        ("POST", "/v1/trail/checkpoint"): evidence.ship,
        ("POST", "/v1/trail/prune"): retention.prune_some,
        ("POST", "/v1/documents/rollback"): documents.begin_rollback,
        ("DELETE", "/v1/documents/rollback/{id}"): documents.give_up_rollback,
        ("POST", "/v1/connectors/{name}/test"): trying.try_connector,
        ("POST", "/v1/connectors/{name}/snapshot"): snapshots.fetch_snapshot,
        ("PUT", "/v1/connectors/{name}/snapshot"): snapshots.approve_snapshot,
        ("POST", "/v1/trail/erase"): payloads.erase,
        ("POST", "/v1/trail/holds"): holds.add,
        ("POST", "/v1/trail/holds/{name}/release"): holds.release,
        ("POST", "/v1/trail/reindex"): search.reindex,
    }
    deciding: dict[str, Handler] = {
        "/v1/approvals/{id}/approve": approvals.approve,
        "/v1/approvals/{id}/refuse": approvals.refuse,
        "/v1/budgets/raise": budgets.raise_budget,
        "/v1/budgets/raises/{id}/withdraw": budgets.withdraw,
        "/v1/budgets/overruns/{id}/acknowledge": budgets.acknowledge,
    }
    app = Starlette(
        routes=[
            *(_route(operators, "GET", path, handler, "any") for path, handler in reading.items()),
            *(_route(operators, "POST", path, handler, "auditor") for path, handler in revealing.items()),
            *(_route(operators, "POST", path, handler, "approver") for path, handler in deciding.items()),
            _route(operators, "POST", "/v1/trail/bundles", evidence.add_bundle, "any"),
            *(_route(operators, method, path, handler, "admin") for (method, path), handler in changing.items()),
        ],
        exception_handlers={HTTPException: _not_a_route},
    )
    return PeerUser(app)


class PeerUser:
    """Puts the peer's user id, which the listener noted as the client's name, where the handlers look for it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; without a known peer, there is no operator."""
        if scope["type"] == "http":
            client = scope.get("client")
            scope["aam.uid"] = int(client[0].removeprefix("uid:")) if client and client[0].startswith("uid:") else -1
            await self._app(scope, receive, send)


def _route(operators: Operators, method: str, path: str, handler: Handler, needed: Needed) -> Route:
    async def endpoint(request: Request) -> Response:
        try:
            return await handler(operators, request, await operators.admit(request.scope["aam.uid"], needed))
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(map(str, first["loc"]))
            return _refused(OperatorRequestInvalid(f"{place}: {first['msg']}" if place else str(first["msg"])))
        except Refusal as refusal:
            return _refused(refusal)
        except Exception as error:
            logger.exception("the operators' door failed")  # says where and what kind, never the exception's own text
            return _refused(InternalError(detail=type(error).__name__))

    return Route(path, endpoint, methods=[method])


def _refused(refusal: Refusal) -> Response:
    fallback = 400 if isinstance(refusal, OperatorRefusal) else 502
    return JSONResponse(
        {"code": refusal.code, "message": refusal.message, "detail": refusal.detail},
        status_code=_STATUS.get(refusal.code, fallback),
    )


async def _not_a_route(_request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    return JSONResponse(
        {"code": "operator_request_invalid", "message": "There is no such request.", "detail": None}, status_code=status
    )
