"""Who the operators are, and what their requests work on."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal

from starlette.requests import Request
from starlette.responses import Response

from broker.audit import Record
from broker.documents import Connection, Documents
from broker.egress import Egress, Session
from broker.errors import NotFound, OperatorForbidden, OperatorRequestInvalid, OperatorUnknown
from broker.pipeline import Recorder, service_of
from broker.vault import Opened, Vault

_LARGEST_BODY = 1 << 20

Needed = Literal["admin", "auditor"]
Handler = Callable[["Operators", Request, Record], Awaitable[Response]]
"""Answers one request of the operator who is named as the actor."""


class Operators:
    """What operators may ask of the running broker."""

    def __init__(
        self,
        documents: Documents,
        recorder: Recorder,
        vault: Vault,
        egress: Egress,
        status: Callable[[], Mapping[str, Any]],
    ) -> None:
        self.documents = documents
        self.recorder = recorder
        self.vault = vault
        self.egress = egress
        self.status = status
        self.fetched: dict[str, bytes] = {}

    def actor(self, uid: int, needed: Needed) -> Record:
        """Return who is asking, for the trail; raise `OperatorUnknown` or `OperatorForbidden`."""
        known = self.documents.current.operators.get(uid)
        if known is None:
            raise OperatorUnknown(
                f"User id {uid} is not an operator; name it under 'operators' in the Broker document."
            )
        user, role = known
        if needed == "admin" and role != "admin":
            raise OperatorForbidden(f"{user} has the role {role}; this needs admin.")
        return {"user": user, "uid": uid, "role": role}

    def connection(self, name: str) -> Connection:
        """Return a configured connector; raise `NotFound`."""
        found = self.documents.current.connections.get(name)
        if found is None:
            raise NotFound(
                f"There is no connector {name!r}; there is {', '.join(self.documents.current.connections) or 'none'}."
            )
        return found

    def session(self, connection: Connection) -> tuple[Session, Opened]:
        """Return an authorised session for an operator's own call, and the credential, to be closed."""
        service = service_of(connection, self.egress)
        credential = self.vault.open(service)
        return Session(service.client, service.url, credential, connection.connector.expired), credential


async def body(request: Request) -> bytes:
    """Read a request's body; raise `OperatorRequestInvalid` if it is too large."""
    text = b""
    async for chunk in request.stream():
        text += chunk
        if len(text) > _LARGEST_BODY:
            raise OperatorRequestInvalid("The request is too large.")
    return text
