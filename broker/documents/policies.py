"""Policies against the registry and the catalogue: whom each is for, and that what its rules name is there."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from broker.catalog import Catalog
from broker.documents.findings import Findings, value_at
from broker.documents.parse import Document
from broker.documents.source import Place, Source
from broker.documents.words import nearest
from broker.identity import Registry
from broker.policy import AgentPolicies, AgentPolicyDocument, ToolRule


def check_policies(
    findings: Findings, registry: Registry, catalog: Catalog
) -> tuple[dict[str, AgentPolicies], dict[str, tuple[str, ...]]]:
    """Return the policies of each workload, united, and their names."""
    collected: dict[str, list[tuple[str, str, AgentPolicyDocument]]] = {}
    for document in findings.of("AgentPolicy"):
        spec: AgentPolicyDocument = document.spec
        workload = spec.identity.workload
        if workload not in registry.agents and not findings.mistaken("Agent", "spec", "workload", value=workload):
            findings.warn(
                document,
                ("spec", "identity", "workload"),
                f"no agent is registered for it{nearest(workload, registry.agents)}",
            )
        for number, model in enumerate(spec.models.allow):
            findings.warn(document, ("spec", "models", "allow", number), f"{model!r} has no ModelRoute yet")
        _check_rules(findings, document, dict(enumerate(spec.tools)), catalog)
        collected.setdefault(workload, []).append((document.name, document.source.digest, spec))
    for source in findings.with_mistakes("AgentPolicy"):
        _check_rules(findings, source, dict(_readable(value_at(source.value, ("spec", "tools")))), catalog)
    return (
        {workload: AgentPolicies(policies) for workload, policies in collected.items()},
        {workload: tuple(sorted(name for name, _, _ in policies)) for workload, policies in collected.items()},
    )


def _readable(rules: Any) -> Iterator[tuple[int, ToolRule]]:
    """Yield the rules that are right in themselves, each with its number."""
    for number, rule in enumerate(rules if isinstance(rules, list) else []):
        with contextlib.suppress(ValidationError):
            yield number, ToolRule.model_validate(rule, strict=True)


def _check_rules(
    findings: Findings, document: Document | Source, rules: Mapping[int, ToolRule], catalog: Catalog
) -> None:
    for number, rule in rules.items():
        _check_rule(findings, document, ("spec", "tools", number), rule, catalog)


def _check_rule(
    findings: Findings, document: Document | Source, place: Place, rule: ToolRule, catalog: Catalog
) -> None:
    offered = catalog.actions(rule.resource)
    if not offered:
        connector = rule.resource.partition(".")[0]
        if not findings.mistaken("Connector", "metadata", "name", value=connector):
            findings.wrong(
                document,
                (*place, "resource"),
                f"no connector offers {rule.resource!r}{nearest(rule.resource, catalog.resources)}",
            )
        return
    for part, actions in (("actions", rule.actions), ("deny", rule.deny)):
        for number, action in enumerate(actions):
            if action not in offered:
                findings.wrong(
                    document,
                    (*place, part, number),
                    f"{rule.resource} offers no {action!r}{nearest(action, offered)}",
                )
            elif part == "actions" and action in rule.deny:
                findings.warn(
                    document, (*place, part, number), f"{action!r} is denied by the same rule, and a denial wins"
                )
