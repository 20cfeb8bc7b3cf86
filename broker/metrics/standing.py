"""How a broker stands, from what it has in memory: read on the event loop when somebody asks, in well under a ms."""

import datetime
import platform
import time
from collections.abc import Iterator

from prometheus_client import Metric
from prometheus_client.core import InfoMetricFamily

import broker
from broker.metrics.drift import Drift
from broker.metrics.families import counter, counters, gauge, gauges
from broker.metrics.watched import Watched

_NANO = 1e-9


def broker_families(watched: Watched) -> Iterator[Metric]:
    """Yield how the broker itself stands."""
    documents, recorder = watched.documents, watched.recorder
    build = {"version": broker.__version__, "python": platform.python_version()}
    yield InfoMetricFamily("aam_build", "Which version of the broker runs.", value=build)
    yield gauge("aam_ready", "1 where calls are served, 0 where none is: /readyz says why.", watched.trouble() is None)
    yield gauge("aam_calls_in_flight", "Calls that have begun and whose end is not on disk yet.", recorder.running)
    caps = documents.current.broker.caps
    yield gauge("aam_calls_in_flight_limit", "Calls that may run at once, of all agents together.", caps.calls_at_once)
    yield counters(
        "aam_authentications_refused",
        "Callers that were turned away before any call, by how they came and the refusal's code.",
        ("transport", "code"),
        watched.refused.items(),
    )
    yield gauge(
        "aam_documents_generation",
        "How many sets of documents have been in force since the start.",
        documents.generation,
    )
    yield gauge("aam_documents_loaded_timestamp_seconds", "When the set in force was loaded.", documents.loaded_at)
    yield counter(
        "aam_documents_refused", "Sets that were found on disk and not loaded, for mistakes.", documents.refused
    )
    failed = documents.last_problem is not None
    yield gauge(
        "aam_documents_last_load_failed", "1 while what is on disk has mistakes, and an older set is in force.", failed
    )
    yield gauge("aam_documents_warnings", "Warnings about the set in force.", len(documents.current.warnings))
    yield gauge("aam_suspensions", "Suspensions by operators that are in force.", len(list(watched.switch.in_force)))
    yield gauge("aam_approvals_waiting", "Calls that wait for a person's decision.", watched.approvals.waiting)


def money_families(watched: Watched) -> Iterator[Metric]:
    """Yield what has become known of money since its calls ended."""
    yield counters(
        "aam_model_cost_given_back_usd",
        "Of the cost by upper_bound, in US dollars, what OpenRouter has said since that it did not bill.",
        ("route", "provider", "model"),
        ((target, nanos * _NANO) for target, nanos in watched.reconciler.given_back.items()),
    )


def trail_families(watched: Watched) -> Iterator[Metric]:
    """Yield how trail and store stand."""
    store, recorder, heads = watched.store, watched.recorder, watched.heads.status()
    commits = store.commits
    yield counter("aam_trail_records", "Records that the trail has.", commits.values[store.trail.HEAD].size)
    yield gauge("aam_trail_signed_records", "Records under the head that was signed last.", heads["signed"] or 0)
    signed = _epoch(heads["signed_at"])
    yield gauge("aam_trail_signed_timestamp_seconds", "When the trail's head was signed last; 0 if never.", signed)
    sinks = heads["ship"]
    yield gauges(
        "aam_trail_shipped_timestamp_seconds",
        "When a head was shipped last, by sink; one that has not changed is shipped every hour. 0 if never.",
        ("sink",),
        (((one["name"],), _epoch(one["at"])) for one in sinks),
    )
    yield gauges(
        "aam_trail_shipped_records",
        "Records under the head that was shipped last.",
        ("sink",),
        (((one["name"],), one["records"] or 0) for one in sinks),
    )
    failing = (((one["name"],), one["problem"] is not None) for one in sinks)
    yield gauges("aam_trail_ship_failing", "1 where a head could not be shipped.", ("sink",), failing)
    yield counter("aam_store_commit_failures", "Commits that the store has refused.", commits.failures)
    yield gauge("aam_store_failing", "1 while the store refuses commits: no call is made.", commits.failing)
    yield gauge("aam_store_stalled", "1 while a commit takes so long that no call is made.", commits.stalled)
    yield gauge(
        "aam_unfinished_calls_found",
        "Calls that a dead process had left open, found at this start.",
        watched.unfinished(),
    )
    yield gauge("aam_records_owed", "Ends of calls that could not be written and are still to be.", recorder.owed)
    yield gauges(
        "aam_recording_hindered",
        "1 for what else keeps records from being evidence, so that no call is made.",
        ("what",),
        (((what,), 1) for what in list(recorder.hindrances)),
    )


def service_families(watched: Watched, drift: Drift) -> Iterator[Metric]:
    """Yield how the services stand that are called: their circuits, accounts, definitions and targets."""
    snapshot, resilience = watched.documents.current, watched.pipeline.resilience
    standing = {name: resilience.status(one) for name, one in sorted(snapshot.connections.items())}
    circuits = {name: one for name, one in standing.items() if one is not None}
    yield gauges(
        "aam_connector_circuit",
        "1 for the state of a connector's circuit; open: the service has failed and is left alone.",
        ("connector", "state"),
        (
            ((name, state), one["circuit"] == state)
            for name, one in circuits.items()
            for state in ("closed", "half_open", "open")
        ),
    )
    running = (((name,), one["running"]) for name, one in circuits.items())
    yield gauges("aam_connector_calls_in_flight", "Calls of a service that run.", ("connector",), running)
    usages = {name: noted.usage for name in snapshot.connections if (noted := watched.pipeline.usages.largest(name))}
    yield gauges(
        "aam_connector_allowance_used",
        "Requests that a service has counted, of the account that has used the most, as it said last.",
        ("connector",),
        (((name,), one.used) for name, one in usages.items()),
    )
    most = (((name,), one.most) for name, one in usages.items())
    yield gauges("aam_connector_allowance", "Requests that the service allows it.", ("connector",), most)
    wanted = {
        (name, "organisation", status): 0
        for name, one in snapshot.connections.items()
        if one.kinds
        for status in _GRANTS
    }
    yield gauges(
        "aam_grants",
        "Connected accounts, by connector, whose they are (the organisation's, or persons' own), and status.",
        ("connector", "whose", "status"),
        {**wanted, **watched.vault.standing()}.items(),
    )
    yield gauges(
        "aam_tool_definition_drifted",
        "1 for a tool that is refused because its server describes it otherwise than was approved.",
        ("connector", "resource", "action"),
        (((tool.connector, tool.resource, tool.action), 1) for tool in drift.now(snapshot.catalog)),
    )
    targets = {
        (target.connector, target.model): watched.models.means.health.rests_for(target)
        for route in snapshot.routes.values()
        for target in route.targets
    }
    yield gauges(
        "aam_model_target_rests_seconds",
        "For how long yet a model that has failed is tried after all others only.",
        ("provider", "model"),
        targets.items(),
    )


def trust_families(watched: Watched) -> Iterator[Metric]:
    """Yield whose word is taken, and whether anything is there to check it by."""
    snapshot, now = watched.documents.current, time.time()
    known = {name: watched.trust.find(name) for name in snapshot.trust_sources}
    yield gauges(
        "aam_trust_domain_keys",
        "Keys and X.509 authorities that are known of a trust domain: with none, none of its agents comes in.",
        ("trust_domain",),
        (((name,), 0 if one is None else len(one.keys) + len(one.authorities)) for name, one in known.items()),
    )
    stale = (((name,), watched.trust.is_stale(name, now)) for name in known)
    yield gauges("aam_trust_domain_stale", "1 where keys could not be renewed for too long.", ("trust_domain",), stale)
    issuers = (((one.name,), watched.issuer_keys(url)) for url, one in snapshot.issuers.items() if one.has_keys)
    yield gauges("aam_issuer_keys", "Keys that are known of an issuer of tokens.", ("issuer",), issuers)


_GRANTS = ("active", "reauthorization_needed")


def _epoch(text: str | None) -> float:
    return 0.0 if text is None else datetime.datetime.fromisoformat(text).timestamp()
