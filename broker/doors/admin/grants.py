"""Grants: connect, list, test, rotate and revoke the accounts that the broker uses."""

import dataclasses
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from broker.audit import Record
from broker.connector import ScopeName
from broker.documents import Connection
from broker.doors.admin.new_grants import ClientFields, NewGrant, SecretText, checked_key
from broker.doors.admin.operators import Operators, body
from broker.egress import Secret
from broker.errors import GrantMisplaced, OperatorRequestInvalid
from broker.pipeline import service_of
from broker.vault import Grant


class NewClient(ClientFields):
    """The body of `PUT /v1/grants/client`: the broker's own registration at a service, for people's consent."""

    connector: str


class NewConsent(BaseModel):
    """The body of `POST /v1/grants/connect`; without a `redirect_uri`, the browser comes back to the broker."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    connector: str
    scopes: Annotated[list[ScopeName], Field(max_length=100)] = Field(default_factory=list)
    # RFC 8252 §7.3: a loopback address, whatever the port
    redirect_uri: (
        Annotated[str, Field(pattern=r"^http://(127\.0\.0\.1|localhost|\[::1\]):[0-9]{1,5}/callback$")] | None
    ) = None


class ConsentAnswer(BaseModel):
    """The body of `POST /v1/grants/connect/{ticket}`: what stood in the redirect."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    state: SecretText | None = None
    code: SecretText | None = None
    iss: Annotated[str, Field(max_length=500)] | None = None


class NewSecret(BaseModel):
    """The body of `POST /v1/grants/{name}/rotate`."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    secret: SecretText | None = None


async def grants(operators: Operators, _request: Request, _actor: Record) -> Response:
    """List what may be shown of every grant."""
    return JSONResponse([dataclasses.asdict(grant) for grant in operators.vault.grants()])


async def show_grant(operators: Operators, request: Request, _actor: Record) -> Response:
    """Show one grant, and what may be done with it."""
    grant = operators.vault.find(request.path_params["name"])
    connection = operators.documents.current.connections.get(grant.connector)
    return JSONResponse(dataclasses.asdict(grant) | {"may": may(operators, connection, grant)})


def may(operators: Operators, connection: Connection | None, grant: Grant) -> list[str]:
    """Return the tools of a connector whose scopes a grant has."""
    if connection is None:
        return []
    scopes = set(grant.scopes)
    return [
        tool.name
        for tool in operators.documents.current.catalog
        if tool.connector == connection.name
        and tool.tool.run is not None
        and (not scopes or scopes.issuperset(tool.tool.scopes))
    ]


async def add_grant(operators: Operators, request: Request, actor: Record) -> Response:
    """Connect an account by a secret that an operator has."""
    wanted = NewGrant.model_validate_json(await body(request))
    connection = operators.connection(wanted.connector)
    if wanted.kind not in connection.kinds:
        raise OperatorRequestInvalid(
            f"{connection.name} takes no {wanted.kind} grants; it takes {', '.join(connection.kinds)}."
        )
    grant = await operators.vault.add(connection.name, wanted.grant(), actor, scopes=wanted.scopes)
    return JSONResponse(dataclasses.asdict(grant), status_code=201)


async def put_client(operators: Operators, request: Request, actor: Record) -> Response:
    """Register the client under which people consent; one that was registered before is replaced."""
    wanted = NewClient.model_validate_json(await body(request))
    connection = operators.connection(wanted.connector)
    if "authorization-code" not in connection.kinds:
        raise OperatorRequestInvalid(f"Nobody consents to {connection.name}: it takes no authorization-code grants.")
    client = await operators.vault.add(connection.name, wanted.client(), actor, instead=True)
    return JSONResponse({"connector": connection.name, "client_id": client.client_id})


async def connect(operators: Operators, request: Request, actor: Record) -> Response:
    """Begin a consent for the organisation: say where the operator's browser is to go."""
    wanted = NewConsent.model_validate_json(await body(request))
    connection = operators.connection(wanted.connector)
    if "authorization-code" not in connection.kinds:
        raise OperatorRequestInvalid(f"Nobody consents to {connection.name}: it takes no authorization-code grants.")
    service = service_of(connection, operators.egress)
    try:
        consent = operators.consents.connect(
            service, tuple(wanted.scopes or service.scopes), wanted.redirect_uri, actor
        )
    except GrantMisplaced as misplaced:
        raise OperatorRequestInvalid(misplaced.message, detail=misplaced.detail) from None
    return JSONResponse({"ticket": consent.ticket, "url": consent.request.url if consent.request else None})


async def finish_connecting(operators: Operators, request: Request, actor: Record) -> Response:
    """End it, with what the operator's browser brought back; `{"waiting": true}` while it has brought nothing."""
    answer = ConsentAnswer.model_validate_json(await body(request) or b"{}")
    grant = await operators.consents.connected(
        request.path_params["ticket"], actor, answer.model_dump(exclude_none=True)
    )
    if grant is None:
        return JSONResponse({"waiting": True})
    connection = operators.connection(grant.connector)
    return JSONResponse(dataclasses.asdict(grant) | {"may": may(operators, connection, grant)}, status_code=201)


async def test_grant(operators: Operators, request: Request, actor: Record) -> Response:
    """Make the connector's harmless call with the grant."""
    grant = operators.vault.find(request.path_params["name"])
    connection = operators.connection(grant.connector)
    async with operators.calling(connection, "grant_tested", actor, grant.id) as call:
        call.facts["grant"] = {"id": grant.id, "connector": grant.connector}
        answer = call.release(await connection.connector.probe(call.session, connection.document))
    return JSONResponse({"grant": grant.id, "connector": grant.connector, "answer": answer})


async def rotate_grant(operators: Operators, request: Request, actor: Record) -> Response:
    """Put a new secret in a grant's place, or have its tokens replaced now."""
    grant = operators.vault.find(request.path_params["name"])
    connection = operators.connection(grant.connector)
    given = NewSecret.model_validate_json(await body(request) or b"{}").secret
    secret = None if given is None else Secret(given.strip("\r\n"))
    if given is not None and grant.kind == "jwt-bearer":
        secret = checked_key(given)
    try:
        rotated = await operators.vault.rotate(grant.id, service_of(connection, operators.egress), actor, secret)
    except GrantMisplaced as misplaced:
        raise OperatorRequestInvalid(misplaced.message, detail=misplaced.detail) from None
    await operators.egress.processes.restart(grant.id)
    return JSONResponse(dataclasses.asdict(rotated))


async def revoke_grant(operators: Operators, request: Request, actor: Record) -> Response:
    """Forget a grant, and have its tokens revoked; say so where the service still honours one."""
    grant = operators.vault.find(request.path_params["name"])
    connection = operators.documents.current.connections.get(grant.connector)
    service = service_of(connection, operators.egress) if connection else None
    failure = await operators.vault.revoke(grant.id, service, actor)
    await operators.egress.processes.end(grant.id)
    return JSONResponse(
        {
            "grant": grant.id,
            "status": "revoked",
            "before": grant.status,
            "not_revoked_at_service": failure.message if failure else None,
        }
    )
