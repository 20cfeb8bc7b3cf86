"""One call, start to end. Only this file knows the order."""

import datetime
import sys
from dataclasses import replace
from typing import Any

from broker.budget import CallLimits, CallSlots
from broker.catalog import CatalogTool
from broker.connector import ToolCall
from broker.control import Approvals, KillSwitch
from broker.documents import Documents, Snapshot
from broker.egress import Egress
from broker.errors import (
    ActionNotBuilt,
    ArgumentsTooLarge,
    ConsentNeeded,
    Draining,
    InvalidArguments,
    Refusal,
    UnknownTool,
)
from broker.identity import Agent
from broker.pipeline.consents import Consents
from broker.pipeline.dialogue import Guarded
from broker.pipeline.payloads import DEEPEST, is_too_deep
from broker.pipeline.recorder import Change, Recorder
from broker.pipeline.request import Answer, Emit, Request
from broker.pipeline.resilience import Resilience
from broker.pipeline.service import credential_of, harmless, service_of, session_of
from broker.pipeline.story import Story
from broker.pipeline.touches import Decided, decide
from broker.pipeline.usage import Usages
from broker.policy import AccessRequest, Context, Decision
from broker.redact import Bounds, Released, release
from broker.vault import Credential, Vault
from broker.vault.cursors import CursorSealer


class Pipeline:
    """The policy enforcement point. Every door's calls go through `call`; there is no other way to a tool."""

    def __init__(
        self,
        documents: Documents,
        switch: KillSwitch,
        approvals: Approvals,
        recorder: Recorder,
        slots: CallSlots,
        limits: CallLimits,
        vault: Vault,
        egress: Egress,
        consents: Consents,
    ) -> None:
        self._documents = documents
        self._switch = switch
        self._approvals = approvals
        self._recorder = recorder
        self._slots = slots
        self._limits = limits
        self._vault = vault
        self._egress = egress
        self._consents = consents
        self._cursors = CursorSealer(recorder.derived("cursors"))
        self.usages = Usages()
        self.resilience = Resilience()
        self.draining = False

    async def call(self, request: Request, emit: Emit) -> Answer:
        """Make one call, or raise the `Refusal` that says why not.

        *Requested* and *decided* are durable before anything happens; *finished* is enqueued whatever ends the call,
        and the answer is released, or the refusal raised, only once it is durable.
        """
        documents = self._documents.current
        async with Story(self._recorder, request, documents) as story:
            # 1. Who: the door verified the proof; whether the agent may call at all is read again, now.
            agent = story.by(self._switch.active(request.identity))
            self._recorder.check()
            if self.draining:
                raise Draining

            # 2. What: an agent knows only of resources that its policies mention.
            policies = documents.policies_of(agent.workload)
            tool = documents.catalog.find(request.tool)
            if tool is None or not policies.mentions(tool.resource):
                raise UnknownTool
            access = AccessRequest(request.identity, tool.action, tool.resource, agent=agent, context=_context(request))
            story.on(tool, policies.recorded)

            # 3. What no rule could permit is denied before its arguments are looked at.
            if not policies.could_permit(tool.resource, tool.action):
                story.decided(policies.decide(access)).enforce(access)

            # 4. The arguments: of a sane size, and as the tool's own schema says.
            _check_size(story, request.arguments, documents)
            tool.check(request.arguments)

            # 5. Decide: a pure function of the policies and all that is touched; then the person, if one must be asked.
            decided = decide(policies, replace(access, arguments=request.arguments), tool)
            decision = story.decided(decided.decision)
            if decision.effect != "deny" and tool.tool.run is None:
                raise ActionNotBuilt(f"{tool.resource} {tool.action} is permitted, but not built yet.")
            if decision.effect == "needs_approval":
                asked = self._approvals.ask(decision, decided.request, tool.name, story.call_id, documents)
                decided = replace(decided, decision=story.asked(asked))
            decided.enforce()

            # 6. Hold what is limited, and record: from here on the call is on disk, whatever becomes of it.
            with self._slots.hold(agent.workload), self._limits.running(agent.workload, decision.limits):
                await story.begin(self._counting(agent, decision))

                # 7. Open the credential and execute, as one attempt.
                result = await self._attempt(documents, tool, request, decided, story, emit)

                # 8. Release what may leave, to an agent that still may call.
                self._switch.active(request.identity)
                story.released(result)
        return Answer(story.call_id, story.text, tool.tool.in_mcp)

    def permits(self, request: Request) -> bool:
        """Tell whether a call that lasts could still begin: by the documents, and with the grants, of this moment."""
        documents = self._documents.current
        try:
            agent = self._switch.active(request.identity)
            policies = documents.policies_of(agent.workload)
            tool = documents.catalog.find(request.tool)
            if tool is None or not policies.mentions(tool.resource):
                return False
            access = AccessRequest(
                request.identity, tool.action, tool.resource, request.arguments, agent=agent, context=_context(request)
            )
            service = service_of(documents.connections[tool.connector], self._egress)
            with credential_of(self._vault, service, request.identity.on_behalf_of, tool.tool.scopes):
                return decide(policies, access, tool).decision.effect != "deny"
        except Refusal:
            return False

    def _counting(self, agent: Agent, decision: Decision) -> Change:
        return lambda transaction: self._limits.count(transaction, agent.workload, decision.limits, _now())

    async def _attempt(
        self,
        documents: Snapshot,
        tool: CatalogTool,
        request: Request,
        decided: Decided,
        story: Story,
        emit: Emit,
    ) -> Released:
        """Open one credential, execute with it, and narrow the result to what the tool declares and policies permit."""
        connection = documents.connections[tool.connector]
        service = service_of(connection, self._egress)
        delegated = request.identity.on_behalf_of
        try:
            with credential_of(self._vault, service, delegated, tool.tool.scopes) as credential:
                self.usages.check(connection, credential.grant)
                noted = self.usages.noting(connection, credential.grant)
                session = session_of(connection, service, self._egress, credential, noted)
                story.with_credential(credential, session)
                assert tool.tool.run is not None  # noqa: S101 - step 5 saw to it
                try:
                    call = self._tool_call(documents, tool, request, decided, story, emit, credential)
                    result = await self.resilience.run(
                        connection, tool.tool, call, session, credential.matcher, story.tries
                    )
                except Refusal as refusal:
                    raise harmless(refusal, credential.matcher) from None
                story.executed()
                longest, bounds = documents.broker.caps.result_bytes, _bounds(decided.decision)
                return release(result, tool.tool.output_schema, credential.matcher, longest, bounds, tool.tool.records)
        except ConsentNeeded as needed:
            raise self._consents.invited(needed, service, delegated, request.identity.spiffe_id) from None

    def _tool_call(
        self,
        documents: Snapshot,
        tool: CatalogTool,
        request: Request,
        decided: Decided,
        story: Story,
        emit: Emit,
        credential: Credential,
    ) -> ToolCall:
        identity, decision = request.identity, decided.decision
        person = identity.on_behalf_of
        whose = f"{identity.spiffe_id}\n{person.issuer} {person.subject}" if person else identity.spiffe_id
        longest = min(documents.broker.caps.result_bytes, decision.obligations.max_bytes or sys.maxsize)
        return ToolCall(
            request.arguments,
            emit,
            decision.scope,
            decided.touched,
            self._recorder.digest(f"{whose}\n{tool.name}\n".encode() + (story.arguments or b"")),
            self._cursors.of(whose, tool.name),
            longest,
            Guarded(request.dialogue, credential.matcher, longest, story.asked_of_client),
            self._recorder.digest(whose.encode()),
            credential.grant,
        )


def _check_size(story: Story, arguments: Any, documents: Snapshot) -> None:
    most = documents.broker.caps.argument_bytes
    if story.arguments is None:
        raise InvalidArguments("The arguments hold text that is not Unicode, or a number that no service takes.")
    if len(story.arguments) > most:
        raise ArgumentsTooLarge(f"The arguments may have {most} bytes at most.")
    if is_too_deep(arguments, story.arguments):
        raise InvalidArguments(f"The arguments are nested more than {DEEPEST} deep.")


def _context(request: Request) -> Context:
    return Context(_now(), request.origin.transport, request.origin.client)


def _bounds(decision: Decision) -> Bounds:
    scope, obligations = decision.scope, decision.obligations
    return Bounds(scope.fields, scope.records, obligations.mask, obligations.redact, obligations.max_bytes)


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
