"""Metrics for operators: what a monitoring system scrapes, without a listener for it."""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from broker.audit import Record
from broker.doors.admin.operators import Operators
from broker.errors import OperatorRequestInvalid


async def metrics(operators: Operators, request: Request, _actor: Record) -> Response:
    """Show every metric: as text, or as JSON where `format` says so."""
    match request.query_params.get("format", "text"):
        case "json":
            return JSONResponse(await operators.metrics.values())
        case "text":
            body, content_type = await operators.metrics.text(request.headers.get("accept", ""))
            return Response(body, headers={"Content-Type": content_type})
    raise OperatorRequestInvalid("'format' is 'text' or 'json'.")
