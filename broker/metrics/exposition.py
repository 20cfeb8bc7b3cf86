"""Metrics as text for those who scrape them, and as JSON for programs that do not read that text."""

from collections.abc import Iterable, Sequence
from typing import Any

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.exposition import generate_latest as plain
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST as OPENMETRICS
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics


class Collected(CollectorRegistry):
    """Metrics that are there already, where the library looks for them."""

    def __init__(self, metrics: Sequence[Metric]) -> None:
        super().__init__()
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        """Return them."""
        return self._metrics


def text(metrics: Sequence[Metric], accept: str) -> tuple[bytes, str]:
    """Return them as OpenMetrics where that is asked for, as Prometheus' own text otherwise, with the content type."""
    if "application/openmetrics-text" in accept:
        return openmetrics(Collected(metrics)), OPENMETRICS  # type: ignore[no-untyped-call] # the library has no types there
    return plain(Collected(metrics)), CONTENT_TYPE_PLAIN_0_0_4


def plain_values(metrics: Sequence[Metric]) -> list[dict[str, Any]]:
    """Return them as plain values: each metric with its samples."""
    return [
        {
            "name": metric.name,
            "type": metric.type,
            "help": metric.documentation,
            "samples": [
                {"name": sample.name, "labels": dict(sample.labels), "value": float(sample.value)}
                for sample in metric.samples
            ],
        }
        for metric in metrics
    ]
