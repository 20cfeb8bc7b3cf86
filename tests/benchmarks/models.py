"""Models: calls a second and added latency to the first and last token, beside a direct call and npm's portkey.

With identity, policy, a budget and the trail on. `python -m tests.benchmarks.models` measures this alone.
"""

import argparse
import asyncio
import json
import os
import shutil
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import aiohttp

from broker.cli.daemon import Daemon
from broker.cli.init import DEVELOPMENT_KEY, write_starter
from broker.testing.certificates import CertificateAuthority
from broker.testing.trust_domain import DevelopmentTrustDomain

_ROUNDS = 5
"""So often each way is measured, in turns: what else the machine does in the meantime befalls all of them alike."""
_OURS, _THEIRS = 0, 1  # cores: the broker, as its rival, has one to itself
_UPSTREAM, _BROKER, _PORTKEY = 9561, 9562, 9563
_WORKLOAD = "spiffe://prod/agent/finance-analyst"
_BODY = {"messages": [{"role": "user", "content": "How did we do in the last quarter? " * 4}]}
_DOCUMENTS = """\
apiVersion: access.envisionai.dev/v1
kind: Connector
metadata: {{ name: openai }}
spec:
  type: openai
  url: {url}/v1
  reach: {{ private_ranges: [127.0.0.0/8], certificate_authority: provider.pem }}
  limits: {{ connections: 256 }}
---
apiVersion: access.envisionai.dev/v1
kind: ModelRoute
metadata: {{ name: small }}
spec: {{ targets: [ {{ connector: openai, model: gpt-small, prices: {{ input: 1, output: 10 }} }} ] }}
---
apiVersion: access.envisionai.dev/v1
kind: AgentPolicy
metadata: {{ name: bench-models }}
spec:
  identity: {{ workload: spiffe://prod/agent/finance-analyst }}
  models: {{ allow: [small], budget: {{ daily_usd: 100000 }} }}
"""


class Timed:
    """One load: milliseconds to the first and the last token of each call, and calls a second."""

    def __init__(self) -> None:
        self.first: list[float] = []
        self.last: list[float] = []
        self.seconds = 0.0
        self.failed = 0

    def add(self, other: "Timed") -> None:
        """Count another load of the same kind, too."""
        self.first += other.first
        self.last += other.last
        self.seconds += other.seconds
        self.failed += other.failed

    def told(self) -> dict[str, float]:
        """Return the figures."""
        if not self.last:  # as of portkey 1.15.2, whose streams of OpenAI's API all fail on Node.js 20
            return {"failed": self.failed}
        ordered = sorted(self.last)
        return {
            "per_second": round(len(ordered) / self.seconds, 1),
            "first_ms": round(statistics.median(self.first) * 1000, 3),
            "last_ms": round(statistics.median(ordered) * 1000, 3),
            "p99_ms": round(ordered[len(ordered) * 99 // 100] * 1000, 3),
            "failed": self.failed,
        }


async def measure(
    url: str, model: str, headers: Mapping[str, str], authority: str, callers: int, count: int, *, stream: bool
) -> Timed:
    """Have `callers` make `count` calls between them, after a tenth as many to warm up."""
    tls = ssl.create_default_context(cafile=authority)
    body = json.dumps({"model": model, **_BODY, **({"stream": True} if stream else {})}).encode()
    given = {"Content-Type": "application/json", **headers}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, ssl=tls)) as session:
        timed = Timed()
        for total in (max(count // 10, callers), count):
            timed = Timed()
            left = iter(range(total))

            async def caller(left: Any = left, timed: Timed = timed) -> None:
                for _ in left:
                    began = time.perf_counter()
                    async with session.post(url, data=body, headers=given) as response:
                        first = await response.content.readany()
                        timed.first.append(time.perf_counter() - began)
                        whole = first + await response.read()
                    if response.status == 200 and (b"[DONE]" in whole or not stream):
                        timed.last.append(time.perf_counter() - began)
                    else:
                        timed.failed += 1

            began = time.perf_counter()
            await asyncio.gather(*(caller() for _ in range(callers)))
            timed.seconds = time.perf_counter() - began
        return timed


def models(place: Path, count: int, callers: tuple[int, ...] = (1, 16, 64)) -> dict[str, Any]:
    """Measure all three, whole and streamed, side by side; the rival only where it is installed."""
    figures: dict[str, Any] = {}
    with ExitStack() as stack:
        ways, memories = _ways(place, stack)
        for stream in (False, True):
            for number in callers:
                most = max(count * number // 64, 300)
                found_of = {name: Timed() for name in ways}
                for _ in range(_ROUNDS):
                    for name, (url, model, headers, ca) in ways.items():
                        count_each = max(most // _ROUNDS, number)
                        timed = asyncio.run(measure(url, model, headers, ca, number, count_each, stream=stream))
                        found_of[name].add(timed)
                row = {name: timed.told() for name, timed in found_of.items()}
                direct = row["direct"]
                for name, found in row.items():
                    if name != "direct" and "last_ms" in found:
                        found["added_first_ms"] = round(found["first_ms"] - direct["first_ms"], 3)
                        found["added_last_ms"] = round(found["last_ms"] - direct["last_ms"], 3)
                figures[f"{'streamed' if stream else 'whole'}/{number}"] = row
        figures["memory_mb"] = {name: _memory(pid) for name, pid in memories.items()}
    if "portkey" not in ways:
        figures["portkey"] = (
            "skipped: AAM_PORTKEY names no start-server.js of npm's @portkey-ai/gateway, or there is no node"
        )
    return figures


Way = tuple[str, str, Mapping[str, str], str]


def _ways(place: Path, stack: ExitStack) -> tuple[dict[str, Way], dict[str, int]]:
    """Start everything; return where each way is called, and the processes whose memory counts."""
    place.mkdir(parents=True, exist_ok=True)
    authority = CertificateAuthority(place)
    certificate = authority.issue("provider")
    ca = str(authority.certificate_file)
    files = [str(certificate.certificate_file), str(certificate.key_file)]
    python = [sys.executable, "-m"]
    stack.enter_context(_process([*python, "tests.benchmarks.model_upstream", str(_UPSTREAM), *files], _THEIRS))
    upstream = f"https://127.0.0.1:{_UPSTREAM}"
    directory = _documents(place / "access", upstream, ca)
    broker = stack.enter_context(_process([*python, "tests.benchmarks.served", str(directory)], _OURS))
    Daemon(directory).post("/v1/grants", {"connector": "openai", "kind": "api-key", "key": "sk-" + "a1B2c3D4" * 6})
    url = f"http://127.0.0.1:{_BROKER}"
    token = DevelopmentTrustDomain.read("prod", directory / DEVELOPMENT_KEY).mint(_WORKLOAD, f"{url}/mcp", seconds=3500)
    path = "/v1/chat/completions"
    ways: dict[str, Way] = {
        "direct": (upstream + path, "gpt-small", {"Authorization": "Bearer sk-direct"}, ca),
        "broker": (url + path, "small", {"Authorization": f"Bearer {token}"}, ca),
    }
    memories = {"broker": broker.pid}
    program, node = os.environ.get("AAM_PORTKEY"), os.environ.get("AAM_NODE") or shutil.which("node")
    if program and node:
        environment = {"NODE_EXTRA_CA_CERTS": ca, "PORT": str(_PORTKEY), "NODE_ENV": "production"}
        command = [node, program, f"--port={_PORTKEY}", "--headless"]
        rival = stack.enter_context(_process(command, _OURS, environment, ready=b"Ready"))
        headers = {"Authorization": "Bearer sk-direct", "x-portkey-provider": "openai"}
        headers["x-portkey-custom-host"] = f"{upstream}/v1"
        ways["portkey"] = (f"http://127.0.0.1:{_PORTKEY}{path}", "gpt-small", headers, ca)
        memories["portkey"] = rival.pid
    return ways, memories


def _documents(directory: Path, upstream: str, ca: str) -> Path:
    write_starter(directory, _BROKER)
    connectors = directory / "connectors"
    (connectors / "models.yaml").write_text(_DOCUMENTS.format(url=upstream))
    (connectors / "provider.pem").write_text(Path(ca).read_text())
    return directory


@contextmanager
def _process(
    command: list[str], core: int, environment: Mapping[str, str] | None = None, ready: bytes = b""
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a program on one core, from the line on with which it says that it is ready."""
    started = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **(environment or {})},
        preexec_fn=lambda: _pin(core),  # noqa: PLW1509 - no thread has been started yet
    )
    try:
        assert started.stdout is not None
        for line in started.stdout:
            if ready.lower() in line.lower():
                break
        yield started
    finally:
        started.terminate()
        started.wait(20)


def _memory(pid: int) -> float:
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        return float("nan")
    return round(int(next(line for line in status.read_text().splitlines() if "VmRSS" in line).split()[1]) / 1024, 1)


def _pin(core: int) -> None:
    if hasattr(os, "sched_setaffinity") and (os.cpu_count() or 1) > 1:
        os.sched_setaffinity(0, {core})


def rows(figures: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """Yield what a table says: what, callers, who, calls a second, milliseconds."""
    for name, row in figures.items():
        if "/" not in name:
            continue
        what, callers = name.split("/")
        for who, found in row.items():
            added = [f"{found[one]:.2f}" if one in found else "" for one in ("added_first_ms", "added_last_ms")]
            rate, worst = (f"{found[one]:,.1f}" if one in found else "" for one in ("per_second", "p99_ms"))
            yield what, callers, who, rate, worst, *added, str(found["failed"] or "")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=4000, help="calls at 64 callers")
    _pin(_THEIRS)
    with tempfile.TemporaryDirectory(prefix="aam-bench-models-") as where:
        sys.stdout.write(json.dumps(models(Path(where), parser.parse_args().calls), indent=2) + "\n")
