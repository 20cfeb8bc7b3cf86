"""Metrics that are read when somebody asks, as the library's own families."""

from collections.abc import Iterable, Sequence
from typing import TypeVar

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

Rows = Iterable[tuple[Sequence[str], float]]
Family = TypeVar("Family", GaugeMetricFamily, CounterMetricFamily)


def gauge(name: str, said: str, value: float) -> GaugeMetricFamily:
    """Return what goes up and down."""
    return GaugeMetricFamily(name, said, value=value)


def gauges(name: str, said: str, labels: Sequence[str], rows: Rows) -> GaugeMetricFamily:
    """Return what goes up and down, by labels."""
    return _filled(GaugeMetricFamily(name, said, labels=labels), rows)


def counter(name: str, said: str, value: float) -> CounterMetricFamily:
    """Return what only grows, as long as the process lives."""
    return CounterMetricFamily(name, said, value=value)


def counters(name: str, said: str, labels: Sequence[str], rows: Rows) -> CounterMetricFamily:
    """Return what only grows, by labels."""
    return _filled(CounterMetricFamily(name, said, labels=labels), rows)


def _filled(family: Family, rows: Rows) -> Family:
    for row, value in rows:
        family.add_metric(row, value)
    return family
