"""The connectors as configured: what each is, whether it has an account, and how much of its allowance is used."""

import dataclasses
import time
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from broker.audit import Record
from broker.documents import Connection
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
                "asks_for_grants": bool(connection.kinds),
                "usage": _usage(operators, connection.name, connection.document.limits.reserve),
                "resilience": operators.resilience.status(connection),
            }
            for connection in sorted(documents.connections.values(), key=lambda one: one.name)
        ]
    )


async def show_connector(operators: Operators, request: Request, _actor: Record) -> Response:
    """Show everything of one connector: its document as in force, tools, accounts, and what is pinned."""
    connection = operators.connection(request.path_params["name"])
    documents = operators.documents.current
    return JSONResponse(
        {
            "name": connection.name,
            "file": connection.file,
            "document": connection.document.model_dump(mode="json", exclude_unset=True),
            "kinds": list(connection.kinds),
            "accounts": connection.accounts,
            "hosts": sorted(connection.reach.hosts),
            "tools": [
                {
                    "name": tool.name,
                    "resource": tool.resource,
                    "action": tool.action,
                    "reads_only": tool.tool.reads_only,
                    "scopes": list(tool.tool.scopes),
                    "built": tool.tool.run is not None,
                }
                for tool in documents.catalog
                if tool.connector == connection.name
            ],
            "grants": [
                dataclasses.asdict(grant) for grant in operators.vault.grants() if grant.connector == connection.name
            ],
            "snapshot": _snapshot(operators, connection),
            "limits": connection.document.limits.model_dump(mode="json"),
            "usage": _usage(operators, connection.name, connection.document.limits.reserve),
            "resilience": operators.resilience.status(connection),
        }
    )


def _snapshot(operators: Operators, connection: Connection) -> dict[str, Any] | None:
    """Say which file is pinned, what is in it, and how long ago it was written; None where there is none."""
    path = connection.snapshot_file
    if path is None:
        return None
    documents = operators.documents.current
    digest = next((sha256 for name, sha256 in documents.digests.items() if documents.directory / name == path), None)
    try:
        age = int(time.time() - path.stat().st_mtime)
    except OSError:
        age = None
    return {"file": path.name, "pinned": connection.snapshot is not None, "sha256": digest, "age_seconds": age}


def _usage(operators: Operators, name: str, reserve: int) -> dict[str, Any] | None:
    """Return what the service said last of the account of which the most is used; None if it has said nothing yet."""
    noted = operators.usages.largest(name)
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
