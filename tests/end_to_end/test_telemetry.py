from collections.abc import Iterator, Sequence
from typing import Any

import anyio
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.support.broker import ServedBroker
from tests.support.clients import CALL_ID, ERAS, TRANSPORTS, Era, Lines, Transport, Wire, connected, request
from tests.support.notes import TOKEN, read

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"
WORDS = "SESAME-OPEN-SESAME"


@pytest.fixture(scope="module")
def exporter() -> InMemorySpanExporter:
    """Install an OpenTelemetry SDK, as a deployment would."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return exporter


@pytest.fixture
def spans(exporter: InMemorySpanExporter) -> Iterator[InMemorySpanExporter]:
    """Lend the exporter, empty."""
    exporter.clear()
    yield exporter
    exporter.clear()


def server_spans(spans: InMemorySpanExporter, name: str) -> Sequence[ReadableSpan]:
    """Return the spans of one name that the broker's side has made."""
    return [span for span in spans.get_finished_spans() if span.name == name and span.kind is trace.SpanKind.SERVER]


def told(span: ReadableSpan) -> str:
    """Return everything that an exporter would send of a span."""
    return str(span.to_json())


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_calls_span_is_linked_to_its_records(
    broker: ServedBroker, spans: InMemorySpanExporter, transport: Transport, era: Era
) -> None:
    """Issue 2, Telemetry: the SDK's spans enriched with decision and call id; audit.md C8: no second span is opened."""

    async def case() -> str:
        async with connected(broker, transport, era) as client:
            result = await client.call_tool("notes_notes_read", {"id": "n1"})
            return str((result.meta or {})[CALL_ID])

    call_id = anyio.run(case)

    (span,) = server_spans(spans, "tools/call notes_notes_read")
    assert dict(span.attributes or {}) | {
        "aam.call_id": call_id,
        "aam.decision": "permit",
        "aam.outcome": "released",
        "aam.policies": ("analyst-notes",),
        "gen_ai.operation.name": "execute_tool",
    } == dict(span.attributes or {})


def test_a_refusals_span_has_its_code(broker: ServedBroker, spans: InMemorySpanExporter) -> None:
    """Issue 2, Telemetry: decision and outcome, so that a refusal can be found by either."""
    call_id = Wire(broker).call("notes_notes_purge", {"id": "n1"}).call_id

    (span,) = server_spans(spans, "tools/call notes_notes_purge")
    attributes = span.attributes or {}
    assert attributes["aam.call_id"] == call_id
    assert (attributes["aam.decision"], attributes["aam.outcome"], attributes["aam.code"]) == (
        "deny",
        "refused",
        "access_denied",
    )


def test_the_callers_trace_goes_on_in_the_span_and_in_the_trail(
    broker: ServedBroker, spans: InMemorySpanExporter
) -> None:
    """Issue 2, Telemetry: inbound `traceparent` kept in the trail; the run is the trace."""
    call_id = Wire(broker).call("notes_notes_read", {"id": "n1"}, meta={"traceparent": PARENT}).call_id

    requested = broker.story(call_id)["requested"]
    (span,) = server_spans(spans, "tools/call notes_notes_read")
    assert (requested["traceparent"], requested["run_id"]) == (PARENT, TRACE)
    assert f"{span.get_span_context().trace_id:032x}" == TRACE  # type: ignore[union-attr]


def test_calls_of_one_connection_do_not_inherit_each_others_spans(
    broker: ServedBroker, spans: InMemorySpanExporter
) -> None:
    """What one request notes of itself stays its own: another request is no child of it."""
    with Lines(broker.agents_socket) as lines:
        first = request("tools/call", {"name": "notes_notes_read", "arguments": {"id": "n1"}})
        first["params"]["_meta"] = {**first["params"]["_meta"], "traceparent": PARENT}
        lines.say(first)
        lines.next()
        lines.ask("tools/call", {"name": "notes_notes_read", "arguments": {"id": "n1"}})

    one, other = server_spans(spans, "tools/call notes_notes_read")
    assert one.get_span_context().trace_id != other.get_span_context().trace_id  # type: ignore[union-attr]


def test_nothing_secret_is_in_any_attribute_event_or_status(broker: ServedBroker, spans: InMemorySpanExporter) -> None:
    """Issue 2, Telemetry; credentials.md B6: no token, no argument, no result, and no exception's text."""
    token = broker.token()

    async def leak(call: Any, session: Any) -> Any:
        await read(call, session)
        return {"id": TOKEN}

    async def fail(call: Any, session: Any) -> Any:
        await read(call, session)
        raise RuntimeError(f"{WORDS} {TOKEN}")

    wire = Wire(broker, token)
    wire.call("notes_notes_read", {"id": WORDS})
    wire.call("notes_notes_read", {"id": [WORDS]})
    for behaviour in (leak, fail):
        broker.notes.behaves = behaviour
        wire.call("notes_notes_misbehave", {"id": "n1"})
    wire.call("nope", {"id": WORDS})

    everything = "".join(map(told, spans.get_finished_spans()))
    assert len(spans.get_finished_spans()) >= 5
    for secret in (WORDS, TOKEN, token, token.split(".")[2]):
        assert secret not in everything
    assert not any(span.events for span in spans.get_finished_spans())
