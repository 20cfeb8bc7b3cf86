"""Spans, sent to a collector where OpenTelemetry's own environment variables name one; the MCP SDK makes them.

A span is enriched by the pipeline with call id, decision and outcome (`Story`). Nothing else is told, and a collector
that fails stops no call: what must not be lost is the trail's.
"""

import logging
import os
from collections.abc import Callable

from opentelemetry import trace

import broker

logger = logging.getLogger(__name__)

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")  # OpenTelemetry, OTLP Exporter


def set_up_telemetry() -> Callable[[], None]:
    """Send spans from now on, if a collector is named; return what sends the last ones.

    The extra `telemetry` brings what is needed; without it, a warning says so.
    """
    if not any(os.environ.get(name) for name in _ENDPOINTS):
        return _nothing
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 - an extra
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    except ImportError:
        logger.warning("no spans are sent: install 'agent-access-manager[telemetry]'")
        return _nothing
    about = {"service.name": "agent-access-manager", "service.version": broker.__version__}
    provider = TracerProvider(resource=Resource.create(about))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    return provider.shutdown


def _nothing() -> None:
    """There is nothing to send."""
