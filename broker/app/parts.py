"""The parts of a broker, built by hand and handed to each other."""

import asyncio
import contextlib
import time
from collections.abc import Mapping
from typing import Any, Self
from urllib.parse import urlsplit

from broker.app.federation import Federation
from broker.app.options import Options
from broker.budget import CallLimits, CallSlots, Ledger, load_prices
from broker.control import Approvals, Budgets, KillSwitch, Webhooks
from broker.documents import Documents, Snapshot
from broker.doors.entrance import Entrance, RefusedAuthentications
from broker.doors.mcp import McpServer
from broker.egress import Egress, Limits, Reach
from broker.evidence.heads import Heads
from broker.evidence.history import DocumentHistory
from broker.evidence.indexer import Indexer
from broker.evidence.sinks import open_sink
from broker.identity import BundleKeeper, BundleUrl, Identifier, TrustStore, WorkloadApi
from broker.metrics import Metrics, Watched
from broker.pipeline import Consents, ModelCalls, Pipeline, Reconciler, Recorder
from broker.store import Store
from broker.vault import (
    AccessKeys,
    Delegations,
    SigningKeys,
    Vault,
    put_next_key_in_place,
    read_key,
    read_next_key,
)


class Parts:
    """What a running broker is made of."""

    def __init__(
        self,
        options: Options,
        documents: Documents,
        store: Store,
        vault: Vault,
        signing: SigningKeys,
        recorder: Recorder,
    ) -> None:
        self.options = options
        self.documents = documents
        self.store = store
        self.vault = vault
        self.signing = signing
        self.recorder = recorder
        self.history = DocumentHistory(store)
        self.unfinished: list[str] = []
        self.started = time.time()
        self.egress = Egress()
        self.trust = TrustStore()
        self.bundles = BundleKeeper(self.trust)
        self.federation = Federation(documents, self.egress)
        broker = documents.current.broker
        sinks = [open_sink(source, self.egress) for source in documents.current.sinks]
        self.heads = Heads(store, signing, recorder, sinks, broker.trail.checkpoint_seconds)
        caps = broker.caps
        self.slots = CallSlots(caps.calls_at_once, caps.calls_at_once_per_agent)
        self.consents = Consents(documents, vault, self.egress, recorder)
        self.switch = KillSwitch(documents, store, recorder.owe)
        self.webhooks = Webhooks(documents, store, self.egress, signing)
        self.approvals = Approvals(store, recorder.digest, vault, self.webhooks.announce, recorder.owe)
        limits = CallLimits(store)
        self.ledger = Ledger(store)
        self.budgets = Budgets(documents, store, self.webhooks.deliver)
        self.pipeline = Pipeline(
            documents, self.switch, self.approvals, recorder, self.slots, limits, vault, self.egress, self.consents
        )
        self.models = ModelCalls(
            documents,
            self.switch,
            recorder,
            self.slots,
            self.ledger,
            vault,
            self.egress,
            lambda: self.pipeline.draining,
        )
        self.reconciler = Reconciler(documents, store, vault, self.models.means.service)
        self.access_keys = AccessKeys(store)
        self.refused = RefusedAuthentications(recorder.note)
        self.indexer = Indexer(store)
        identifier = Identifier(
            broker.audience,
            self.trust,
            lambda: documents.current.registry,
            lambda: documents.current.trust_domains,
            federated=self.federation.verifier,
            reviews=self.federation.reviews,
            keys=self.access_keys.ring,
            issued=self.federation.issued,
        )
        self.entrance = Entrance(documents, self.switch, identifier, self.refused, development=options.development)
        self.clients = Identifier(
            self.federation.authorization_server,
            self.trust,
            lambda: documents.current.registry,
            lambda: documents.current.trust_domains,
        )
        self.delegations = Delegations(store, self.federation.assertions, self.federation.issued)
        self.server = McpServer(documents, self.pipeline)
        self.metrics = Metrics(self._watched())

    @classmethod
    async def build(cls, options: Options, documents: Documents, stack: contextlib.AsyncExitStack) -> Self:
        """Open what must be open before any door is, and finish what a crash left open; `stack` closes it again.

        Raises `CannotStart`.
        """
        snapshot = documents.current
        source, where = snapshot.broker.key.source, snapshot.broker.key.where(snapshot.base)
        key = read_key(source, where)
        following = read_next_key(source, where)
        key.others = () if following is None else (following,)
        store = Store.open(snapshot.base / snapshot.broker.store, snapshot.broker.log)
        stack.callback(store.close)
        vault = Vault(store, key)
        await vault.start()
        if vault.replaced_key_id:  # a crash came between the rotation's last commit and this
            put_next_key_in_place(source, where, vault.replaced_key_id)
            key.retire_others()
        recorder = Recorder(store, await vault.digest_key("trail digests"), vault)
        signing = SigningKeys(store, key)
        await signing.start()
        parts = cls(options, documents, store, vault, signing, recorder)
        stack.callback(parts.metrics.close)
        stack.push_async_callback(parts.egress.close)
        stack.push_async_callback(parts.bundles.close)
        stack.push_async_callback(parts.federation.keeper.close)
        await parts.access_keys.start()
        await parts.heads.check()
        await parts.switch.start()
        await parts.approvals.start()
        await parts.approvals.look(snapshot, parts.switch.bars)
        parts.unfinished = await recorder.recover()
        await parts.ledger.recover()
        parts.trust_snapshot(snapshot)
        await parts.read_prices(snapshot)
        return parts

    def _watched(self) -> Watched:
        keys = self.federation.keys
        return Watched(
            self.documents,
            self.store,
            self.vault,
            self.switch,
            self.approvals,
            self.recorder,
            self.pipeline,
            self.models,
            self.reconciler,
            self.budgets,
            self.heads,
            self.indexer,
            self.trust,
            lambda url: len(held.keys) if (held := keys.find(url)) else 0,
            self.refused.totals,
            lambda: len(self.unfinished),
            self.trouble,
        )

    async def read_prices(self, snapshot: Snapshot) -> None:
        """Read the price list before a call needs it, if there are models: that takes half a second, once."""
        if snapshot.routes:
            await asyncio.to_thread(load_prices)

    def trust_snapshot(self, snapshot: Snapshot) -> None:
        """Put the snapshot's trust bundles in force, and keep those with URLs fresh."""
        self.trust.keep_only(set(snapshot.trust_sources))
        kept: list[BundleUrl | WorkloadApi] = []
        for name, source in snapshot.trust_sources.items():
            if source.bundle is not None:
                self.trust.put(source.bundle)
            elif source.workload_api is not None:
                kept.append(WorkloadApi(name, source.workload_api, source.stale_after))
            elif source.url is not None:
                reach = Reach(frozenset({urlsplit(source.url).netloc.lower()}), source.private)
                client = self.egress.client(reach, Limits(response_bytes=1 << 20), source.authority)
                kept.append(BundleUrl(name, source.url, client, source.stale_after, source.server))
        self.bundles.keep(kept)
        self.federation.put_in_force(snapshot)
        self.models.means.prices.prepare(snapshot.routes.values())

    def trouble(self) -> Mapping[str, Any] | None:
        """Return what keeps the broker from serving calls now, or None."""
        if self.pipeline.draining:
            return {"status": "draining"}
        if self.store.commits.failing or self.store.commits.stalled or self.recorder.hindrances:
            return {"status": "audit_unavailable"}
        return None
