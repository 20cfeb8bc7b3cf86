"""Where signed heads are shipped: each sink of the Broker document, checked as egress will use it."""

from pathlib import Path

from broker.documents.findings import Findings
from broker.documents.models import HttpsSink
from broker.documents.parse import Document
from broker.documents.snapshot import SinkSource
from broker.documents.source import Place
from broker.documents.trust import certificate_authority, check_url, networks, origin
from broker.egress import Reach

_SHIP = ("spec", "trail", "ship")


def check_sinks(findings: Findings, broker: Document | None, directory: Path) -> tuple[SinkSource, ...]:
    """Return the sinks of the Broker document, each under a name and in a place of its own."""
    if broker is None:
        return ()
    base, sinks = (directory / broker.source.file).parent, []
    first: dict[str, int] = {}
    for number, sink in enumerate(broker.spec.trail.ship):
        for key in (sink.name, sink.url if isinstance(sink, HttpsSink) else str(base / sink.path)):
            if first.setdefault(key, number) != number:
                findings.wrong(broker, (*_SHIP, number), f"{key!r} stands in spec.trail.ship[{first[key]}] already")
        if isinstance(sink, HttpsSink):
            sinks.append(_https(findings, broker, (*_SHIP, number), sink))
        else:
            sinks.append(SinkSource(sink.name, base / sink.path))
    return tuple(sinks)


def _https(findings: Findings, broker: Document, place: Place, sink: HttpsSink) -> SinkSource:
    private = networks(findings, broker, (*place, "private_ranges"), sink.private_ranges)
    authority = certificate_authority(findings, broker, (*place, "certificate_authority"), sink.certificate_authority)
    check_url(findings, broker, (*place, "url"), sink.url, Reach(frozenset({origin(sink.url)}), private))
    return SinkSource(sink.name, None, sink.url, authority, private)
