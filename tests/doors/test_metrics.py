"""Metrics, as Prometheus scrapes them and as operators read them."""

import asyncio
import threading
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import requests

from broker.errors import ListenerRefused
from broker.store import Transaction
from broker.testing.certificates import CertificateAuthority
from tests.conftest import Serve
from tests.support.broker import ServedBroker, until
from tests.support.clients import Wire
from tests.support.documents import BARRED, agents_document
from tests.support.metrics import OPENMETRICS, Scraped, scraped

TOKEN = "0123456789abcdef0123456789abcdef"
KNOWN = {"agent": "analyst", "team": "finance", "kind": "tool"}
READ = {"kind": "tool", "connector": "notes", "resource": "notes.notes", "action": "read"}


@pytest.fixture
def served(serve: Serve, tmp_path: Path) -> ServedBroker:
    """Serve a broker that is scraped by whoever has a token."""
    put_token(tmp_path / "access")
    return serve(listen={"http": "127.0.0.1:0", "metrics": {"http": "127.0.0.1:0", "token_file": "metrics.token"}})


def put_token(directory: Path, text: str = TOKEN + "\n", mode: int = 0o600) -> None:
    """Write the token's file."""
    directory.mkdir(exist_ok=True)
    (directory / "metrics.token").write_text(text)
    (directory / "metrics.token").chmod(mode)


def get(broker: ServedBroker, token: str | None = TOKEN, **headers: str) -> requests.Response:
    """Scrape."""
    given = headers if token is None else {"Authorization": f"Bearer {token}", **headers}
    return requests.get(str(broker.serving.metrics), headers=given, timeout=60)


def test_prometheus_scrapes_with_the_token_in_the_format_that_it_asks_for(served: ServedBroker) -> None:
    """Issue 7, metrics: OpenMetrics where it is asked for, Prometheus' own text otherwise; both parse."""
    plain, open_ = get(served), get(served, Accept=OPENMETRICS)

    assert plain.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert open_.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    every = Scraped.read(plain.text)
    assert every.value("aam_ready") == 1
    assert every.value("process_resident_memory_bytes") > 0
    assert Scraped.read(open_.text, openmetrics=True).value("aam_build_info") == 1
    assert all(kind != "unknown" for kind in every.kinds.values())
    assert "_created" not in plain.text


@pytest.mark.parametrize("token", [None, "", "wrong", TOKEN[:-1], TOKEN + "0"])
def test_without_the_token_nothing_is_told(served: ServedBroker, token: str | None) -> None:
    """Issue 7, metrics: it does not tell strangers which agents and models exist or what is spent."""
    answer = get(served, token)

    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert "aam_" not in answer.text
    assert served.records(kind="authentication_refused")[-1]["origin"]["transport"] == "metrics"


def test_beyond_this_machine_it_is_scraped_over_tls(serve: Serve, tmp_path: Path) -> None:
    """The token is a secret: in the clear it would be everybody's on the way."""
    put_token(tmp_path / "access")
    authority = CertificateAuthority(tmp_path / "tls")
    certificate = authority.issue("metrics")
    files = {"certificate": str(certificate.certificate_file), "key": str(certificate.key_file)}
    listen = {"http": "127.0.0.1:0", "token_file": "metrics.token", "tls": files}
    broker = serve(listen={"http": "127.0.0.1:0", "metrics": listen})

    answer = requests.get(
        str(broker.serving.metrics),
        headers={"Authorization": f"Bearer {TOKEN}"},
        verify=str(authority.certificate_file),
        timeout=60,
    )

    assert str(broker.serving.metrics).startswith("https://")
    assert Scraped.read(answer.text).value("aam_ready") == 1


def test_a_call_is_counted_once_by_what_it_called_who_called_and_how_it_ended(serve: Serve) -> None:
    """Issue 7, metrics: calls, decisions and times, when the end is on disk."""
    broker = serve()
    wire = Wire(broker)
    wire.call("notes_notes_read", {"id": "n1"})
    wire.call("notes_notes_purge", {"id": "n1"})
    wire.call("notes_notes_read", {"id": 1})
    wire.call("no_such_tool")

    found = scraped(broker)

    assert found.value("aam_calls_total") == len(broker.records(kind="finished")) == 4
    assert found.value("aam_calls_total", **READ, status="released", code="") == 1
    assert found.value("aam_calls_total", **READ, code="invalid_arguments") == 1
    assert found.value("aam_calls_total", action="purge", status="refused", code="access_denied") == 1
    assert found.value("aam_calls_total", connector="", resource="", action="", code="unknown_tool") == 1
    assert found.value("aam_agent_calls_total", **KNOWN, status="released", code="") == 1
    assert found.value("aam_decisions_total", kind="tool", effect="permit", reason="rule_permits") == 1
    assert found.value("aam_decisions_total", effect="deny") == 1
    assert found.value("aam_call_duration_seconds_count", kind="tool", connector="notes", status="released") == 1
    assert 0 < found.value("aam_call_added_seconds_sum") <= found.value("aam_call_duration_seconds_sum")
    assert found.value("aam_call_added_seconds_bucket", le="+Inf") == 1
    assert found.value("aam_calls_in_flight") == 0


def test_a_call_that_the_store_cannot_record_is_counted_as_what_its_agent_was_told(serve: Serve) -> None:
    """The moment of truth is *finished*, also where that is lost: nobody may miss the calls that failed with it."""
    broker = serve()
    with patch.object(broker.parts.store.commits, "_check", side_effect=OSError("gone")):
        refused = Wire(broker).call("notes_notes_read", {"id": "n1"})
        found = scraped(broker)

    assert refused.code == "audit_unavailable"
    assert found.value("aam_calls_total", **READ, code="audit_unavailable") == 1
    assert found.value("aam_store_failing") == 1
    assert found.value("aam_store_commit_failures_total") >= 1
    assert found.value("aam_ready") == 0


def test_how_the_broker_stands_is_read_when_somebody_asks(serve: Serve) -> None:
    """Issue 7, metrics: trail, commits, index, agents, documents, grants, circuits."""
    broker = serve()
    Wire(broker).call("notes_notes_read", {"id": "n1"})
    until(lambda: broker.parts.indexer.lag()["records"] == 0)
    until(lambda: broker.parts.heads.status()["signed_at"])

    found = scraped(broker)

    head = broker.parts.store.commits.values[broker.parts.store.trail.HEAD]
    assert found.value("aam_trail_records_total") == head.size
    assert found.value("aam_trail_signed_timestamp_seconds") > broker.parts.started - 1
    assert found.value("aam_store_commit_duration_seconds_count") >= 2
    assert found.value("aam_store_changes_total") >= found.value("aam_store_commit_duration_seconds_count") > 0
    assert found.value("aam_store_file_bytes", file="database") > 0
    assert found.value("aam_search_index_lag_records") == 0
    assert [found.value("aam_agents", status=one) for one in ("active", "suspended", "retired", "expired")] == [
        3,
        1,
        1,
        1,
    ]
    assert found.value("aam_grants", connector="notes", whose="organisation", status="active") == 1
    assert found.value("aam_grants", connector="notes", status="reauthorization_needed") == 0
    assert found.value("aam_connector_circuit", connector="notes", state="closed") == 1
    assert found.value("aam_connector_circuit", connector="notes") == 1
    assert found.value("aam_trust_domain_keys", trust_domain="prod") == 1
    assert found.value("aam_documents_generation") == 1
    assert found.value("aam_documents_last_load_failed") == 0


def test_changed_documents_mistakes_and_suspensions_show(serve: Serve) -> None:
    """Issue 7, metrics: generation, last load failed, suspended agents."""
    broker = serve()
    broker.written.put("agents.yaml", agents_document("suspended"))
    until(lambda: broker.parts.documents.generation == 2)
    broker.written.put("broken.yaml", "kind: Nothing\n")
    until(lambda: broker.parts.documents.last_problem)
    broker.operators.post("/v1/agents/suspend", {"agent": "other", "reason": "Ticket 4711"})

    found = scraped(broker)

    assert found.value("aam_documents_generation") == 2
    assert (found.value("aam_documents_last_load_failed"), found.value("aam_documents_refused_total")) == (1, 1)
    assert (found.value("aam_suspensions"), found.value("aam_agents", status="suspended")) == (1, 3)


def test_callers_who_are_turned_away_are_counted_by_code(serve: Serve) -> None:
    """Somebody who tries proofs shows long before one fits."""
    broker = serve()
    for token in ("nonsense", broker.token(BARRED["agent_suspended"])):
        requests.post(f"{broker.url}/mcp", headers={"Authorization": f"Bearer {token}"}, timeout=60)

    found = scraped(broker)

    assert found.value("aam_authentications_refused_total", transport="streamable-http", code="agent_suspended") == 1
    assert found.value("aam_authentications_refused_total", code="proof_malformed") == 1


def test_a_scrape_while_the_disk_hangs_is_answered_and_holds_up_no_call(served: ServedBroker) -> None:
    """Issue 7, metrics: with what is known; budgets stand as they were read last."""
    free = threading.Event()
    reading = served.parts.metrics._stored
    before = Scraped.read(get(served).text).value("aam_store_read_timestamp_seconds")

    def hangs(*_: Any) -> None:
        free.wait(60)

    try:
        with (
            patch.object(reading, "_read", hangs),
            patch.object(reading, "_patience", 0.01),
            patch.object(reading, "_fresh", 0),
        ):
            first = get(served)
            assert reading._under_way is not None
            answer = Wire(served).call("notes_notes_read", {"id": "n1"})
            second = Scraped.read(get(served).text)
    finally:
        free.set()

    assert first.status_code == 200
    assert answer.code is None
    assert second.value("aam_calls_total", **READ, status="released") == 1
    assert second.value("aam_store_read_timestamp_seconds") == before > 0


def test_a_commit_that_hangs_shows_while_it_does(served: ServedBroker) -> None:
    """Issue 7, metrics: stalled, and the calls that wait, although nothing can be recorded just now."""
    free = threading.Event()

    def hang(_: Transaction) -> None:
        free.wait(60)

    with patch("broker.store.queue.SLOW_SECONDS", 0.01):
        hanging = served.parts.recorder.note("hanging", hang)
        held = asyncio.run_coroutine_threadsafe(hanging, served._loop)
        until(lambda: served.parts.store.commits.stalled)
        refused = Wire(served).call("notes_notes_read", {"id": "n1"})
        found = Scraped.read(get(served).text)
        free.set()
        held.result(60)

    assert refused.code == "audit_unavailable"
    assert (found.value("aam_store_stalled"), found.value("aam_ready")) == (1, 0)
    assert found.value("aam_calls_in_flight") == 1
    until(lambda: scraped(served).value("aam_calls_total", code="audit_unavailable") == 1)


@pytest.mark.parametrize("path", ["/metrics", "/metrics/", "/v1/metrics", "//metrics"])
def test_an_agents_proof_gets_no_metrics(served: ServedBroker, path: str) -> None:
    """Issue 7, metrics: where agents come in there are none; where there are, an agent's proof is none."""
    proof = {"Authorization": f"Bearer {served.token()}"}
    for headers in ({}, proof, {"Authorization": f"Bearer {TOKEN}"}):
        answer = requests.get(served.url + path, headers=headers, timeout=60)
        assert answer.status_code in {401, 404}
        assert "aam_" not in answer.text

    assert get(served, served.token()).status_code == 401


def test_operators_read_them_over_their_socket_without_any_listener(serve: Serve) -> None:
    """Issue 7, metrics: off until the configuration names a listener; operators have them always."""
    broker = serve()

    every = {one["name"]: one for one in broker.operators.get("/v1/metrics", format="json")}

    assert broker.serving.metrics is None
    assert str(every["aam_ready"]["samples"]) == "[{'name': 'aam_ready', 'labels': {}, 'value': 1.0}]"
    assert every["aam_calls"]["type"] == "counter"


def test_no_page_reads_an_open_listener_through_somebodys_browser(serve: Serve) -> None:
    """threat-model.md, a web page in a developer's browser: foreign Host and Origin headers are refused."""
    broker = serve(
        listen={"http": "127.0.0.1:0", "metrics": {"http": "127.0.0.1:0", "only_monitoring_reaches_it": True}}
    )

    assert get(broker, None).status_code == 200
    assert get(broker, None, Host="evil.example").status_code == 421
    assert get(broker, None, Origin="https://evil.example").status_code == 403


@pytest.mark.parametrize(
    ("text", "mode", "said"),
    [
        ("short", 0o600, "32 to 512"),
        (TOKEN + " " + TOKEN, 0o600, "32 to 512"),
        (TOKEN, 0o644, "chmod 640"),
        (None, 0, "cannot be read"),
    ],
)
def test_a_token_that_is_none_keeps_the_broker_from_starting(
    serve: Serve, tmp_path: Path, text: str | None, mode: int, said: str
) -> None:
    """Fail closed: a listener whose token everybody knows is no protected one."""
    if text is not None:
        put_token(tmp_path / "access", text, mode)

    with pytest.raises(ListenerRefused, match=said):
        serve(listen={"http": "127.0.0.1:0", "metrics": {"http": "127.0.0.1:0", "token_file": "metrics.token"}})


def test_calls_at_once_are_seen_while_they_run(serve: Serve) -> None:
    """Issue 7, metrics: in-flight calls, by the service that they wait for."""
    broker = serve()
    seen: list[Scraped] = []

    async def look(*_: Any) -> dict[str, str]:
        seen.append(Scraped.read((await broker.parts.metrics.text())[0].decode()))
        return {"id": "n1"}

    broker.notes.behaves = look
    Wire(broker).call("notes_notes_misbehave", {"id": "n1"})

    assert seen[0].value("aam_calls_in_flight") == 1
    assert seen[0].value("aam_connector_calls_in_flight", connector="notes") == 1
