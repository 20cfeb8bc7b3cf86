"""The conditions and filters of policies: compiled when loaded, and held to what the tools take and can filter by."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from broker.catalog import Catalog, CatalogTool
from broker.documents.findings import Findings
from broker.documents.parse import Document
from broker.documents.source import Place, key_of
from broker.documents.words import nearest
from broker.policy import (
    AgentPolicyDocument,
    Condition,
    Filter,
    ToolRule,
    WrittenPolicy,
    compile_condition,
    parse_filter,
)

T = TypeVar("T")
RECORDS = ("fields", "max_records", "mask", "redact")


def written(document: Document) -> WrittenPolicy:
    """Return a policy as the policy room takes it, with the line of everything that can decide."""
    spec: AgentPolicyDocument = document.spec
    lines = {key_of(place[1:]): line for place, line in document.source.lines.items() if _decides(place)}
    return WrittenPolicy(document.name, document.source.digest, spec, document.source.file, lines)


def _decides(place: Place) -> bool:
    """Tell whether a place is one that decisions name: spec.tools[0].deny, spec.require.assurance, spec.observe."""
    match place:
        case ("spec", "tools", int(), "actions" | "deny") | ("spec", "require", str()):
            return True
        case ("spec", "observe") | ("spec", "tests", int()) | ("spec", "models", "allow", int()):
            return True
    return False


def check_expressions(findings: Findings, document: Document, catalog: Catalog) -> bool:
    """Check every condition and filter of a policy; False if there is a mistake in one, so that it cannot decide."""
    spec: AgentPolicyDocument = document.spec
    right = [
        _check_rule(findings, document, ("spec", "tools", number), rule, catalog)
        for number, rule in enumerate(spec.tools)
    ]
    return all(right)


def _check_rule(findings: Findings, document: Document, place: Place, rule: ToolRule, catalog: Catalog) -> bool:
    condition = _read(findings, document, (*place, "when"), rule.when, compile_condition)
    filters = _read(findings, document, (*place, "filter"), rule.filter, parse_filter)
    tools = [tool for tool in catalog if _is_of(rule, {*rule.actions, *rule.deny}, tool)]
    permitted = [tool for tool in tools if tool.tool.run is not None and _is_of(rule, {*rule.actions}, tool)]
    if condition is not None:
        _check_arguments(findings, document, (*place, "when"), condition, tools)
    if narrows_records(rule):
        _check_records(findings, document, place, rule, permitted)
    if filters is not None:
        _check_filterable(findings, document, (*place, "filter"), filters, permitted)
    return (condition is None) == (rule.when is None) and (filters is None) == (rule.filter is None)


def _read(findings: Findings, document: Document, place: Place, text: str | None, read: Callable[[str], T]) -> T | None:
    if text is None:
        return None
    try:
        return read(text)
    except ValueError as error:
        findings.wrong(document, place, str(error))
        return None


def narrows_records(rule: ToolRule) -> bool:
    """Tell whether a rule says what may leave of records."""
    return any(getattr(rule, name) is not None for name in RECORDS)


def _is_of(rule: ToolRule, actions: set[str], tool: CatalogTool) -> bool:
    return rule.names(tool.resource) and bool(actions & {tool.action, "*"})


def _check_arguments(
    findings: Findings, document: Document, place: Place, condition: Condition, tools: Iterable[CatalogTool]
) -> None:
    """Refuse a condition on an argument that none of the rule's tools takes: it could never be evaluated."""
    schemas = [tool.tool.input_schema for tool in tools]
    for path in sorted(condition.arguments):
        if schemas and not any(_takes(schema, path) for schema in schemas):
            known = {name for schema in schemas for name in schema.get("properties", ())}
            name = ".".join(path)
            findings.wrong(
                document, place, f"no tool of this rule takes the argument {name!r}{nearest(path[0], known)}"
            )
    if ("context", "client") in condition.members:
        findings.warn(document, place, "context.client is what the client calls itself; nobody has proved it")


def _takes(schema: Mapping[str, Any], path: Iterable[str]) -> bool:
    """Tell whether what a schema describes may have a member; what does not say so may have any."""
    node: Any = schema
    for name in path:
        if not isinstance(node, Mapping) or "properties" not in node:
            return True
        if name not in node["properties"]:
            return node.get("additionalProperties") is not False
        node = node["properties"][name]
    return True


def _check_records(
    findings: Findings, document: Document, place: Place, rule: ToolRule, tools: Iterable[CatalogTool]
) -> None:
    """Refuse to narrow what leaves of a tool that returns no records: nothing would be narrowed."""
    named = next(name for name in RECORDS if getattr(rule, name) is not None)
    for tool in tools:
        if tool.tool.records is None:
            words = (
                f"{tool.resource} {tool.action} returns no records that could be narrowed; give it a rule of its own"
            )
            findings.wrong(document, (*place, named), words)


def _check_filterable(
    findings: Findings, document: Document, place: Place, filters: Filter, tools: Iterable[CatalogTool]
) -> None:
    """Refuse a filter that a tool of the rule cannot hand to its service."""
    for tool, field in _unfiltered(filters, tools):
        offers = nearest(field, tool.tool.filterable) or "; it cannot be narrowed by a filter"
        findings.wrong(document, place, f"{tool.resource} {tool.action} cannot filter by {field!r}{offers}")


def _unfiltered(filters: Filter, tools: Iterable[CatalogTool]) -> Iterator[tuple[CatalogTool, str]]:
    for tool in tools:
        for field in sorted(filters.fields - tool.tool.filterable):
            yield tool, field
