"""`aam policy explain`."""

import dataclasses
import datetime
import json
from collections.abc import Iterable
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from broker.cli.daemon import HERE, Directory
from broker.cli.output import AsJson, console, nearest, plain, print_json, stop
from broker.cli.policy.call import COLOURS, explain_call
from broker.cli.policy.sets import loaded, moment, workload_of
from broker.documents import Snapshot, request_of
from broker.errors import InvalidArguments, Refusal
from broker.identity import SpiffeId
from broker.policy import Explanation, PolicyTest, Rule
from broker.policy import explain as explain_request

_STATES = {
    "applies": "applies",
    "condition_false": "does not apply: its condition is false",
    "not_valid_now": "does not apply at this time",
    "cannot_be_evaluated": "cannot be evaluated",
}


def explain(
    what: Annotated[str, typer.Argument(metavar="RESOURCE|CALL", help="A resource, or the id of a call.")],
    action: Annotated[str | None, typer.Argument(help="The action; without it, a call is explained.")] = None,
    directory: Directory = HERE,
    *,
    agent: Annotated[str | None, typer.Option("--as", help="The agent, by name or workload.")] = None,
    arguments: Annotated[str, typer.Option(metavar="JSON", help="The call's arguments, as JSON.")] = "{}",
    at: Annotated[str | None, typer.Option(metavar="TIME", help="When it is made; now if left out.")] = None,
    on_behalf_of: Annotated[str | None, typer.Option(metavar="EMAIL", help="On whose behalf it is made.")] = None,
    method: Annotated[str, typer.Option(help="How the agent proves itself.")] = "jwt-svid",
    assurance: Annotated[
        str | None, typer.Option(help="How sure that proof is; if left out, as its trust domain's are.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say how a request is decided, by which rule, where that stands, and what would change it.

    Of a request, it is said from the documents as they are on disk; of a call, from its records.
    """
    if action is None:
        explain_call(directory, what, as_json=as_json)
        return
    if agent is None:
        stop("Name the agent: --as NAME.", as_json=as_json)
    snapshot = loaded(directory, as_json=as_json)
    workload = workload_of(snapshot, agent, as_json=as_json)
    _check_known(snapshot, what, action, as_json=as_json)
    case = _case(
        as_json=as_json,
        resource=what,
        action=action,
        arguments=_arguments(arguments, as_json=as_json),
        expect="permit",
        on_behalf_of={"subject": on_behalf_of, "email": on_behalf_of} if on_behalf_of else None,
        context={
            "time": moment(at, "--at", as_json=as_json) if at else None,
            "method": method,
            "assurance": assurance or _usual_assurance(snapshot, workload),
        },
    )
    request = request_of(snapshot, workload, case, datetime.datetime.now(datetime.UTC))
    explained = explain_request(snapshot.policies_of(workload), request)
    notes = list(_notes(snapshot, workload, case))
    if as_json:
        print_json({**_as_json(explained), "notes": notes})
    else:
        _print(explained, notes)


def _usual_assurance(snapshot: Snapshot, workload: str) -> str:
    domain = snapshot.trust_domains.get(SpiffeId.parse(workload).trust_domain)
    return "development" if domain is not None and domain.development else "attested"


def _check_known(snapshot: Snapshot, resource: str, action: str, *, as_json: bool) -> None:
    offered = snapshot.catalog.offered
    if resource not in offered:
        stop(f"No connector offers {resource!r}{nearest(resource, offered)}", as_json=as_json)
    if action not in offered[resource]:
        stop(f"{resource} offers no {action!r}{nearest(action, offered[resource])}", as_json=as_json)


def _arguments(text: str, *, as_json: bool) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        stop("--arguments: is no JSON object.", as_json=as_json)
    return found


def _case(*, as_json: bool, **parts: Any) -> PolicyTest:
    try:
        return PolicyTest.model_validate(parts)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        stop(f"--{str(first['loc'][-1]).replace('_', '-')}: {first['msg']}.", as_json=as_json)


def _notes(snapshot: Snapshot, workload: str, case: PolicyTest) -> Iterable[str]:
    """Say what else stands in a call's way, whatever policies decide."""
    try:
        snapshot.registry.standing(workload, case.context.time or datetime.datetime.now(datetime.UTC))
    except Refusal as refusal:
        yield f"The agent may not call at all: {refusal.message} [{refusal.code}]"
    tool = next(one for one in snapshot.catalog if (one.resource, one.action) == (case.resource, case.action))
    if tool.tool.run is None:
        yield "The connector does not perform this action yet."
    try:
        if case.arguments:
            tool.check(case.arguments)
    except InvalidArguments as refusal:
        yield f"The tool {tool.name} would not take these arguments: {refusal.message}"


def _as_json(explained: Explanation) -> dict[str, Any]:
    decision = explained.decision
    return {
        "effect": decision.effect,
        "reason": decision.reason,
        "observed": decision.observed,
        "rules": [dataclasses.asdict(rule) for rule in decision.rules],
        "considered": [dataclasses.asdict(one) for one in explained.considered],
        "scope": {
            "fields": None if decision.scope.fields is None else sorted(decision.scope.fields),
            "records": decision.scope.records,
            "filters": [dataclasses.asdict(one) for one in decision.scope.filters],
        },
        "obligations": {
            "mask": sorted(decision.obligations.mask),
            "redact": sorted(decision.obligations.redact),
            "max_bytes": decision.obligations.max_bytes,
        },
        "limits": [{"calls": one.calls, "per": one.per, "policy": one.rule.policy} for one in decision.limits],
        "approval": dataclasses.asdict(decision.approval) if decision.approval else None,
        "permitted": list(decision.permitted),
        "changes": list(explained.changes),
    }


def _print(explained: Explanation, notes: list[str]) -> None:
    decision = explained.decision
    colour = COLOURS[decision.effect]
    console.print(f"[{colour}]{decision.effect}[/{colour}] ({decision.reason})")
    for rule in decision.rules:
        console.print(f"  [dim]by[/dim]          {plain(_place(rule))}")
    for one in explained.considered:
        detail = f" ({one.detail})" if one.detail else ""
        console.print(
            f"  [dim]considered[/dim]  {plain(_place(one.rule))} {one.effect}: {_STATES[one.state]}{plain(detail)}"
        )
    for words in _bound(explained):
        console.print(f"  [dim]bound[/dim]       {plain(words)}")
    for change in explained.changes:
        console.print(f"  [dim]change[/dim]      {plain(change)}")
    for note in notes:
        console.print(f"  [yellow]note[/yellow]        {plain(note)}")


def _bound(explained: Explanation) -> Iterable[str]:
    decision = explained.decision
    if decision.effect == "deny":
        return
    if decision.scope.fields is not None:
        yield f"only the fields {', '.join(sorted(decision.scope.fields))}"
    if decision.scope.records is not None:
        yield f"{decision.scope.records} records at most"
    for one in decision.scope.filters:
        yield f"only where {one.field} {one.operator} {one.value!r}"
    if decision.obligations.mask:
        yield f"masked: {', '.join(sorted(decision.obligations.mask))}"
    if decision.obligations.redact:
        yield f"taken off: {', '.join(sorted(decision.obligations.redact))}"
    if decision.obligations.max_bytes is not None:
        yield f"{decision.obligations.max_bytes} bytes at most"
    for limit in decision.limits:
        length = "at once" if limit.per == "concurrent" else f"a {limit.per}"
        yield f"{limit.calls} calls {length}, by {limit.rule.policy}"


def _place(rule: Rule) -> str:
    return f"{rule.policy} {rule.place}" + (f" ({rule.file}:{rule.line})" if rule.line else "")
