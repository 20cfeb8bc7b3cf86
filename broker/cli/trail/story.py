"""One call as a story on one screen: who, by which policy, with which credential, what came of it, and the proof."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from broker.cli.bounds import bound_words
from broker.cli.output import counted

Record = dict[str, Any]
_PROOF = {
    "method": "proved by",
    "assurance": "assurance",
    "issuer": "of",
    "subject": "for",
    "key_id": "key",
    "token_id": "token",
    "proof": "",
}
_ORIGIN = {"transport": "", "source": "", "client": "client", "client_version": "", "protocol": "MCP"}
Line = tuple[str, str]
"""A heading, which may be empty, and what stands beside it."""


@dataclass(frozen=True, slots=True)
class Told:
    """What the broker knows of one call. `rules` have their text as it was then; `run` are calls of the same trace."""

    records: Sequence[Record]
    rules: Sequence[Mapping[str, Any]]
    run: Sequence[Mapping[str, Any]]
    proved: str
    costs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """What its attempts have cost as it is known now, by their holds."""

    @property
    def parts(self) -> tuple[Record, Record, Record]:
        """The call's three records; empty where there is none, or its body was pruned."""
        kinds = {record["kind"]: record for record in self.records}
        return kinds.get("requested", {}), kinds.get("decided", {}), kinds.get("finished", {})


def lines_of(told: Told) -> Iterator[Line]:
    """Yield the story, line by line."""
    requested, decided, finished = told.parts
    yield from _who(requested)
    yield from _asked(requested)
    yield from _decided(decided, told.rules)
    yield from _credential(finished)
    yield from _attempts(finished, told.costs)
    yield from _outcome(finished)
    yield from _run(requested, told.run)
    seqs = ", ".join(str(record["seq"]) for record in told.records)
    yield "evidence", f"{'record' if len(told.records) == 1 else 'records'} {seqs}: {told.proved}"


def _who(requested: Record) -> Iterator[Line]:
    identity, origin = requested.get("identity") or {}, requested.get("origin") or {}
    agent = identity.get("agent")
    yield (
        "who",
        f"{agent} ({identity.get('spiffe_id')})" if agent else str(identity.get("spiffe_id") or "not on record"),
    )
    yield "", _joined(identity, _PROOF)
    yield "", _joined(identity, {"owner": "owner", "team": "team", "environment": "in", "deployment": "deployed as"})
    on_behalf = identity.get("on_behalf_of")
    yield "on behalf of", _plain(on_behalf) if on_behalf else "nobody: the agent itself"
    yield (
        "from",
        _joined(origin, _ORIGIN),
    )


def _asked(requested: Record) -> Iterator[Line]:
    action = requested.get("action") or {}
    what = f"{action['resource']} {action['action']}" if "resource" in action else "an unknown tool"
    yield "asked for", f"{what}, as {action.get('tool')}"
    if "arguments_bytes" in action:
        size = counted(action["arguments_bytes"], "byte")
        yield "", f"arguments of {size}, keyed digest {action['arguments_hmac'][:16]}…"
    yield "documents", str(requested.get("documents") or "not on record")


def _decided(decided: Record, rules: Sequence[Mapping[str, Any]]) -> Iterator[Line]:
    policy = decided.get("policy")
    if policy is None:
        yield "decided", "nothing: the call was refused before a policy was asked"
        return
    by = ", ".join(policy["policies"]) or "no policy"
    yield "decided", f"{policy['decision']} ({policy['reason']}), asked: {by}"
    texts = {(rule["policy"], rule["sha256"], rule["place"]): rule.get("text") for rule in rules}
    for rule in policy["rules"]:
        yield "by the rule", f"{rule['policy']} {rule['place']}, of the file {rule['sha256'][:16]}…, as it was then:"
        text = texts.get((rule["policy"], rule["sha256"], rule["place"]))
        for line in (text or "(its text was not kept)").splitlines():
            yield "", f"    {line}"
    for failed in policy.get("failed") or ():
        yield "not evaluated", f"{failed['policy']} {failed['place']}: {failed['why']}"
    for words in bound_words(policy):
        yield "bound", words


def _credential(finished: Record) -> Iterator[Line]:
    credential = finished.get("credential")
    if not credential:
        yield "credential", "none was used"
        return
    yield "credential", f"grant {credential['grant']} ({credential['kind']}, of {credential['principal']})"
    scopes = " ".join(credential["scopes"]) or "none named"
    yield "", f"token with fingerprint {credential['fingerprint']}, scopes: {scopes}"


def _attempts(finished: Record, costs: Mapping[str, Mapping[str, Any]]) -> Iterator[Line]:
    """Say of each attempt at a model how it ended and what it cost, of what was held for it."""
    for attempt in (finished.get("outcome") or {}).get("attempts", ()):
        took = f" after {attempt['ms']} ms" if "ms" in attempt else ""
        trouble = f" ({attempt['trouble']})" if "trouble" in attempt else ""
        where = ", ".join(str(one) for one in (attempt.get("region"), *attempt.get("labels", ())) if one)
        target = f"{attempt['target']} ({where})" if where else attempt["target"]
        yield "attempt", f"{target} {attempt['status']}{trouble}{took}, {_cost(attempt)}"
        now = costs.get(attempt["hold"], {})
        if now.get("cost_source") == "reconciled":
            yield "", f"{_dollars(now['cost'])}, as the provider said afterwards"
        if thinks := attempt.get("reasoning"):
            yield "", f"told to think: {', '.join(f'{name} {value}' for name, value in thinks.items())}"
        if usage := attempt.get("usage"):
            parts = [f"{usage['input']} tokens in", f"{usage['cache_read']} of them cached", f"{usage['output']} out"]
            yield "", ", ".join((*parts, f"{usage['reasoning']} of them reasoning"))


def _cost(attempt: Mapping[str, Any]) -> str:
    if attempt["cost"] is None:
        return "with a price that nobody knows"
    known = {"usage": "by its usage", "provider": "as the provider says", "unsent": "nothing was taken up"}
    how = known.get(attempt["cost_source"], "the most that it may have cost")
    return f"{_dollars(attempt['cost'])} of {_dollars(attempt['held'])} that were held: {how}"


def _dollars(nanos: int) -> str:
    """Write nano-dollars as `broker.budget` does, which a command need not load for that."""
    whole, rest = divmod(nanos, 10**9)
    return f"${whole}.{f'{rest:09d}'.rstrip('0').ljust(2, '0')}"


def _outcome(finished: Record) -> Iterator[Line]:
    outcome = finished.get("outcome")
    if outcome is None:
        yield "outcome", "none yet"
        return
    yield "outcome", " ".join(str(part) for part in (outcome["status"], outcome.get("code")) if part)
    if outcome.get("detail"):
        yield "", str(outcome["detail"])
    if "result_bytes" in outcome:
        size, removed = counted(outcome["result_bytes"], "byte"), outcome.get("credentials_removed")
        without = "" if removed is None else f", {counted(removed, 'credential')} removed from it"
        yield "", f"a result of {size}, keyed digest {outcome['result_hmac'][:16]}…{without}"
    steps = outcome.get("steps_us") or {}
    if steps:
        in_order = sorted(steps.items(), key=lambda step: step[1])
        yield "steps", " · ".join(f"{name} after {microseconds / 1000:.1f} ms" for name, microseconds in in_order)


def _run(requested: Record, run: Sequence[Mapping[str, Any]]) -> Iterator[Line]:
    run_id = requested.get("run_id")
    if not run_id:
        yield "run", "none: the call named no trace"
        return
    yield "run", f"{run_id}, with {counted(len(run), 'other call')}"
    for other in run:
        what = f"{other.get('resource') or other.get('tool')} {other.get('action') or ''}".strip()
        yield "", f"{other['time']}  {what}  {other.get('status') or 'unfinished'}  {other['call_id']}"


def _joined(values: Mapping[str, Any], names: Mapping[str, str]) -> str:
    """Return the values that are there, each behind its word."""
    parts = [f"{word} {values[name]}".strip() for name, word in names.items() if values.get(name) is not None]
    return ", ".join(parts) or "not on record"


def _plain(value: Any) -> str:
    return ", ".join(f"{name} {one}" for name, one in value.items()) if isinstance(value, dict) else str(value)
