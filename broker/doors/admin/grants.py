"""Grants: connect, list, test and revoke the accounts that the broker uses."""

import dataclasses
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from broker.audit import Record
from broker.doors.admin.operators import Operators, body
from broker.egress import Secret
from broker.errors import OperatorRequestInvalid
from broker.oauth import JwtBearerGrant, check_private_key
from broker.pipeline import service_of


class NewGrant(BaseModel):
    """The body of `POST /v1/grants`."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    connector: str
    client_id: Annotated[str, Field(min_length=1, max_length=500)]
    subject: Annotated[str, Field(min_length=1, max_length=500)]
    private_key: Annotated[str, Field(max_length=20_000)]


async def grants(operators: Operators, _request: Request, _actor: Record) -> Response:
    """List what may be shown of every grant."""
    return JSONResponse([dataclasses.asdict(grant) for grant in operators.vault.grants()])


async def add_grant(operators: Operators, request: Request, actor: Record) -> Response:
    """Connect an account by JWT bearer."""
    wanted = NewGrant.model_validate_json(await body(request))
    connection = operators.connection(wanted.connector)
    key = Secret(wanted.private_key)
    try:
        check_private_key(key)
    except ValueError as error:
        raise OperatorRequestInvalid(f"The key cannot be used: {error}.") from None
    grant = await operators.vault.add(connection.name, JwtBearerGrant(wanted.client_id, wanted.subject, key), actor)
    return JSONResponse(dataclasses.asdict(grant), status_code=201)


async def test_grant(operators: Operators, request: Request, actor: Record) -> Response:
    """Make the connector's harmless call with the grant."""
    grant = operators.vault.find(request.path_params["name"])
    connection = operators.connection(grant.connector)
    async with operators.calling(connection, "grant_tested", actor) as call:
        call.facts["grant"] = {"id": grant.id, "connector": grant.connector}
        answer = call.release(await connection.connector.probe(call.session, connection.document))
    return JSONResponse({"grant": grant.id, "connector": grant.connector, "answer": answer})


async def revoke_grant(operators: Operators, request: Request, actor: Record) -> Response:
    """Forget a grant, and have its live tokens revoked; say so where the service still honours one."""
    grant = operators.vault.find(request.path_params["name"])
    connection = operators.documents.current.connections.get(grant.connector)
    service = service_of(connection, operators.egress) if connection else None
    failure = await operators.vault.revoke(grant.id, service, actor)
    return JSONResponse(
        {
            "grant": grant.id,
            "status": "revoked",
            "before": grant.status,
            "not_revoked_at_service": failure.message if failure else None,
        }
    )
