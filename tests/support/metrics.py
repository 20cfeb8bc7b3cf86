"""Metrics as a monitoring system reads them: parsed by the library's own parsers."""

from dataclasses import dataclass
from typing import Any, Self

from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_plain

from tests.support.broker import ServedBroker

OPENMETRICS = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3"


@dataclass(frozen=True)
class Scraped:
    """What was scraped at one moment."""

    text: str
    samples: tuple[tuple[str, dict[str, str], float], ...]
    kinds: dict[str, str]

    @classmethod
    def read(cls, text: str, *, openmetrics: bool = False) -> Self:
        """Parse it; a mistake in it raises."""
        read: Any = read_openmetrics if openmetrics else read_plain
        families = list(read(text))
        found = tuple((one.name, dict(one.labels), one.value) for family in families for one in family.samples)
        return cls(text, found, {family.name: family.type for family in families})

    def value(self, name: str, /, **labels: str) -> float:
        """Return the sum of what has these labels, among others."""
        return sum(value for sample, has, value in self.samples if sample == name and labels.items() <= has.items())

    def labels(self, name: str, label: str) -> set[str]:
        """Return what one label of a metric's samples says."""
        return {has[label] for sample, has, _ in self.samples if sample == name}


def scraped(broker: ServedBroker) -> Scraped:
    """Read a broker's metrics, as its operators do."""
    body, _ = broker.await_(broker.parts.metrics.text)
    return Scraped.read(body.decode())
