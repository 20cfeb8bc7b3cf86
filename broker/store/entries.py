"""An entry of a search: one call with all its records, or one event, in one line's worth of facts."""

import json
from collections.abc import Sequence
from typing import Any

_IDENTITY = ("agent", "owner", "team", "environment")
_ACTION = ("resource", "action", "tool", "connector")


def entry_of(seq: int, bodies: Sequence[tuple[int, bytes | None]]) -> dict[str, Any]:
    """Return what (number, body) of its records say; what no readable record says any more is None."""
    records = [_read(body) for _, body in bodies]
    first = records[0] if records else {}
    whole: dict[str, Any] = {}
    for record in records:
        whole |= record
    part = {name: _object(whole.get(name)) for name in ("identity", "action", "policy", "outcome", "credential")}
    call_id = whole.get("call_id")
    return {
        "seq": seq,
        "last_seq": bodies[-1][0] if bodies else seq,
        "time": first.get("time"),
        "kind": "call" if call_id is not None else "pruned" if _is_pruned(bodies) else first.get("kind"),
        "call_id": call_id,
        "run_id": whole.get("run_id"),
        "workload": part["identity"].get("spiffe_id"),
        **{name: part["identity"].get(name) for name in _IDENTITY},
        **{name: part["action"].get(name) for name in _ACTION},
        "connector": part["action"].get("connector") or whole.get("connector"),
        "decision": part["policy"].get("decision"),
        "status": part["outcome"].get("status"),
        "code": part["outcome"].get("code"),
        "grant": part["credential"].get("grant"),
        "fingerprint": part["credential"].get("fingerprint"),
        "actor": whole.get("actor"),
    }


def _is_pruned(bodies: Sequence[tuple[int, bytes | None]]) -> bool:
    return bool(bodies) and all(body is None for _, body in bodies)


def _read(body: bytes | None) -> dict[str, Any]:
    """Return a record; an empty one for a body that is gone, or is no record any more."""
    try:
        return _object(json.loads(body or b"{}"))
    except (ValueError, RecursionError):
        return {}


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
