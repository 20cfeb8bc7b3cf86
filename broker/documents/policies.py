"""Policies against the registry and the catalogue: whom each is for, and that what its rules name is there."""

import datetime
from collections.abc import Iterable, Mapping
from typing import Any

from broker.catalog import Catalog, CatalogTool
from broker.connector import INVOKE
from broker.documents.connections import named_resources
from broker.documents.expressions import check_expressions, written
from broker.documents.findings import Findings, value_at
from broker.documents.parse import Document
from broker.documents.rollout import check_rollout
from broker.documents.source import Place, Source
from broker.documents.words import closest, nearest
from broker.identity import Registry
from broker.models import Route
from broker.policy import AgentPolicies, AgentPolicyDocument, WrittenPolicy, covers, shadows


def check_policies(
    findings: Findings, registry: Registry, catalog: Catalog, routes: Mapping[str, Route]
) -> tuple[dict[str, AgentPolicies], dict[str, tuple[str, ...]]]:
    """Return the policies of each workload, united, and their names."""
    collected: dict[str, list[WrittenPolicy]] = {}
    for document in findings.of("AgentPolicy"):
        spec: AgentPolicyDocument = document.spec
        workload = spec.identity.workload
        if workload not in registry.agents and not findings.mistaken("Agent", "spec", "workload", value=workload):
            findings.warn(
                document,
                ("spec", "identity", "workload"),
                f"no agent is registered for it{nearest(workload, registry.agents)}",
            )
        _check_models(findings, document, routes)
        check_rollout(findings, document)
        if check_expressions(findings, document, catalog):
            collected.setdefault(workload, []).append(written(document))
    _check_rules(findings, catalog)
    offered = {**catalog.offered, **{route.resource: {INVOKE: True} for route in routes.values()}}
    united = {workload: AgentPolicies(policies, offered) for workload, policies in collected.items()}
    _check_recorded(findings, united, catalog)
    _check_shadows(findings, united, registry)
    return (
        united,
        {workload: tuple(sorted(one.name for one in policies)) for workload, policies in collected.items()},
    )


def _check_models(findings: Findings, document: Document, routes: Mapping[str, Route]) -> None:
    """Warn of models that no route answers for: nobody can use them."""
    for number, model in enumerate(document.spec.models.allow):
        if (
            model not in routes
            and model != "*"
            and not findings.mistaken("ModelRoute", "metadata", "name", value=model)
        ):
            words = f"{model!r} has no ModelRoute yet{nearest(model, routes) if routes else ''}"
            findings.warn(document, ("spec", "models", "allow", number), words)


def _check_shadows(findings: Findings, united: dict[str, AgentPolicies], registry: Registry) -> None:
    """Warn of rules that decide nothing: somebody believes that they do."""
    documents = {document.name: document for document in findings.of("AgentPolicy")}
    now = datetime.datetime.now(datetime.UTC)
    for workload, policies in united.items():
        for rule, why in shadows(policies, registry.agents.get(workload), now):
            kind, _, rest = rule.place.partition("[")
            number, _, part = rest.partition("]")
            place: Place = ("spec", *kind.split("."), int(number))
            findings.warn(documents[rule.policy], (*place, part[1:]) if part else place, why)


def _check_recorded(findings: Findings, united: dict[str, AgentPolicies], catalog: Catalog) -> None:
    """Warn of arguments that are to be recorded and that no tool of the agent takes: nothing would be recorded."""
    for document in findings.of("AgentPolicy"):
        policies = united.get(document.spec.identity.workload)
        if policies is None:
            continue
        known = _arguments(tool for tool in catalog if policies.mentions(tool.resource))
        for number, word in enumerate(document.spec.audit.record):
            _, _, argument = word.partition(".")
            if argument and known is not None and argument not in known:
                place = ("spec", "audit", "record", number)
                findings.warn(document, place, f"no tool of the agent takes {argument!r}{nearest(argument, known)}")


def _arguments(tools: Iterable[CatalogTool]) -> set[str] | None:
    """Return what arguments the tools take; None if not all of them say."""
    known: set[str] = set()
    for tool in tools:
        schema = tool.tool.input_schema
        if tool.tool.run is not None and schema.get("additionalProperties") is not False:
            return None
        known.update(schema.get("properties", ()))
    return known or None


def _check_rules(findings: Findings, catalog: Catalog) -> None:
    """Check every rule, and what is right in one that has mistakes of its own."""
    resources = {*catalog.resources, *named_resources(findings)}
    sources = [document.source for document in findings.of("AgentPolicy")]
    for source in (*sources, *findings.with_mistakes("AgentPolicy")):
        for number in _numbers(value_at(source.value, ("spec", "tools"))):
            _check_rule(findings, source, ("spec", "tools", number), resources, catalog)
        for number in _numbers(value_at(source.value, ("spec", "tests"))):
            _check_test(findings, source, ("spec", "tests", number), resources, catalog)


def _check_rule(findings: Findings, source: Source, place: Place, resources: set[str], catalog: Catalog) -> None:
    resource = findings.right(source, (*place, "resource"))
    if resource is None:  # so it is wrong in its form
        _check_actions(findings, source, place, None, _all_actions(findings, catalog))
    elif "*" in resource:
        _check_wildcard(findings, source, place, resource, resources, catalog)
    elif resource in resources:
        _check_actions(findings, source, place, resource, catalog.actions(resource))
    elif _is_missing(findings, resource, resources, catalog):
        findings.wrong(source, (*place, "resource"), f"no connector offers {resource!r}{nearest(resource, resources)}")
        meant = closest(resource, resources)
        offered = catalog.actions(meant) if meant else _all_actions(findings, catalog)
        _check_actions(findings, source, place, meant, offered)


def _check_test(findings: Findings, source: Source, place: Place, resources: set[str], catalog: Catalog) -> None:
    """Check that a test asks for something that there is: what there is not is denied, and shows nothing."""
    resource, action = findings.right(source, (*place, "resource")), findings.right(source, (*place, "action"))
    if resource is None or action is None:
        return
    if resource not in resources and _is_missing(findings, resource, resources, catalog):
        findings.wrong(source, (*place, "resource"), f"no connector offers {resource!r}{nearest(resource, resources)}")
    offered = catalog.actions(resource)
    if offered and action not in offered:
        findings.wrong(source, (*place, "action"), f"{resource} offers no {action!r}{nearest(action, offered)}")


def _check_wildcard(
    findings: Findings, source: Source, place: Place, pattern: str, resources: set[str], catalog: Catalog
) -> None:
    """Check a rule whose resource is a wildcard: it names something, and its actions are those of what it names."""
    named = {resource for resource in resources if covers(pattern, resource)}
    if not named and _is_missing(findings, pattern, resources, catalog):
        connectors = {resource.partition(".")[0] for resource in resources}
        right = nearest(pattern.partition(".")[0], connectors)
        findings.wrong(source, (*place, "resource"), f"no connector offers what {pattern!r} names{right}")
    if pattern.partition(".")[0] in ("*", *catalog.undescribed) and catalog.undescribed:
        return  # nobody knows yet what it names
    offered = frozenset(action for resource in named for action in catalog.actions(resource))
    _check_actions(findings, source, place, pattern, offered)


def _is_missing(findings: Findings, resource: str, resources: set[str], catalog: Catalog) -> bool:
    """Tell whether no connector can have it: not even one that cannot be read, or whose resources nobody knows yet."""
    connector = resource.partition(".")[0]
    if connector in catalog.undescribed or (connector == "*" and catalog.undescribed):
        return False
    known = any(one.partition(".")[0] == connector for one in resources)
    return known or not findings.mistaken("Connector", "metadata", "name", value=connector)


def _all_actions(findings: Findings, catalog: Catalog) -> frozenset[str]:
    """Return what any connector offers; nothing, if not every connector could be asked."""
    return frozenset() if findings.mistaken("Connector") else frozenset(tool.action for tool in catalog)


def _check_actions(
    findings: Findings, source: Source, place: Place, resource: str | None, offered: frozenset[str]
) -> None:
    """Check the actions of a rule against those of a resource, if they are known."""
    denied = findings.right(source, (*place, "deny")) or ()
    for part in ("actions", "deny") if offered else ():
        for number in _numbers(value_at(source.value, (*place, part))):
            here = (*place, part, number)
            action = findings.right(source, here)
            if action == "*":
                continue
            if action is not None and action not in offered:
                offers = f"{resource} offers no" if resource else "no connector offers"
                findings.wrong(source, here, f"{offers} {action!r}{nearest(action, offered)}")
            elif part == "actions" and action in denied:
                findings.warn(source, here, f"{action!r} is denied by the same rule, and a denial wins")


def _numbers(value: Any) -> range:
    return range(len(value) if isinstance(value, list) else 0)
