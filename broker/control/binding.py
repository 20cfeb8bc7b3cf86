"""What an approval is for: everything that a call is, in one way of writing, and the documents that it rests on."""

from collections.abc import Mapping
from typing import Any

import msgspec

from broker.documents import Snapshot
from broker.policy import AccessRequest, Decision

Basis = Mapping[str, str | None]
"""The digests of documents, by kind and name: `{"AgentPolicy closing": "9f86…"}`."""

_ENCODER = msgspec.json.Encoder(order="deterministic")


def basis_of(decision: Decision, resource: str, snapshot: Snapshot) -> Basis:
    """Return the digests of the documents that say what is approved: the deciding policies, and where it goes."""
    names = [("AgentPolicy", rule.policy) for rule in decision.rules] + [("Connector", resource.partition(".")[0])]
    return {f"{kind} {name}": snapshot.outline.get((kind, name)) for kind, name in sorted(names)}


def is_current(basis: Basis, snapshot: Snapshot) -> bool:
    """Tell whether those documents still say what they said."""
    return all(snapshot.outline.get(_document(name)) == digest for name, digest in basis.items())


def whole(decision: Decision, access: AccessRequest, tool: str, basis: Basis) -> bytes:
    """Return everything that an approval is for: equal for equal calls, and for no others."""
    return _ENCODER.encode(
        [
            "approval/v1",
            access.subject.spiffe_id,
            _behalf(access),
            tool,
            access.resource,
            access.action,
            access.arguments,
            _scope(decision),
            basis,
        ]
    )


def to_read(decision: Decision, access: AccessRequest) -> bytes:
    """Return what the person who decides must see, as JSON: what of it is personal is nobody else's to see."""
    shown = {
        "arguments": access.arguments,
        "on_behalf_of": _behalf(access),
        **_scope(decision),
        "rules": [{"policy": rule.policy, "place": rule.place} for rule in decision.rules],
    }
    return _ENCODER.encode(shown)


def _scope(decision: Decision) -> dict[str, Any]:
    scope = decision.scope
    return {
        "fields": None if scope.fields is None else sorted(scope.fields),
        "records": scope.records,
        "filters": [[one.field, one.operator, one.value] for one in scope.filters],
    }


def _behalf(access: AccessRequest) -> dict[str, str] | None:
    behalf = access.on_behalf_of
    return None if behalf is None else {"iss": behalf.issuer, "sub": behalf.subject}


def _document(name: str) -> tuple[str, str]:
    kind, _, called = name.partition(" ")
    return kind, called
