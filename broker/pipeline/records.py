"""What the three records of a call say: *requested*, *decided* and *finished*, from what is known of it."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from broker.audit import Record, new_id, timestamp
from broker.catalog import CatalogTool
from broker.identity import Agent, OnBehalfOf, WorkloadIdentity
from broker.pipeline.request import Origin
from broker.policy import Decision

# W3C Trace Context §3.2: version ff and ids of zeros are not valid
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_LONGEST_TEXT = 200  # characters of anything that a caller may choose freely
_MOST_RULES = 100  # that are named in one record, which has its own limit


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
    run_id, traceparent = _trace(origin.traceparent)
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


def action_of(
    name: str, tool: CatalogTool | None, digest: str | None, size: int, sealed: Sequence[Record] = ()
) -> Record:
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


def decided(call_id: str, decision: Decision) -> Record:
    """Say what was decided, and by which rules of which policies."""
    rules = [{"policy": rule.policy, "sha256": rule.digest, "place": rule.place} for rule in decision.rules]
    return {
        "id": new_id(),
        "time": timestamp(),
        "kind": "decided",
        "call_id": call_id,
        "policy": {
            "decision": decision.effect,
            "reason": decision.reason,
            "rules": rules[:_MOST_RULES],
            "policies": list(decision.policies[:_MOST_RULES]),
        },
    }


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


def _trace(text: str | None) -> tuple[str | None, str | None]:
    """Return the run that a `traceparent` names, and the `traceparent` itself; neither if it is not one."""
    found = _TRACEPARENT.fullmatch(text) if text is not None else None
    return (found[1], found[0]) if found else (None, None)
