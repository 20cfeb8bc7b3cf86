"""Routes of models against the connectors: that every target is there, speaks, and is what the route demands."""

from collections.abc import Mapping

from broker.connector import APIS
from broker.documents.findings import Findings
from broker.documents.parse import Document
from broker.documents.snapshot import Connection
from broker.documents.source import Place
from broker.documents.words import nearest
from broker.models import ModelRouteDocument, Route, Target
from broker.models.document import TargetPart


def check_routes(findings: Findings, connections: Mapping[str, Connection]) -> dict[str, Route]:
    """Return the routes by the names that agents call their models."""
    routes: dict[str, Route] = {}
    for document in findings.of("ModelRoute"):
        spec: ModelRouteDocument = document.spec
        found = [
            _target(findings, document, ("spec", "targets", number), part, connections)
            for number, part in enumerate(spec.targets)
        ]
        targets = tuple(target for target in found if target is not None)
        _check_order(findings, document, spec)
        if len(targets) == len(found):
            routes[document.name] = Route(document.name, spec, targets)
            _check_apis(findings, document, targets)
    return routes


def _target(
    findings: Findings, document: Document, place: Place, part: TargetPart, connections: Mapping[str, Connection]
) -> Target | None:
    connection = connections.get(part.connector)
    if connection is None:
        if not findings.mistaken("Connector", "metadata", "name", value=part.connector):
            known = [one.name for one in connections.values() if one.connector.models is not None]
            words = f"there is no connector {part.connector!r}{nearest(part.connector, known)}"
            findings.wrong(document, (*place, "connector"), words)
        return None
    if connection.connector.models is None:
        findings.wrong(document, (*place, "connector"), f"{part.connector!r} is no service of models")
        return None
    if part.provider is not None and not connection.connector.models.routes:
        findings.wrong(document, (*place, "provider"), f"{part.connector!r} chooses among no providers: leave this out")
    if part.reasoning_as == "budget" and "budget" not in connection.connector.models.reasoning:
        findings.wrong(document, (*place, "reasoning_as"), "its service takes no budget of tokens: say 'effort'")
    _check_demands(findings, document, place, part)
    return Target(part, connection.connector.models, _rate(part))


def _check_demands(findings: Findings, document: Document, place: Place, part: TargetPart) -> None:
    """Refuse a target that is not what the route says of all of them: where it runs, how it handles data."""
    demanded = document.spec.require
    if demanded.regions is not None and part.region not in demanded.regions:
        is_in = f"is in {part.region!r}" if part.region else "says no region"
        findings.wrong(document, (*place, "region"), f"{is_in}; the route demands {', '.join(demanded.regions)}")
    if missing := sorted(set(demanded.labels) - set(part.labels)):
        findings.wrong(document, (*place, "labels"), f"lacks {', '.join(missing)}, which the route demands")


def _check_order(findings: Findings, document: Document, spec: ModelRouteDocument) -> None:
    if spec.order != "cheapest":
        return
    for number, part in enumerate(spec.targets):
        if part.prices is None:
            place = ("spec", "targets", number)
            findings.wrong(document, place, "has no 'prices', and the route tries the cheapest first")


def _check_apis(findings: Findings, document: Document, targets: tuple[Target, ...]) -> None:
    """Warn of a fallback that is none: two targets that no call could try one after the other."""
    for number, target in enumerate(targets):
        others = [other for other in targets if other is not target]
        if others and not any(api in target.provider.paths for other in others for api in other.provider.paths):
            apis = ", ".join(api for api in APIS if api in target.provider.paths)
            words = f"shares no API with another target; it answers on {apis} alone"
            findings.warn(document, ("spec", "targets", number), words)


def _rate(part: TargetPart) -> float | None:
    return None if part.prices is None else part.prices.input + (part.prices.output or 0)
