import http.server
import queue
import sys
import threading
from collections.abc import Iterator

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from broker.app.telemetry import set_up_telemetry
from tests.support.broker import BrokerProcess
from tests.support.clients import Wire
from tests.support.documents import Written
from tests.support.notes import NotesService

Received = queue.SimpleQueue[tuple[str, bytes]]


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Received]:
    """Collect what is posted, and name the collector as a deployment would."""
    received: Received = queue.SimpleQueue()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.put((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *_: object) -> None:  # noqa: A002 - the base class's name
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.server_address[1]}")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "none")
        yield received
        server.shutdown()
        thread.join()


@pytest.mark.slow
def test_where_a_collector_is_named_the_spans_of_calls_arrive_there(
    collector: Received, written: Written, notes_service: NotesService
) -> None:
    """Issue 2, Telemetry: also the last spans, when the broker is told to stop; none of them a secret."""
    with BrokerProcess(written) as broker:
        broker.connect_notes()
        answer = Wire(broker).call("notes_notes_read", {"id": "n1"})
        broker.process.terminate()
        assert broker.process.wait(60) == 0

    posted = [collector.get() for _ in range(collector.qsize())]  # all that there will be: the broker has ended
    sent = [one for _, body in posted for one in ExportTraceServiceRequest.FromString(body).resource_spans]
    about = {(one.key, one.value.string_value) for of in sent for one in of.resource.attributes}
    spans = [span for of in sent for scope in of.scope_spans for span in scope.spans]
    (span,) = [span for span in spans if "notes_notes_read" in span.name]
    told = {one.key: one.value.string_value for one in span.attributes}
    assert {path for path, _ in posted} == {"/v1/traces"}
    assert ("service.name", "agent-access-manager") in about
    assert (told["aam.call_id"], told["aam.decision"]) == (answer.call_id, "permit")
    assert all(notes_service.url.encode() not in body for _, body in posted)


def test_without_a_collector_nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Absent means less: an SDK that is not asked for is not even loaded."""
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)

    set_up_telemetry()()


def test_without_the_extra_the_broker_says_what_to_install(
    collector: Received, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A collector that is named in vain would be missed only when it is needed; calls do not depend on it."""
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)

    set_up_telemetry()()

    assert "install 'agent-access-manager[telemetry]'" in caplog.text
    assert collector.empty()
