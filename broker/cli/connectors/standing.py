"""How things stand with a connector's service, in words."""

from typing import Any


def standing(found: dict[str, Any] | None) -> str:
    """Say whether calls are let through to a service, and how much of its limits is used."""
    if found is None:
        return "by the routes of its models"
    said = _CIRCUIT[found["circuit"]].format(**found)
    if found["failures"] and found["circuit"] == "closed":
        said += f", the last {found['failures']} failed"
    at_once, minute = found["calls_at_once"], found["calls_per_minute"]
    said += f"; {found['running']}{f' of {at_once}' if at_once else ''} running"
    return said + f", {found['last_minute']}{f' of {minute}' if minute else ''} in the last minute"


_CIRCUIT = {
    "closed": "let through",
    "open": "left alone for {opens_in_seconds:.0f} s after {failures} failures",
    "half_open": "the next call tries whether it is well, after {failures} failures",
}
