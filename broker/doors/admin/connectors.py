"""The connectors as configured: what each is, whether it has an account, and how much of its allowance is used."""

import time
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from broker.audit import Record
from broker.doors.admin.operators import Operators


async def connectors(operators: Operators, _request: Request, _actor: Record) -> Response:
    """List the connectors."""
    documents = operators.documents.current
    built: dict[str, int] = {}
    for tool in documents.catalog:
        built[tool.connector] = built.get(tool.connector, 0) + (tool.tool.run is not None)
    grants: dict[str, list[str]] = {}
    for grant in operators.vault.grants():
        grants.setdefault(grant.connector, []).append(grant.status)
    return JSONResponse(
        [
            {
                "name": connection.name,
                "type": connection.document.type,
                "url": connection.url,
                "resources": dict(connection.document.resources),
                "tools": built.get(connection.name, 0),
                "pinned": connection.snapshot is not None,
                "grants": grants.get(connection.name, []),
                "usage": _usage(operators, connection.name, connection.document.limits.reserve),
            }
            for connection in sorted(documents.connections.values(), key=lambda one: one.name)
        ]
    )


def _usage(operators: Operators, name: str, reserve: int) -> dict[str, Any] | None:
    """Return what the service said last of how much it allows; None if it has said nothing since the start."""
    noted = operators.usages.noted.get(name)
    if noted is None:
        return None
    seconds_ago = max(0, round(time.monotonic() - noted.at))
    return {
        "used": noted.usage.used,
        "most": noted.usage.most,
        "reserve": reserve,
        "seconds_ago": seconds_ago,
        "full": noted.usage.used >= noted.usage.most - reserve,
    }
