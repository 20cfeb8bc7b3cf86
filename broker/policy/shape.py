"""What conditions and filters may speak of: four roots, and which members each of them has."""

import datetime
from collections.abc import Mapping
from typing import Any

from broker.policy.request import AccessRequest

SHAPES: Mapping[str, frozenset[str]] = {
    "agent": frozenset({"name", "owner", "team", "environment", "deployment", "workload", "trust_domain"}),
    "on_behalf_of": frozenset({"issuer", "subject", "method", "email"}),
    "context": frozenset({"time", "environment", "deployment", "assurance", "method", "transport", "client"}),
}
ROOTS = ("arguments", *SHAPES)

Value = str | int | bool | datetime.datetime


def values_of(root: str, request: AccessRequest) -> dict[str, Value]:
    """Return what a request says of a root other than its arguments; what it does not say is not among it."""
    subject, agent, delegated, context = request.subject, request.agent, request.on_behalf_of, request.context
    given: Mapping[str, Value | None]
    if root == "agent":
        given = {"workload": subject.spiffe_id, "trust_domain": subject.trust_domain}
        if agent is not None:
            given |= {name: getattr(agent, name) for name in ("name", "owner", "team", "environment", "deployment")}
    elif root == "on_behalf_of":
        given = {name: getattr(delegated, name) for name in SHAPES[root]} if delegated is not None else {}
    else:
        given = {
            "time": context.time,
            "environment": agent.environment if agent is not None else None,
            "deployment": agent.deployment if agent is not None else None,
            "assurance": subject.assurance,
            "method": subject.method,
            "transport": context.transport,
            "client": context.client,
        }
    return {name: value for name, value in given.items() if value is not None}


def chosen(arguments: Mapping[str, Any], names: frozenset[str]) -> dict[str, Any]:
    """Return those arguments that an expression names: it costs no more for the rest."""
    return {name: arguments[name] for name in names if name in arguments}
