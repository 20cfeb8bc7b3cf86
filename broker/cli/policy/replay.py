"""`aam policy replay`."""

import datetime
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from broker.audit import Statement
from broker.cli.daemon import HERE, Daemon, Directory
from broker.cli.output import PROBLEM, AsJson, console, counted, fail, plain, print_json, stop
from broker.cli.policy.sets import loaded, moment
from broker.cli.trail.progress import progress
from broker.cli.trail.whole import Whole
from broker.documents import Snapshot
from broker.errors import AgentBarred, Refusal
from broker.identity import OnBehalfOf, WorkloadIdentity
from broker.policy import UNKNOWN, UNKNOWN_EMAIL, AccessRequest, Context, replayed

_SPAN = re.compile(r"(\d{1,5})([dhm])")
_UNITS = {"d": "days", "h": "hours", "m": "minutes"}
_MOST_SHOWN = 50  # groups of calls
_WIDEST = 300  # characters of a line

Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Group:
    """Calls of the same kind that the proposed set decides otherwise, or may."""

    agent: str
    resource: str
    action: str
    was: str
    becomes: str
    by: tuple[str, ...]
    """The rules that would decide, or that nobody can tell of."""


def replay(
    proposed: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="The proposed set of documents.")],
    directory: Directory = HERE,
    *,
    since: Annotated[str, typer.Option(metavar="TIME", help="30d, 12h, a date, or a time with its offset.")] = "30d",
    as_json: AsJson = False,
) -> None:
    """Say which calls of the trail a proposed set would have decided otherwise.

    Of arguments the trail holds a digest: where a condition reads them, and it matters, a call is undetermined.
    """
    snapshot = loaded(proposed, as_json=as_json)
    try:
        daemon = Daemon(directory)
        with daemon.stream("/v1/trail/export", since=_since(since, as_json=as_json)) as lines:
            stated = Statement.parse(next(lines, b""))
            whole = Whole().checked(progress(lines, stated.size, "replaying"), stated)
            groups, seen = _replay(snapshot, _calls(whole))
    except Refusal as refusal:
        fail(refusal, as_json=as_json)
    except ValueError as error:
        stop(f"The broker's answer is no export: {error}.", as_json=as_json, status=PROBLEM)
    _tell(groups, seen, as_json=as_json)


def _since(text: str, *, as_json: bool) -> str:
    span = _SPAN.fullmatch(text)
    if span is None:
        return moment(text, "--since", as_json=as_json).isoformat()
    length = datetime.timedelta(**{_UNITS[span[2]]: int(span[1])})
    return (datetime.datetime.now(datetime.UTC) - length).replace(microsecond=0).isoformat()


def _calls(lines: Iterator[bytes]) -> Iterator[tuple[Record, Record]]:
    """Yield what was requested and decided of each call that came to a decision."""
    waiting: dict[str, Record] = {}
    for line in lines:
        record = json.loads(line)
        call = record.get("call_id")
        if record.get("kind") == "requested" and record.get("action", {}).get("resource"):
            waiting[call] = record
        elif record.get("kind") == "decided" and call in waiting:
            yield waiting.pop(call), record
        elif record.get("kind") == "finished":
            waiting.pop(call, None)


def _replay(snapshot: Snapshot, calls: Iterator[tuple[Record, Record]]) -> tuple[Counter[Group], Counter[str]]:
    groups: Counter[Group] = Counter()
    seen: Counter[str] = Counter()
    for requested, decided in calls:
        was = str(decided["policy"]["decision"])
        becomes, by = _decided(snapshot, requested)
        seen[becomes if becomes == "undetermined" else "same" if becomes == was else "different"] += 1
        if becomes != was:
            identity, action = requested["identity"], requested["action"]
            agent = str(identity.get("agent") or identity["spiffe_id"])
            groups[Group(agent, str(action["resource"]), str(action["action"]), was, becomes, by)] += 1
    return groups, seen


def _decided(snapshot: Snapshot, requested: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    """Return what the proposed set makes of a call, and by which rules."""
    request = _request(snapshot, requested)
    if request is None:
        return "deny", ("the agent may not call",)
    policies = snapshot.policies_of(request.subject.spiffe_id)
    if request.resource not in snapshot.catalog.offered:
        return "deny", ("no connector offers the resource",)
    effect, decision = replayed(policies, request)
    rules = [one.rule for one in decision.failed if one.undetermined] if effect == "undetermined" else decision.rules
    return effect, tuple(f"{rule.policy} {rule.place} ({rule.file}:{rule.line})" for rule in rules[:3])


def _request(snapshot: Snapshot, requested: Mapping[str, Any]) -> AccessRequest | None:
    """Return a recorded request, of the agent as the proposed set has it; None if that may not call."""
    identity, action, origin = requested["identity"], requested["action"], requested["origin"]
    time = datetime.datetime.fromisoformat(str(requested["time"]))
    try:
        agent = snapshot.registry.standing(str(identity["spiffe_id"]), time)
    except AgentBarred:
        return None
    said = identity.get("on_behalf_of")
    delegated = OnBehalfOf(said["iss"], said["sub"], said["method"]) if said else None
    subject = WorkloadIdentity(
        agent.workload,
        agent.workload.removeprefix("spiffe://").partition("/")[0],
        identity["method"],
        identity["assurance"],
        str(identity["proof"]),
        on_behalf_of=delegated,
    )
    context = Context(time, origin.get("transport"), origin.get("client"))
    unknown = UNKNOWN_EMAIL if delegated else UNKNOWN
    return AccessRequest(subject, str(action["action"]), str(action["resource"]), {}, agent, context, unknown)


def _tell(groups: Counter[Group], seen: Counter[str], *, as_json: bool) -> None:
    ordered = sorted(groups.items(), key=lambda item: (-item[1], item[0].agent, item[0].resource, item[0].action))
    if as_json:
        fields = ("agent", "resource", "action", "was", "becomes")
        listed = [
            {**{name: getattr(group, name) for name in fields}, "by": list(group.by), "calls": calls}
            for group, calls in ordered
        ]
        print_json({"calls": seen.total(), **{name: seen[name] for name in ("same", "different", "undetermined")},
                    "differences": listed})  # fmt: skip
        return
    for group, calls in ordered[:_MOST_SHOWN]:
        colour = {"deny": "red", "undetermined": "yellow"}.get(group.becomes, "green")
        words = f"{group.agent}  {group.resource} {group.action}  {group.was} → {group.becomes}"
        by = f"  {'; '.join(group.by)}" if group.by else ""
        console.print(f"[{colour}]{counted(calls, 'call')}[/{colour}]  {plain((words + by)[:_WIDEST])}")
    if len(ordered) > _MOST_SHOWN:
        console.print(f"[dim]and {len(ordered) - _MOST_SHOWN} more kinds; --json has them all[/dim]")
    console.print(
        f"{counted(seen.total(), 'call')}: {seen['same']} as they were, {seen['different']} otherwise, "
        f"{seen['undetermined']} undetermined"
    )
