"""Metrics that are read when somebody asks, as the library's own families."""

from collections.abc import Iterable, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

Rows = Iterable[tuple[Sequence[str], float]]


def gauge(name: str, said: str, value: float) -> GaugeMetricFamily:
    """Return what goes up and down."""
    return GaugeMetricFamily(name, said, value=value)


def gauges(name: str, said: str, labels: Sequence[str], rows: Rows) -> GaugeMetricFamily:
    """Return what goes up and down, by labels."""
    family = GaugeMetricFamily(name, said, labels=labels)
    for row, value in rows:
        family.add_metric(row, value)
    return family


def counter(name: str, said: str, value: float) -> CounterMetricFamily:
    """Return what only grows, as long as the process lives."""
    return CounterMetricFamily(name, said, value=value)


def counters(name: str, said: str, labels: Sequence[str], rows: Rows) -> CounterMetricFamily:
    """Return what only grows, by labels."""
    family = CounterMetricFamily(name, said, labels=labels)
    for row, value in rows:
        family.add_metric(row, value)
    return family
