"""What the three records of a call say: *requested*, *decided* and *finished*, from what is known of it."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from broker.audit import Record, canonical, new_id, timestamp
from broker.connector import Scope
from broker.control import Asked
from broker.identity import Agent, OnBehalfOf, WorkloadIdentity
from broker.pipeline.request import Origin
from broker.policy import UNNARROWED, Decision, Rule

# W3C Trace Context §3.2: version ff and ids of zeros are not valid
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_LONGEST_TEXT = 200  # characters of anything that a caller may choose freely
_MOST_RULES = 50  # that are named in one record, which has its own limit
_MOST_FAILED = 10
_MOST_NAMED = 20  # fields
_LONGEST_FILE = 80  # characters of a file's name


class Called(Protocol):
    """What is called: a tool, or a model."""

    @property
    def resource(self) -> str:
        """The resource, as policies name it."""
        ...

    @property
    def action(self) -> str:
        """The action on it."""
        ...

    @property
    def connector(self) -> str:
        """The connector that it is of; for models, what all of them are of."""
        ...


def requested(
    call_id: str,
    time: str,
    identity: WorkloadIdentity,
    agent: Agent | None,
    action: Mapping[str, Any],
    origin: Origin,
    documents: str,
) -> Record:
    """Say who asked for what, how it came, and which documents were in force."""
    run_id, traceparent = trace_of(origin.traceparent)
    return {
        "id": new_id(),
        "time": time,
        "kind": "requested",
        "call_id": call_id,
        "run_id": run_id,
        "traceparent": traceparent,
        "identity": {
            "spiffe_id": identity.spiffe_id,
            "method": identity.method,
            "assurance": identity.assurance,
            "proof": identity.proof,
            "key_id": identity.key_id,
            "token_id": identity.token_id,
            **_vouched(identity),
            "agent": agent.name if agent else None,
            "owner": agent.owner if agent else None,
            "team": agent.team if agent else None,
            "environment": agent.environment if agent else None,
            "deployment": agent.deployment if agent else None,
            "on_behalf_of": _delegation(identity.on_behalf_of),
        },
        "action": action,
        "origin": {
            "transport": origin.transport,
            "source": short(origin.source),
            "client": short(origin.client),
            "client_version": short(origin.client_version),
            "protocol": short(origin.protocol),
        },
        "documents": documents,
    }


def action_of(name: str, tool: Called | None, digest: str | None, size: int, sealed: Sequence[Record] = ()) -> Record:
    """Say what was asked for; of the arguments, only how many bytes they are and their keyed digest.

    `sealed` says what of them is recorded encrypted beside the trail: a commitment to each value, never the value.
    """
    action: dict[str, Any] = {"tool": short(name)}
    if tool is not None:
        action |= {"resource": tool.resource, "action": tool.action, "connector": tool.connector}
    if digest is not None:
        action |= {"arguments_bytes": size, "arguments_hmac": digest}
    if sealed:
        action["sealed"] = list(sealed)
    return action


def decided(call_id: str, decision: Decision, scope_digest: str | None = None, asked: Asked | None = None) -> Record:
    """Say what was decided, by which rules of which policies, and what the call is bound by.

    `scope_digest` is a keyed digest of what the call is narrowed to, whose values may be personal.
    """
    policy: dict[str, Any] = {
        "decision": decision.effect,
        "reason": decision.reason,
        "rules": [_rule(rule) for rule in decision.rules[:_MOST_RULES]],
        "policies": list(decision.policies[:_MOST_RULES]),
    }
    if decision.observed is not None:
        policy["observed"] = decision.observed
    if decision.failed:
        failed = decision.failed[:_MOST_FAILED]
        policy["failed"] = [{**_rule(one.rule), "why": short(one.why)} for one in failed]
    if decision.effect != "deny":
        policy |= _bounds(decision, scope_digest)
    if asked is not None:
        policy["asked"] = asked.record()
    return {"id": new_id(), "time": timestamp(), "kind": "decided", "call_id": call_id, "policy": policy}


def _rule(rule: Rule) -> Record:
    named: dict[str, Any] = {"policy": rule.policy, "sha256": rule.digest, "place": rule.place}
    if rule.line:
        named |= {"file": short(rule.file[:_LONGEST_FILE]), "line": rule.line}
    return named


def _bounds(decision: Decision, scope_digest: str | None) -> Record:
    """Say what a call that may be made is bound by; of filters, what they compare and not with what."""
    bounds: dict[str, Any] = {}
    scope, obligations = decision.scope, decision.obligations
    if scope != UNNARROWED:
        narrowed: dict[str, Any] = {"hmac": scope_digest}
        if scope.fields is not None:
            narrowed["fields"] = sorted(scope.fields)[:_MOST_NAMED]
        if scope.records is not None:
            narrowed["records"] = scope.records
        if scope.filters:
            narrowed["filters"] = [f"{one.field} {one.operator}" for one in scope.filters[:_MOST_NAMED]]
        bounds["scope"] = narrowed
    if obligations:
        bounds["obligations"] = {
            "mask": sorted(obligations.mask)[:_MOST_NAMED],
            "redact": sorted(obligations.redact)[:_MOST_NAMED],
            "max_bytes": obligations.max_bytes,
        }
    if decision.limits:
        limits = decision.limits[:_MOST_NAMED]
        bounds["limits"] = [{"policy": one.rule.policy, "calls": one.calls, "per": one.per} for one in limits]
    if decision.approval is not None:
        bounds["approval"] = {"by": list(decision.approval.by), "exclude_owner": decision.approval.exclude_owner}
    return bounds


def scope_text(scope: Scope) -> bytes:
    """Return a scope's canonical JSON: equal scopes have equal digests."""
    filters = [[one.field, one.operator, one.value] for one in scope.filters]
    fields = None if scope.fields is None else sorted(scope.fields)
    return canonical({"fields": fields, "records": scope.records, "filters": filters})


def finished(call_id: str, outcome: Mapping[str, Any], credential: Record | None) -> Record:
    """Say how it ended, and which credential was used."""
    return {
        "id": new_id(),
        "time": timestamp(),
        "kind": "finished",
        "call_id": call_id,
        "outcome": outcome,
        "credential": credential,
    }


def short(text: str | None) -> str | None:
    """Bound what a caller may choose, and replace what has no encoding."""
    return None if text is None else text[:_LONGEST_TEXT].encode("utf-8", "replace").decode()


def _vouched(identity: WorkloadIdentity) -> Record:
    """Say who vouched, and for whom by its own name, where that was no trust domain."""
    return {} if identity.issuer is None else {"issuer": identity.issuer, "subject": identity.subject}


def _delegation(delegated: OnBehalfOf | None) -> Record | None:
    if delegated is None:
        return None
    return {"iss": delegated.issuer, "sub": delegated.subject, "method": delegated.method}


def trace_of(text: str | None) -> tuple[str | None, str | None]:
    """Return the run that a `traceparent` names, and the `traceparent` itself; neither if it is not one."""
    found = _TRACEPARENT.fullmatch(text) if text is not None else None
    return (found[1], found[0]) if found else (None, None)
