"""What policies cost: deciding beside more and more of them, and reloading many documents while calls go on.

`python -m tests.benchmarks.policies --documents 10000` prints JSON.
"""

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import anyio

from broker.app.process import settle_garbage
from broker.policy import AccessRequest, AgentPolicies, AgentPolicyDocument, WrittenPolicy
from tests.support.broker import Line, open_line
from tests.support.documents import ANALYST, HEAD, Written, write_documents
from tests.support.notes import Notes, NotesService
from tests.support.policies import OFFERED, WORKLOAD, request

_DECISIONS = 3000
_CONDITION = "arguments.amount <= 1000 && agent.team == 'finance'"
_CALLERS = 2


def deciding(sizes: tuple[int, ...] = (10, 1_000, 10_000)) -> list[dict[str, float]]:
    """Decide for an agent with two policies, among so many policies of all agents; µs, at the median and 99th."""
    return [_deciding(size) for size in sizes]


def _deciding(size: int) -> dict[str, float]:
    agents = {f"spiffe://prod/agent/{number}": _united(number, None) for number in range(size // 2 - 1)}
    plain = agents | {WORKLOAD: _united(0, None)}
    conditional = agents | {WORKLOAD: _united(0, _CONDITION)}
    arguments = {"amount": 100, "name": "Acme", "rest": {"member": ["value"] * 100}}
    found: dict[str, float] = {"policies": size}
    for name, policies in (("plain", plain), ("condition", conditional)):
        asked = request(arguments)
        median, p99 = _microseconds(policies, asked)
        found |= {f"{name}_us": median, f"{name}_p99_us": p99}
    return found


def _united(number: int, condition: str | None) -> AgentPolicies:
    rule: dict[str, Any] = {"resource": "crm.accounts", "actions": ["read", "search"]}
    if condition is not None:
        rule["when"] = condition
    rules = ([rule], [{"resource": "crm.*", "deny": ["export", "update"]}])
    documents = (
        AgentPolicyDocument.model_validate({"identity": {"workload": WORKLOAD}, "tools": tools}) for tools in rules
    )
    written = (WrittenPolicy(f"p{number}-{place}", "d", one) for place, one in enumerate(documents))
    return AgentPolicies(written, OFFERED)


def _microseconds(policies: Mapping[str, AgentPolicies], asked: AccessRequest) -> tuple[float, float]:
    times = []
    for _ in range(_DECISIONS):
        began = time.perf_counter_ns()
        policies[asked.subject.spiffe_id].decide(asked)
        times.append((time.perf_counter_ns() - began) / 1000)
    return statistics.median(times), statistics.quantiles(times, n=100)[98]


def reloading(place: Path, documents: int = 10_000) -> dict[str, Any]:
    """Reload so many documents while calls go on: one of them changed, and all of them changed."""
    with NotesService(place) as service:
        written = write_documents(place / "access", service, caps={"calls_at_once_per_agent": 64})
        for name, text in _many(documents // 2, "first"):
            written.put(name, text)
        return anyio.run(_reloading, written, documents, backend_options={"use_uvloop": True})


_DOCUMENTS = (
    HEAD
    + """\
kind: Agent
metadata: {{name: many-{number}, description: {description}}}
spec:
  workload: spiffe://prod/agent/many-{number}
  owner: jane@example.com
  team: finance
  environment: production
  deployment: one
---
"""
    + HEAD
    + """\
kind: AgentPolicy
metadata: {{name: many-{number}, description: {description}}}
spec:
  identity: {{workload: spiffe://prod/agent/many-{number}}}
  tools:
    - resource: notes.notes
      actions: [read, list]
      when: context.assurance == 'attested' && agent.team == 'finance'
      max_records: 50
"""
)


def _many(agents: int, description: str) -> Iterator[tuple[str, str]]:
    for number in range(agents):
        yield f"many-{number}.yaml", _DOCUMENTS.format(number=number, description=description)


async def _reloading(written: Written, documents: int) -> dict[str, Any]:
    began = time.perf_counter()
    async with open_line(written, Notes()) as line:
        settle_garbage()  # as the daemon does
        found: dict[str, Any] = {"documents": documents, "first_load_seconds": time.perf_counter() - began}
        found["quiet"] = await _calling(line, asyncio.sleep(3))
        for kind in ("all_read_anew", "one_changed"):  # this broker has not read them before, so it remembers none
            written.put("many-0.yaml", dict(_many(1, kind))["many-0.yaml"])
            found[kind] = await _calling(line, line.parts.documents.reload(_loaded, _refused, _in_force))
        return found


async def _in_force(_snapshot: Any) -> None:
    """Take a set that has come into force."""


async def _loaded(_snapshot: Any, _restart: bool) -> None:  # noqa: FBT001 - as the watcher calls it
    return


async def _refused(invalid: Any) -> None:
    raise AssertionError(invalid.problems[:3])


async def _calling(line: Line, meanwhile: Any) -> dict[str, float]:
    """Make calls, a few at once, while something goes on; return how long the slowest took."""
    times: list[float] = []
    done = asyncio.Event()

    async def caller() -> None:
        while not done.is_set():
            began = time.perf_counter()
            await line.call("notes_notes_read", {"id": "n1"}, ANALYST)
            times.append((time.perf_counter() - began) * 1000)

    callers = [asyncio.ensure_future(caller()) for _ in range(_CALLERS)]
    began = time.perf_counter()
    await meanwhile
    seconds = time.perf_counter() - began
    done.set()
    await asyncio.gather(*callers)
    return {
        "seconds": seconds,
        "calls": len(times),
        "median_ms": statistics.median(times),
        "p99_ms": statistics.quantiles(times, n=100)[98] if len(times) > 1 else times[0],
        "slowest_ms": max(times),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=10_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="aam-bench-") as place:
        figures = {"deciding": deciding(), "reloading": reloading(Path(place), arguments.documents)}
    sys.stdout.write(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
