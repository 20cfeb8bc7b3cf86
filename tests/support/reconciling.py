"""Calls through OpenRouter that are left in their midst, and what is learned of them afterwards."""

import time
from typing import Any

from broker.pipeline import Reconciler
from tests.support.broker import until
from tests.support.models import Gateway, asked

HOUR = 3600


def leave(gateway: Gateway, model: str = "routed", **behaviour: Any) -> str:
    """Ask for a stream, leave in the midst of it, and return the id of the call once it has ended."""
    gateway.behaves(openrouter=True, holds_after=2, **behaviour)
    with gateway.post(
        "/v1/chat/completions", {**asked(model), "stream": True, "max_tokens": 90}, stream=True
    ) as answer:
        call_id: str = answer.headers["x-request-id"]
        next(line for line in answer.iter_lines() if line)
    until(lambda: gateway.get(f"/v1/generation?id={call_id}").status_code == 200)
    return call_id


def look(gateway: Gateway, later: float) -> int:
    """Have what is due by then asked for, by another than the broker's own, whose clock nobody turns."""
    parts = gateway.broker.parts
    reconciler = Reconciler(
        parts.documents, parts.store, parts.vault, parts.models.means.service, lambda: time.time() + later
    )
    reconciler.given_back = parts.reconciler.given_back
    known: int = gateway.broker.await_(reconciler.look)
    return known


def told(gateway: Gateway, call_id: str) -> tuple[str, list[str]]:
    """Return what the agent is told of a call's cost, and how it is known."""
    data = gateway.get(f"/v1/generation?id={call_id}").json()["data"]
    return data["cost_usd"], data["cost_sources"]


def spent(gateway: Gateway) -> int:
    """Return what is spent in the agent's day."""
    query = "SELECT spent, held FROM budget_windows"
    ((counted, held),) = gateway.broker.parts.store.read(lambda reading: reading.execute(query).fetchall())
    assert held == 0
    return int(counted)
