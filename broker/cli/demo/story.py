"""The story that the demo tells, chapter by chapter, and the promises that it checks on the way."""

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio
from mcp import Client, MCPError
from mcp_types import CallToolResult, TextContent
from rich.padding import Padding
from rich.table import Table

from broker.audit import VerifierKey
from broker.cli.client_config import aam
from broker.cli.demo.clients import TRANSPORTS, Received, connected
from broker.cli.demo.search import count, places, token_without_the_broker
from broker.cli.demo.servers import WORKLOAD, Servers
from broker.cli.output import console, plain
from broker.cli.records import RecordLines

_TOOLS = ["salesforce_accounts_read", "salesforce_accounts_search"]
_FIELDS = ["Id", "Name", "BillingCity", "AnnualRevenue"]
_MOST = 3
_SEARCH = {
    "filters": [{"field": "Industry", "operator": "equals", "value": "Banking"}],
    "fields": _FIELDS,
    "order_by": [{"field": "AnnualRevenue", "descending": True}],
    "limit": _MOST,
}
_SECOND_POLICY = f"""\
apiVersion: access.envisionai.dev/v1
kind: AgentPolicy
metadata: {{ name: finance-analyst-contacts }}
spec:
  identity: {{ workload: {WORKLOAD} }}
  tools:
    - {{ resource: salesforce.contacts, actions: [read] }}
"""
_NEW_TOOL = "salesforce_contacts_read"
_WIDEST = 100  # columns
_PATIENCE = 60.0  # seconds for a change on disk to come into force


class Story:
    """Tells and checks. `proved` says of each promise whether it was kept."""

    def __init__(self, place: Path) -> None:
        self.proved: dict[str, bool] = {}
        self._place = place
        self._received = Received(place)
        self._told: list[str] = []

    @property
    def holds(self) -> bool:
        """Whether every promise was kept, and every one was looked at."""
        return len(self.proved) == _PROMISES and all(self.proved.values())

    async def tell(self, servers: Servers) -> None:
        """Tell it all."""
        self._parts(servers)
        for transport in TRANSPORTS:
            await self._transport(transport, servers)
        self._nothing_changed(servers)
        await self._policy_changes(servers)
        self._trail(servers)
        self._secret(servers)

    def conclude(self, seconds: float) -> None:
        """Say what was proved."""
        self._chapter("What was proved")
        for promise, kept in self.proved.items():
            console.print(f"  [green]✓[/green] {plain(promise)}" if kept else f"  [red]✗ {plain(promise)}[/red]")
        if len(self.proved) != _PROMISES:
            console.print(f"  [red]✗ {_PROMISES - len(self.proved)} promises were never looked at[/red]")
        console.print(f"\n[dim]{seconds:.1f} seconds[/dim]")

    # --- Chapters

    def _parts(self, servers: Servers) -> None:
        self._chapter("The parts")
        console.print(f"A Salesforce-shaped service answers on [bold]{servers.service['url']}[/bold], over TLS.")
        console.print(f"The broker answers agents on [bold]{servers.url}[/bold]; its documents are a starter set,")
        console.print(f"as 'aam init' writes it, in {plain(servers.directory)}.\n")
        daemon = servers.daemon()
        daemon.post("/v1/grants", servers.grant())
        answer = daemon.post("/v1/grants/salesforce/test")["answer"]
        console.print("An operator connects the account. Its key is sealed in the vault; nobody gets it back:")
        self._command("aam grants add salesforce --client-id … --subject … --key-file …")
        self._command("aam grants test salesforce", answer)
        (agent,) = daemon.get("/v1/agents")
        console.print("\nThe agent is registered; these facts go with every call, whatever the agent says of itself:")
        for key in ("workload", "owner", "team", "environment", "deployment"):
            console.print(f"  [dim]{key:<12}[/dim] {plain(agent[key])}")

    async def _transport(self, transport: str, servers: Servers) -> None:
        self._chapter(f"By {transport}")
        self._told.append(transport)
        proof = "the process itself, as the kernel sees it" if transport == "stdio" else "a JWT-SVID as bearer token"
        async with connected(transport, servers, self._received) as client:
            console.print(f"An MCP client connects (protocol {client.protocol_version}); its proof is {proof}.")
            tools = [tool.name for tool in (await client.list_tools()).tools]
            console.print(f"It may know of {len(tools)} tools: {plain(', '.join(tools))}")
            self._prove(f"{transport}: lists only the tools that the policy could permit", tools == _TOOLS)
            await self._reads(transport, client)
            await self._refused(transport, client)

    async def _reads(self, transport: str, client: Client) -> None:
        found = await client.call_tool("salesforce_accounts_search", _SEARCH)
        records = (found.structured_content or {}).get("records", [])
        one = await client.call_tool("salesforce_accounts_read", {"id": records[0]["Id"] if records else "0" * 18})
        record = (one.structured_content or {}).get("record", {})
        self._say("It searches accounts in banking:", _table(records))
        console.print(f"It finds {len(records)} accounts, and reads one: {plain(record.get('Name'))}.")
        self._prove(
            f"{transport}: searches and reads accounts",
            not found.is_error and len(records) == _MOST and record.get("Id") == records[0]["Id"],
        )

    async def _refused(self, transport: str, client: Client) -> None:
        export = await client.call_tool("salesforce_accounts_export", {})
        update = await client.call_tool("salesforce_accounts_update", {"id": "0" * 18, "fields": {"Name": "Mine"}})
        self._say(f"It asks for an export: [red]{plain(_text(export))}[/red]")
        self._say(f"It asks for an update: [red]{plain(_text(update))}[/red]")
        try:
            await client.call_tool("salesforce_contacts_read", {"id": "0" * 18})
            unknown = False
        except MCPError as error:
            self._say(f"It guesses another tool's name: [red]{plain(error.error.message)}[/red]")
            unknown = True
        console.print("It is refused an export, an update, and a tool that it guesses.")
        denied = all(answer.is_error and _code(answer) == "access_denied" for answer in (export, update))
        self._prove(f"{transport}: is refused an export and an update, and told what it may do instead", denied)
        self._prove(f"{transport}: learns nothing of resources that its policy does not mention", unknown)

    def _nothing_changed(self, servers: Servers) -> None:
        self._chapter("The service's side")
        counts = servers.service_counts()
        console.print(
            f"The service issued {counts['token_requests']} token, answered {counts['api_requests']} requests, "
            f"and was asked to write {counts['writes']} times."
        )
        answered = 1 + 2 * len(TRANSPORTS)  # the operator's test of the grant, and a search and a read each
        self._prove("No refused call reached the service", counts["writes"] == 0 and counts["api_requests"] == answered)
        self._prove("One token served every call", counts["token_requests"] == 1)

    async def _policy_changes(self, servers: Servers) -> None:
        self._chapter("A policy changes")
        console.print("An administrator puts a second policy for the agent beside the first. No restart:")
        policy = servers.directory / "policies/finance-analyst-contacts.yaml"
        policy.write_text(_SECOND_POLICY)
        tools = await self._tools_once(servers, has=_NEW_TOOL)
        console.print(f"  the agent's tools: {plain(', '.join(tools))}")
        policy.unlink()
        left = await self._tools_once(servers, has=None)
        console.print(f"It is taken away again: {plain(', '.join(left))}")
        self._prove("A policy comes and goes without a restart", set(tools) == {*_TOOLS, _NEW_TOOL} and left == _TOOLS)

    async def _tools_once(self, servers: Servers, *, has: str | None) -> list[str]:
        """List the tools again until the new one is there, or is not."""
        deadline = time.monotonic() + _PATIENCE
        async with connected(TRANSPORTS[-1], servers, self._received) as client:
            while True:
                tools = [tool.name for tool in (await client.list_tools()).tools]
                if (_NEW_TOOL in tools) is (has is not None) or time.monotonic() > deadline:
                    return tools
                await anyio.sleep(0.1)

    def _trail(self, servers: Servers) -> None:
        self._chapter("The trail")
        called = [record for record in servers.daemon().get("/v1/trail", last=500) if "call_id" in record]
        released, refused = _ended(called, "released"), _ended(called, "refused")
        console.print("Every call is on record, refusals too. The last read, and the last export, which was refused:\n")
        read = [record for record in called if released and record["call_id"] == released[-1]]
        export = [record for record in called if record["call_id"] == _last_export(called)]
        RecordLines().show([*read, *export])
        self._prove(
            "Each call is in the trail with identity, policy and outcome",
            len(released) == 2 * len(TRANSPORTS)
            and len(refused) == 3 * len(TRANSPORTS)
            and all(one["identity"]["spiffe_id"] == WORKLOAD for one in called if one["kind"] == "requested")
            and all(one["credential"] for one in called if one["kind"] == "finished" and one["call_id"] in released),
        )
        self._evidence(servers, read)
        self._verification(servers)

    def _evidence(self, servers: Servers, records: list[dict[str, Any]]) -> None:
        """Read one call's records as an auditor would: each link, from the proof to the outcome."""
        if len(records) != 3:  # noqa: PLR2004 - requested, decided, finished
            return
        requested, decided, finished = records
        identity, rule, outcome = requested["identity"], decided["policy"]["rules"][0], finished["outcome"]
        console.print("\nWhat those three records say of the read, each link of it:\n")
        for what, said in {
            "who": f"{identity['spiffe_id']}, proved by {identity['method']} ({identity['assurance']})",
            "for whom": ", ".join(identity[key] for key in ("owner", "team", "environment", "deployment")),
            "what": f"{requested['action']['resource']} {requested['action']['action']}; its arguments as a digest",
            "why": f"{decided['policy']['decision']} by {rule['policy']} {rule['place']}, a file with SHA-256 "
            f"{rule['sha256'][:12]}…",
            "with": f"{finished['credential']['kind']} grant; token known by fingerprint "
            f"{finished['credential']['fingerprint']}",
            "outcome": f"{outcome['status']}, {outcome['result_bytes']} bytes",
            "linked": f"record {finished['seq']} names the one before it by hash: {finished['prev_hash'][:12]}…",
        }.items():
            console.print(f"  [dim]{what:<9}[/dim] {plain(said)}")
        policy = (servers.directory / "policies/finance-analyst-readonly.yaml").read_bytes()
        self._prove(
            "A decision names the very document that made it", rule["sha256"] == hashlib.sha256(policy).hexdigest()
        )

    def _verification(self, servers: Servers) -> None:
        export, altered = self._place / "trail.jsonl", self._place / "altered.jsonl"
        console.print("\nIts operator checks it, live, and exports it, both of which are on record too:")
        live = self._aam("trail", "verify", "--dir", str(servers.directory))
        self._aam("trail", "export", str(export), "--dir", str(servers.directory))
        whole = self._aam("trail", "verify", str(export), hide="not proved")
        self._prove("The trail verifies, live and exported", live.returncode == 0 and whole.returncode == 0)
        self._stranger(servers)

        console.print("\nNow somebody changes one byte of the export, in the record of a denial:")
        lines = export.read_bytes().split(b"\n")
        number = next(place for place, line in enumerate(lines) if b'"decision":"deny"' in line)
        lines[number] = lines[number].replace(b'"decision":"deny"', b'"decision":"deNy"', 1)
        altered.write_bytes(b"\n".join(lines))
        caught = self._aam("trail", "verify", str(altered), hide="not proved")
        named = f"record {number - 1}:" in caught.stdout  # the first line states the head
        self._prove("One changed byte is found, and its record named", caught.returncode == 1 and named)

    def _stranger(self, servers: Servers) -> None:
        """Check a bundle as an auditor would, who has the log's public key from elsewhere and trusts nobody here."""
        bundle, key = self._place / "bundle.zip", servers.daemon().get("/v1/trail/keys")[0]["vkey"]
        console.print("\nAn auditor gets a bundle, has the log's public key from elsewhere, and needs no broker:")
        self._aam("trail", "export", str(bundle), "--dir", str(servers.directory))
        checked = self._run([sys.executable, "-m", "broker.audit"], "verify", str(bundle), "--key", key)
        other = str(VerifierKey(key.partition("+")[0], os.urandom(32)))
        refused = self._run([sys.executable, "-m", "broker.audit"], "verify", str(bundle), "--key", other, quiet=True)
        self._prove("A stranger with the public key verifies a bundle", checked.returncode == 0)
        self._prove("With another key, it does not verify", refused.returncode == 1)

    def _secret(self, servers: Servers) -> None:
        self._chapter("Where the access token is not")
        for what, text in places(servers, self._received.bytes, self._place / "trail.jsonl").items():
            found = count(servers.canary, text)
            console.print(f"  {what:<28} {len(text):>9,} bytes   {'[red]FOUND' if found else '[green]not there'}")
            self._prove(f"The access token is not in {what}", bool(text) and found == 0)
        console.print("  [dim]The same search does find it in a token taken straight from the service.[/dim]")
        token = token_without_the_broker(servers)
        self._prove("The search would have found it", count(servers.canary, token.encode()) > 0)

    # --- Helpers

    def _chapter(self, title: str) -> None:
        console.print(
            f"\n[bold]{plain(title)}[/bold] [dim]{'─' * (min(_WIDEST, console.width) - len(title) - 1)}[/dim]\n"
        )

    def _say(self, *what: Any) -> None:
        """Tell what is the same by every transport once."""
        if TRANSPORTS[0] in self._told and len(self._told) == 1:
            console.print(*what, sep="\n")

    def _prove(self, promise: str, kept: bool) -> None:  # noqa: FBT001 - it is the thing to be said
        self.proved[promise] = kept

    def _command(self, command: str, answer: str | None = None) -> None:
        console.print(f"  [dim]$[/dim] {plain(command)}")
        if answer:
            console.print(f"    {plain(answer)}")

    def _aam(self, *arguments: str, hide: str = "\0") -> subprocess.CompletedProcess[str]:
        return self._run([aam()], *arguments, hide=hide)

    def _run(
        self, program: Sequence[str], *arguments: str, hide: str = "\0", quiet: bool = False
    ) -> subprocess.CompletedProcess[str]:
        ran = subprocess.run([*program, *arguments], capture_output=True, text=True, timeout=60, check=False)  # noqa: S603 - our own command
        if quiet:
            return ran
        name = [Path(program[0]).name, *program[1:]]
        shown = [Path(part).name if part.startswith(str(self._place)) else part for part in arguments]
        self._command(" ".join([*name, *(part for part in shown if part not in {"--dir", "access"})]))
        for line in (ran.stdout + ran.stderr).splitlines():
            if not line.startswith(hide):
                told = line.replace(f"{self._place}/", "")
                indented = Padding(plain(told), (0, 0, 0, 4), style="red" if ran.returncode else "", expand=False)
                console.print(indented, soft_wrap=False)
        return ran


_PROMISES = 4 * len(TRANSPORTS) + 2 + 1 + 6 + 7


def _ended(records: Sequence[dict[str, Any]], status: str) -> list[str]:
    return [one["call_id"] for one in records if one.get("outcome", {}).get("status") == status]


def _last_export(records: Sequence[dict[str, Any]]) -> str | None:
    exports = [one["call_id"] for one in records if one.get("action", {}).get("action") == "export"]
    return exports[-1] if exports else None


def _table(records: list[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for field in _FIELDS:
        table.add_column(field)
    for record in records:
        table.add_row(*(plain(record.get(field)) for field in _FIELDS))
    return table


def _text(answer: CallToolResult) -> str:
    return " ".join(part.text for part in answer.content if isinstance(part, TextContent))


def _code(answer: CallToolResult) -> Any:
    return (answer.meta or {}).get("dev.envisionai.access/code")
