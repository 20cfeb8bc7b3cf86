"""Runs every measurement once, prints them side by side: `make bench`, or `python -m tests.benchmarks --json`."""

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import requests
from joserfc import jwt
from joserfc.jwk import RSAKey
from rich.console import Console
from rich.table import Table

from broker.cli.daemon import Daemon
from broker.cli.init import DEVELOPMENT_KEY, write_starter
from broker.testing.certificates import CertificateAuthority
from broker.testing.trust_domain import DevelopmentTrustDomain
from tests.benchmarks.budgets import holds
from tests.benchmarks.described import described
from tests.benchmarks.evidence import appends, growth
from tests.benchmarks.identities import identities
from tests.benchmarks.load import Measured, measure_direct, measure_mcp, measure_simple_salesforce
from tests.benchmarks.metrics import metrics
from tests.benchmarks.models import models, rows
from tests.benchmarks.policies import deciding, reloading

_WORKLOAD = "spiffe://prod/agent/finance-analyst"
_PYTHON = [sys.executable, "-m"]
_OURS, _THEIRS = 0, 1  # cores: the broker has one to itself

_DOCUMENTS = """\
apiVersion: access.envisionai.dev/v1
kind: Connector
metadata: {{ name: notes }}
spec:
  type: notes
  url: {notes}
  resources: {{ notes: notes }}
  oauth: {{ token_endpoint: "{notes}/token", audience: "{notes}" }}
  reach: {{ private_ranges: [127.0.0.0/8], certificate_authority: notes.pem }}
  limits: {{ connections: 256 }}
---
apiVersion: access.envisionai.dev/v1
kind: Connector
metadata: {{ name: salesforce }}
spec:
  type: salesforce
  url: {url}
  resources: {{ accounts: Account }}
  snapshot: salesforce.snapshot.json
  oauth: {{ token_endpoint: "{url}/services/oauth2/token", audience: "{audience}" }}
  reach: {{ private_ranges: [127.0.0.0/8, "::1/128"], certificate_authority: salesforce.pem }}
---
apiVersion: access.envisionai.dev/v1
kind: AgentPolicy
metadata: {{ name: notes-reader }}
spec:
  identity: {{ workload: spiffe://prod/agent/finance-analyst }}
  tools: [{{ resource: notes.notes, actions: [read] }}]
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--calls", type=int, default=4000, help="calls for each figure")
    parser.add_argument("--records", default="10000,100000,1000000", help="sizes of trails to be measured")
    parser.add_argument("--documents", type=int, default=10_000, help="documents that are reloaded")
    arguments = parser.parse_args()
    console = Console(stderr=True, quiet=arguments.json)
    with tempfile.TemporaryDirectory(prefix="aam-bench-") as place, contextlib.ExitStack() as stack:
        _pin(_THEIRS)
        with console.status("starting the broker and two services"):
            setting = Setting(Path(place), stack)
        figures: dict[str, Any] = {"first_call_seconds": setting.first_call_seconds}
        with console.status("calling") as status:
            for callers in (1, 16, 64):
                status.update(f"small connector, {callers} callers")
                figures[f"notes/{callers}"] = setting.notes(callers, max(arguments.calls * callers // 64, 800))
            status.update("where the time goes")
            figures["steps_us"] = setting.steps()
            for callers in (1, 16):
                status.update(f"Salesforce, {callers} callers")
                figures[f"salesforce/{callers}"] = setting.salesforce(callers, max(arguments.calls // 8, 200))
            figures["memory_mb"] = setting.memory()
            status.update("disk syncs")
            figures["syncs_per_call"] = setting.syncs(1000)
            status.update("who calls")
            figures["identities"] = identities()
            status.update("the trail alone")
            figures["appends"] = appends(Path(place), arguments.calls * 5)
            sizes = [int(size) for size in arguments.records.split(",")]
            figures["growth"] = growth(Path(place), sizes, status.update)
            status.update("models")
            figures["models"] = models(Path(place) / "models", arguments.calls)
            status.update("budgets alone")
            figures["budgets"] = holds(arguments.calls)
            status.update("metrics alone")
            figures["metrics"] = metrics()
            # Last: what starts after them would begin with their memory
            status.update("deciding")
            figures["deciding"] = deciding()
            status.update("a described service")
            figures["described"] = described()
            status.update(f"reloading {arguments.documents} documents")
            figures["reloading"] = reloading(Path(place) / "reloading", arguments.documents)
    if arguments.json:
        sys.stdout.write(json.dumps(figures, indent=2) + "\n")
    else:
        _print(figures)


class Setting:
    """The processes that are measured."""

    def __init__(self, place: Path, stack: contextlib.ExitStack) -> None:
        self.place, self.directory = place, place / "access"
        authority = CertificateAuthority(place)
        certificate = authority.issue("notes")
        self.authority = str(authority.certificate_file)
        ports = {"notes": 9551, "broker": 9552, "bare": 9553}
        self.notes_url, self.broker_url = (
            f"https://127.0.0.1:{ports['notes']}",
            f"http://127.0.0.1:{ports['broker']}/mcp",
        )
        self.bare_url = f"http://127.0.0.1:{ports['bare']}/mcp"
        files = [str(certificate.certificate_file), str(certificate.key_file)]
        stack.enter_context(_process(["tests.benchmarks.notes", str(ports["notes"]), *files], _THEIRS))
        stack.enter_context(_process(["tests.benchmarks.bare", str(ports["bare"])], _OURS))
        service = stack.enter_context(
            _process(["broker.testing.salesforce", "--directory", str(place / "salesforce")], _THEIRS)
        )
        self.service: dict[str, str] = json.loads(_line(service))
        self._write_documents(ports["broker"])
        began = time.monotonic()
        self.broker = stack.enter_context(_process(["tests.benchmarks.served", str(self.directory)], _OURS))
        _line(self.broker)
        self._connect()
        domain = DevelopmentTrustDomain.read("prod", self.directory / DEVELOPMENT_KEY)
        self.token = domain.mint(_WORKLOAD, self.broker_url, seconds=3500)
        asyncio.run(measure_mcp(self.broker_url, self.token, "notes_notes_read", {"id": "n1"}, 1, 1))
        self.first_call_seconds = round(time.monotonic() - began, 2)

    def notes(self, callers: int, count: int) -> dict[str, Any]:
        """Measure the small connector, directly, through the broker, and the SDK alone."""
        direct = asyncio.run(measure_direct(self.notes_url + "/notes/n1", self.authority, callers, count))
        through = asyncio.run(
            measure_mcp(self.broker_url, self.token, "notes_notes_read", {"id": "n1"}, callers, count)
        )
        bare = asyncio.run(measure_mcp(self.bare_url, None, "anything", {"id": "n1"}, callers, count))
        return _beside(direct, through) | {"sdk_doing_nothing": asdict(bare)}

    def salesforce(self, callers: int, count: int) -> dict[str, Any]:
        """Measure one read, by simple-salesforce directly and through the broker."""
        found = requests.get(
            self.service["url"] + "/services/data/v59.0/query",
            params={"q": "SELECT Id FROM Account LIMIT 1"},
            headers={"Authorization": f"Bearer {self._salesforce_token()}"},
            verify=self.service["ca_file"],
            timeout=5,
        )
        record = found.json()["records"][0]["Id"]
        direct = measure_simple_salesforce(
            self.service["url"], self.service["ca_file"], self._salesforce_token(), record, callers, count
        )
        through = asyncio.run(
            measure_mcp(self.broker_url, self.token, "salesforce_accounts_read", {"id": record}, callers, count)
        )
        return _beside(direct, through)

    def steps(self) -> dict[str, float]:
        """Return how far a call had come at each step, as the trail has it: medians of the last calls, one caller."""
        asyncio.run(measure_mcp(self.broker_url, self.token, "notes_notes_read", {"id": "n1"}, 1, 300))
        records = Daemon(self.directory).get("/v1/trail", last=900)
        steps = [record["outcome"]["steps_us"] for record in records if record["kind"] == "finished"]
        return {name: statistics.median(step[name] for step in steps) for name in steps[0]}

    def syncs(self, count: int) -> float | None:
        """Return how often the broker waits for the disk in one call, by one caller, as strace counts; None without."""
        if shutil.which("strace") is None:
            return None
        counted = self.place / "syncs.txt"
        command = ["strace", "-f", "-c", "-e", "trace=fsync,fdatasync", "-o", str(counted), "-p", str(self.broker.pid)]
        strace = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        if strace.stderr is None or "attached" not in strace.stderr.readline():
            strace.wait(5)
            return None
        asyncio.run(measure_mcp(self.broker_url, self.token, "notes_notes_read", {"id": "n1"}, 1, count))
        strace.send_signal(signal.SIGINT)
        strace.communicate(timeout=10)
        rows = [line.split() for line in counted.read_text().splitlines()]
        called = count + count // 10  # with those that warm it up
        return sum(int(row[3]) for row in rows if row and row[-1] in {"fsync", "fdatasync"}) / called

    def memory(self) -> float:
        """Return the broker's resident memory, in megabytes."""
        status = Path(f"/proc/{self.broker.pid}/status")
        if not status.exists():
            return float("nan")
        kilobytes = next(line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmRSS"))
        return round(int(kilobytes) / 1024, 1)

    def _write_documents(self, port: int) -> None:
        write_starter(self.directory, port)
        connectors = self.directory / "connectors"
        (connectors / "salesforce.yaml").write_text(_DOCUMENTS.format(notes=self.notes_url, **self.service))
        (connectors / "notes.pem").write_text(Path(self.authority).read_text())
        (connectors / "salesforce.pem").write_text(Path(self.service["ca_file"]).read_text())

    def _connect(self) -> None:
        key = Path(self.service["private_key_file"]).read_text()
        for connector in ("notes", "salesforce"):
            account = {"client_id": self.service["consumer_key"], "subject": self.service["username"]}
            Daemon(self.directory).post("/v1/grants", {"connector": connector, "private_key": key, **account})

    def _salesforce_token(self) -> str:
        claims = {"iss": self.service["consumer_key"], "sub": self.service["username"]}
        claims |= {"aud": self.service["audience"], "exp": int(time.time()) + 60}  # type: ignore[dict-item]
        key = RSAKey.import_key(Path(self.service["private_key_file"]).read_text())
        answer = requests.post(
            self.service["url"] + "/services/oauth2/token",
            data={
                "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
                "assertion": jwt.encode({"alg": "RS256"}, claims, key),
            },
            verify=self.service["ca_file"],
            timeout=5,
        )
        return str(answer.json()["access_token"])


def _beside(direct: Measured, through: Measured) -> dict[str, Any]:
    return {
        "direct": asdict(direct),
        "through": asdict(through),
        "times_the_direct_rate": round(through.rate / direct.rate, 3),
        "added_ms": round(through.median - direct.median, 2),
    }


def _print(figures: dict[str, Any]) -> None:
    console = Console(width=None if sys.stdout.isatty() else 140)
    table = Table(title="Beside a direct call, in the same run", title_justify="left")
    for column in ("what", "callers", "direct/s", "through/s", "ratio", "added ms", "p99 ms", "SDK doing nothing/s"):
        table.add_column(column, justify="left" if column == "what" else "right")
    for name, figure in figures.items():
        if "/" in name:
            what, callers = name.split("/")
            direct, through, bare = figure["direct"], figure["through"], figure.get("sdk_doing_nothing")
            table.add_row(
                what,
                callers,
                f"{direct['rate']:,.0f}",
                f"{through['rate']:,.0f}",
                f"{figure['times_the_direct_rate']:.2f}",
                f"{figure['added_ms']:.2f}",
                f"{through['worst_percent']:.1f}",
                f"{bare['rate']:,.0f}" if bare else "",
            )
    console.print(table)
    steps = ", ".join(f"{name} {microseconds / 1000:.2f}" for name, microseconds in figures["steps_us"].items())
    console.print(f"one call inside the broker, ms from its start: {steps}")
    console.print(
        f"memory after load: {figures['memory_mb']} MB; first call {figures['first_call_seconds']} s after start"
    )
    console.print(
        "verifying who calls, µs: "
        + ", ".join(
            f"{name} {cost['new_us']:,.0f} (again {cost['remembered_us']:.1f})"
            for name, cost in figures["identities"].items()
        )
    )
    _print_evidence(console, figures)
    _print_models(console, figures["models"])
    _print_budgets(console, figures["budgets"])
    counted = figures["metrics"]
    console.print(
        f"metrics: a tool's call is counted in {counted['tool_us']:.1f} µs, a model's in {counted['model_us']:.1f} µs; "
        f"the text of 5,000 series takes {counted['scrape_ms']:.0f} ms, beside the calls"
    )
    _print_policies(console, figures)
    found = figures["described"]
    console.print(
        f"a description of {found['operations']:,} operations ({found['described_mb']:.1f} MB): pinned in "
        f"{found['pin_seconds']:.2f} s, loaded in {found['load_seconds']:.2f} s, schemas {found['schemas_mb']:.1f} MB"
    )


def _print_models(console: Console, figures: dict[str, Any]) -> None:
    columns = ("models", "callers", "way", "calls/s", "p99 ms", "added to first ms", "added to last ms", "failed")
    table = Table(*columns, title="Models, beside a direct call and npm's portkey")
    for row in rows(figures):
        table.add_row(*row)
    console.print(table)
    memory = ", ".join(f"{who} {found} MB" for who, found in figures["memory_mb"].items())
    console.print(f"memory after load: {memory}. {figures.get('portkey', '')}")


def _print_policies(console: Console, figures: dict[str, Any]) -> None:
    table = Table("policies", "decide µs (p99)", "with a condition µs (p99)", title="Deciding")
    for row in figures["deciding"]:
        cells = (f"{row[f'{name}_us']:.1f} ({row[f'{name}_p99_us']:.0f})" for name in ("plain", "condition"))
        table.add_row(f"{row['policies']:,}", *cells)
    console.print(table)
    found = figures["reloading"]
    table = Table("meanwhile", "seconds", "calls", "median ms", "p99 ms", "slowest ms", title="Reloading")
    for name in ("quiet", "all_read_anew", "one_changed"):
        row = found[name]
        numbers = (f"{row[one]:.1f}" for one in ("median_ms", "p99_ms", "slowest_ms"))
        table.add_row(name.replace("_", " "), f"{row['seconds']:.1f}", str(row["calls"]), *numbers)
    console.print(table)
    console.print(f"{found['documents']:,} documents load in {found['first_load_seconds']:.1f} s the first time.")


def _print_budgets(console: Console, found: list[dict[str, Any]]) -> None:
    table = Table("callers", "no cap /s", "six caps /s", title="Calls held and settled, and nothing else")
    for row in found:
        table.add_row(*(f"{row[one]:,.0f}" for one in ("callers", "uncapped_per_second", "six_caps_per_second")))
    console.print(table)


def _print_evidence(console: Console, figures: dict[str, Any]) -> None:
    alone, syncs = figures["appends"], figures["syncs_per_call"]
    console.print(
        f"the trail alone: {alone['per_second']:,.0f} durable records/s by 64 callers (p99 {alone['p99_ms']:.1f} ms), "
        f"{alone['times_naive']:.1f} times a commit for each ({alone['naive_per_second']:,.0f}/s), "
        f"{alone['of_bare']:.0%} of rows that nobody seals or waits for ({alone['bare_per_second']:,.0f}/s); "
        f"disk syncs of one call at one caller: {'strace is needed to count them' if syncs is None else f'{syncs:.2f}'}"
    )
    table = Table(title="As the trail grows", title_justify="left")
    columns = ("records", "bytes each", "export/s", "export MB", "verify s", "verify/s", "verify MB")
    for column in (*columns, "index/s", "index bytes", "page ms", "worst page ms"):
        table.add_column(column, justify="right")
    for row in figures["growth"]:
        export, check = row["export"], row["check"]
        cells = [row["records"], row["bytes_per_record"], export["per_second"], export["peak_mb"]]
        cells += [check["seconds"], check["per_second"], check["peak_mb"]]
        search = row["search"]
        cells += [round(search["caught_up_per_second"]), round(search["bytes_per_record"])]
        cells += [round(search["median_ms"], 1), round(search["worst_ms"], 1)]
        table.add_row(*(f"{cell:,}" for cell in cells))
    console.print(table)


@contextlib.contextmanager
def _process(arguments: list[str], core: int) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [*_PYTHON, *arguments],
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: _pin(core),  # noqa: PLW1509 - no thread has been started yet
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(20)


def _line(process: subprocess.Popen[str]) -> str:
    line = process.stdout.readline() if process.stdout else ""
    if not line:
        raise RuntimeError(f"{process.args} did not start")  # type: ignore[str-bytes-safe]
    return line


def _pin(core: int) -> None:
    """Keep a process on one core, where the system can and there are two."""
    if hasattr(os, "sched_setaffinity") and (os.cpu_count() or 1) > 1:
        os.sched_setaffinity(0, {core})


if __name__ == "__main__":
    main()
