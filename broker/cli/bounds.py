"""What a recorded decision bound a call to, in words."""

from collections.abc import Iterator
from typing import Any

Record = dict[str, Any]


def bound_words(policy: Record) -> Iterator[str]:
    """Yield what the `policy` of a *decided* record says besides the rules."""
    if policy.get("observed"):
        yield f"only observed: it will be refused ({policy['observed']}) once the policy is enforced"
    scope, obligations = policy.get("scope") or {}, policy.get("obligations") or {}
    if scope.get("fields") is not None:
        yield f"only the fields {', '.join(scope['fields'])}"
    if scope.get("records") is not None:
        yield f"{scope['records']} records at most"
    if scope.get("filters"):
        yield f"only where {' and '.join(scope['filters'])} … (the values are not recorded)"
    for name, words in (("mask", "masked"), ("redact", "taken off")):
        if obligations.get(name):
            yield f"{words}: {', '.join(obligations[name])}"
    if obligations.get("max_bytes") is not None:
        yield f"{obligations['max_bytes']} bytes at most"
    for limit in policy.get("limits") or ():
        length = "at once" if limit["per"] == "concurrent" else f"a {limit['per']}"
        yield f"{limit['calls']} calls {length}, by {limit['policy']}"
    if policy.get("approval"):
        yield f"approved by {' or '.join(policy['approval']['by'])}"
