"""One call of a model, start to end: the way of a tool's call, with attempts at one target after another."""

import datetime
import functools
from collections.abc import Callable

from broker.budget import CallSlots, Ledger
from broker.connector import INVOKE
from broker.control import KillSwitch
from broker.documents import Documents
from broker.egress import Egress
from broker.errors import Draining, ModelApiRefused, UnknownModel
from broker.models import read
from broker.pipeline.attempts import Model
from broker.pipeline.recorder import Recorder
from broker.pipeline.request import ModelAnswer, ModelRequest, Pass
from broker.pipeline.service import service_of
from broker.pipeline.story import Story
from broker.pipeline.trying import Means, Trying
from broker.policy import AccessRequest, Context
from broker.vault import Vault


class ModelCalls:
    """The policy enforcement point for models: `call` is the only way to one."""

    def __init__(
        self,
        documents: Documents,
        switch: KillSwitch,
        recorder: Recorder,
        slots: CallSlots,
        ledger: Ledger,
        vault: Vault,
        egress: Egress,
        draining: Callable[[], bool],
    ) -> None:
        self._documents = documents
        self._switch = switch
        self._recorder = recorder
        self._slots = slots
        self._ledger = ledger
        self._draining = draining
        self.means = Means(
            recorder.store.commits,
            ledger,
            vault,
            functools.lru_cache(maxsize=64)(lambda connection: service_of(connection, egress)),
            functools.lru_cache(maxsize=4096)(self._pseudonym),
        )

    def _pseudonym(self, workload: str) -> str:
        """Return a keyed digest, which is nobody's name."""
        return self._recorder.digest(f"model caller\n{workload}".encode())[:32]

    async def call(self, request: ModelRequest, emit: Pass) -> ModelAnswer:
        """Make one call, or raise the `Refusal` that says why not.

        `emit` gets the events of a stream as they come, but for what ends it: that, as any answer, is returned once
        *finished* is durable. Once `emit` was called, a refusal is the end of a stream that is not whole.
        """
        documents = self._documents.current
        async with Story(self._recorder, request, documents, request.body) as story:
            # 1. Who: the door verified the proof; whether the agent may call at all is read again, now.
            agent = story.by(self._switch.active(request.identity))
            self._recorder.check()
            if self._draining():
                raise Draining

            # 2. What: an agent knows only of models that its policies mention.
            policies = documents.policies_of(agent.workload)
            route = documents.routes.get(request.alias)
            if route is None or not policies.mentions(route.resource):
                raise UnknownModel
            story.on(Model(route.resource), policies.recorded)

            # 3. Decide: a pure function of the policies.
            access = AccessRequest(request.identity, INVOKE, route.resource, agent=agent, context=_context(request))
            story.decided(policies.decide(access)).enforce(access)

            # 4. What it asks for: nothing that is the route's to say.
            wanted = read(request.api, request.fields, request.alias, route, len(request.body))
            story.facts |= {"api": request.api, "streamed": wanted.stream}
            targets = route.ordered(request.api, self.means.health.rests)
            if not targets:
                raise ModelApiRefused(f"Model {route.alias!r} answers on {', '.join(sorted(route.apis))} only.")

            # 5. Hold, open and execute: one attempt after another, until one has answered or begun to.
            allowance = documents.allowance_of(agent.workload)
            with self._slots.hold(agent.workload), self._ledger.running(agent.workload, allowance):
                trying = Trying(self.means, documents, story, request, wanted, route, agent, emit)
                try:
                    text = await trying.one_of(targets)
                finally:
                    story.facts["attempts"] = trying.records()

                # 6. Release to an agent that still may call.
                self._switch.active(request.identity)
                trying.passed.take(text)
                story.answered(trying.passed)
        return ModelAnswer(story.call_id, text, wanted.stream, trying.cost)


def _context(request: ModelRequest) -> Context:
    return Context(datetime.datetime.now(datetime.UTC), request.origin.transport, request.origin.client)
