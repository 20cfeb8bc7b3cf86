"""Who the operators are, and what their requests work on."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from starlette.requests import Request
from starlette.responses import Response

from broker.audit import Record
from broker.control import Approvals, Budgets, Cut, KillSwitch
from broker.documents import Connection, Documents
from broker.doors.entrance import RefusedAuthentications
from broker.egress import Egress, Session
from broker.egress import Response as Answer
from broker.errors import (
    InternalError,
    LeakBlocked,
    NotFound,
    OperatorForbidden,
    OperatorRefusal,
    OperatorRequestInvalid,
    OperatorUnknown,
    Refusal,
)
from broker.evidence.heads import Heads
from broker.evidence.history import DocumentHistory
from broker.evidence.indexer import Indexer
from broker.metrics import Metrics
from broker.pipeline import Consents, ModelCalls, Recorder, Resilience, Usages, harmless, service_of, session_of
from broker.vault import AccessKeys, Credential, NoCredential, Rekeying, SigningKeys, Vault

_LARGEST_BODY = 1 << 20

Needed = Literal["admin", "auditor", "approver", "any"]
_MAY = {
    "admin": ("admin",),
    "auditor": ("admin", "auditor"),
    "approver": ("admin", "approver"),
    "any": ("admin", "approver", "auditor"),
}
Handler = Callable[["Operators", Request, Record], Awaitable[Response]]
"""Answers one request of the operator who is named as the actor."""


@dataclass(frozen=True, slots=True)
class OperatorCall:
    """An operator's own call to a service: an authorised session, and what the record of it will say besides."""

    session: Session
    facts: dict[str, Any]
    credential: Credential

    def release(self, text: str) -> str:
        """Return what the service has said, or raise `LeakBlocked`: operators see no credentials either."""
        if self.credential.matcher.hits(text.encode("utf-8", "replace")):
            raise LeakBlocked(detail="the service's answer held the credential of this call")
        return text


class Operators:
    """What operators may ask of the running broker."""

    def __init__(
        self,
        documents: Documents,
        recorder: Recorder,
        vault: Vault,
        egress: Egress,
        heads: Heads,
        signing: SigningKeys,
        refused: RefusedAuthentications,
        status: Callable[[], Mapping[str, Any]],
        indexer: Indexer,
        history: DocumentHistory,
        usages: Usages,
        switch: KillSwitch,
        cut: Cut,
        approvals: Approvals,
        access_keys: AccessKeys,
        consents: Consents,
        resilience: Resilience,
        budgets: Budgets,
        models: ModelCalls,
        metrics: Metrics,
    ) -> None:
        self.documents = documents
        self.recorder = recorder
        self.vault = vault
        self.egress = egress
        self.heads = heads
        self.signing = signing
        self.status = status
        self.indexer = indexer
        self.history = history
        self.usages = usages
        self.switch = switch
        self.cut = cut
        """Ends what is open for agents that are barred."""
        self.approvals = approvals
        self.access_keys = access_keys
        self.consents = consents
        self.resilience = resilience
        self.budgets = budgets
        self.models = models
        self.metrics = metrics
        self.fetched: dict[str, bytes] = {}
        self.pruning = asyncio.Lock()
        """Held while something is pruned, and while an export takes its place before the next thing that is."""
        self.rekeying: Rekeying | None = None
        """The rotation of the vault's key that is under way."""
        self.rotating = asyncio.Lock()
        self._refused = refused

    async def admit(self, uid: int, needed: Needed) -> Record:
        """Return who is asking, for the trail; raise `OperatorUnknown` or `OperatorForbidden`, which are counted."""
        try:
            return self._actor(uid, needed)
        except OperatorRefusal as refusal:
            await self._refused.count("operators", f"uid:{uid}", refusal)
            raise

    def _actor(self, uid: int, needed: Needed) -> Record:
        known = self.documents.current.operators.get(uid)
        if known is None:
            raise OperatorUnknown(
                f"User id {uid} is not an operator; name it under 'operators' in the Broker document."
            )
        user, role = known
        if role not in _MAY[needed]:
            raise OperatorForbidden(f"{user} has the role {role}; this needs {' or '.join(_MAY[needed])}.")
        return {"user": user, "uid": uid, "role": role}

    def connection(self, name: str) -> Connection:
        """Return a configured connector; raise `NotFound`."""
        found = self.documents.current.connections.get(name)
        if found is None:
            raise NotFound(
                f"There is no connector {name!r}; there is {', '.join(self.documents.current.connections) or 'none'}."
            )
        return found

    @contextlib.asynccontextmanager
    async def calling(
        self,
        connection: Connection,
        kind: str,
        actor: Record,
        grant: str | None = None,
        noting: Callable[[Answer], None] | None = None,
    ) -> AsyncIterator[OperatorCall]:
        """Open a connector's credential for an operator's own call; that it was used is recorded, however it ends.

        Without a `grant`, it is the one of the organisation's that has the fewest scopes. `noting` is told what the
        service answers.
        """
        service = service_of(connection, self.egress)
        code: str | None = InternalError.code
        with self.vault.open_for_operator(service, grant) if service.kinds else NoCredential() as credential:
            expired = self.usages.noting(connection, credential.grant)

            def noted(answer: Answer) -> bool:
                if noting is not None:
                    noting(answer)
                return expired(answer)

            session = session_of(connection, service, self.egress, credential, noted)
            call = OperatorCall(session, {}, credential)
            try:
                yield call
                code = None
            except Refusal as refusal:
                shown = harmless(refusal, credential.matcher)
                code = shown.code
                raise shown from None
            finally:
                call.facts.update(credential=credential.record(), outcome={"code": code})
                await self.recorder.note(kind, actor=actor, connector=connection.name, **call.facts)

    @contextlib.asynccontextmanager
    async def calling_openly(
        self, connection: Connection, url: str, kind: str, actor: Record
    ) -> AsyncIterator[OperatorCall]:
        """Open a session without any credential, bound to the place of a URL, within the connector's reach."""
        client = self.egress.client(connection.reach, connection.limits, connection.authority)
        nothing = NoCredential()
        call = OperatorCall(Session(client, url, nothing, lambda _response: False), {}, nothing)
        code: str | None = InternalError.code
        try:
            yield call
            code = None
        except Refusal as refusal:
            code = refusal.code
            raise
        finally:
            call.facts.update(credential=None, outcome={"code": code})
            await self.recorder.note(kind, actor=actor, connector=connection.name, **call.facts)


async def body(request: Request, most: int = _LARGEST_BODY) -> bytes:
    """Read a request's body; raise `OperatorRequestInvalid` if it is too large."""
    text = bytearray()
    async for chunk in request.stream():
        text += chunk
        if len(text) > most:
            raise OperatorRequestInvalid("The request is too large.")
    return bytes(text)
