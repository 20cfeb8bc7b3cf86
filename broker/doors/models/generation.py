"""What became of an agent's own call: `GET /v1/generation?id=…`, as OpenRouter's clients ask for it."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from broker.budget import usd
from broker.connector import MODELS
from broker.errors import UnknownGeneration
from broker.store import Store

_NANO = 10**9
_LONGEST_ID = 128
_API_TYPES = {"chat": "completions", "responses": "responses", "messages": "messages", "embeddings": "embeddings"}
# What OpenRouter's clients expect to be there, and is nobody's to know here, or is no matter of ours
_NOT_TOLD = (
    "upstream_id",
    "provider_name",
    "provider_responses",
    "app_id",
    "router",
    "external_user",
    "cache_discount",
    "upstream_inference_cost",
    "moderation_latency",
    "native_finish_reason",
    "num_media_prompt",
    "num_media_completion",
    "num_search_results",
)


class Generations:
    """Looks up calls. They are read from the trail by their id, off the event loop."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def of(self, workload: str, call_id: str) -> bytes:
        """Return what became of a workload's own call; raise `UnknownGeneration` for another's, as for none."""
        if len(call_id) > _LONGEST_ID:
            raise UnknownGeneration
        bodies, costs = await asyncio.to_thread(self._read, call_id)
        records: dict[str, dict[str, Any]] = {one["kind"]: one for one in map(json.loads, bodies)}
        asked, ended = records.get("requested"), records.get("finished")
        if asked is None or asked["identity"]["spiffe_id"] != workload or not _of_a_model(asked) or ended is None:
            raise UnknownGeneration
        return msgspec.json.encode({"data": _told(call_id, asked, ended["outcome"], costs)})

    def _read(self, call_id: str) -> tuple[Sequence[bytes], Mapping[str, tuple[int | None, str]]]:
        trail, budgets = self._store.trail, self._store.budgets
        return self._store.read(
            lambda connection: (trail.of_call(connection, call_id), budgets.costs_of(connection, call_id))
        )


def _of_a_model(asked: Mapping[str, Any]) -> bool:
    transport: str = asked["origin"]["transport"]
    return transport == "models"


def _told(
    call_id: str, asked: Mapping[str, Any], outcome: Mapping[str, Any], costs: Mapping[str, tuple[int | None, str]]
) -> dict[str, Any]:
    attempts: Sequence[Mapping[str, Any]] = outcome.get("attempts") or ()
    last: Mapping[str, Any] = attempts[-1] if attempts else {}
    usage: Mapping[str, Any] = last.get("usage") or {}
    paid = [costs.get(one["hold"], (one["cost"], one["cost_source"])) for one in attempts]
    known = [cost for cost, _ in paid if cost is not None]
    cost = None if len(known) < len(paid) else sum(known)
    given, made = usage.get("input"), usage.get("output")
    return {
        **dict.fromkeys(_NOT_TOLD),
        "id": call_id,
        "model": asked["action"]["tool"].removeprefix(f"{MODELS}."),
        "created_at": asked["time"],
        "api_type": _API_TYPES.get(outcome.get("api", "")),
        "total_cost": None if cost is None else cost / _NANO,
        "usage": None if cost is None else cost / _NANO,
        "is_byok": False,
        "tokens_prompt": given,
        "tokens_completion": made,
        "native_tokens_prompt": given,
        "native_tokens_completion": made,
        "native_tokens_reasoning": usage.get("reasoning"),
        "native_tokens_cached": usage.get("cache_read"),
        "latency": _milliseconds(outcome),
        "generation_time": last.get("ms"),
        "finish_reason": last.get("finish"),
        "streamed": bool(outcome.get("streamed")),
        "cancelled": _cancelled(outcome),
        "session_id": asked["run_id"],
        "origin": "",
        # in our own words: how it ended, and its cost exactly, with how that is known
        "outcome": outcome["status"],
        "code": outcome["code"],
        "cost_usd": None if cost is None else usd(cost),
        "cost_sources": [source for _, source in paid],
    }


def _milliseconds(outcome: Mapping[str, Any]) -> int | None:
    finished = outcome.get("steps_us", {}).get("finished")
    return None if finished is None else round(finished / 1000)


def _cancelled(outcome: Mapping[str, Any]) -> bool:
    """Tell whether the agent left before its answer was whole, or was cut off."""
    return outcome["code"] is None and outcome["status"] != "released" and not outcome.get("found_at_start")
