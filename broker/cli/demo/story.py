"""The story that the demo tells, chapter by chapter, and the promises that it checks on the way."""

import base64
import json
import subprocess
import time
from pathlib import Path
from typing import Any

import requests
from joserfc import jwt
from joserfc.jwk import RSAKey
from mcp import Client, MCPError
from mcp_types import CallToolResult, TextContent
from rich.table import Table

from broker.cli.client_config import aam
from broker.cli.demo.clients import TRANSPORTS, Received, connected
from broker.cli.demo.servers import WORKLOAD, Servers
from broker.cli.output import console, plain
from broker.cli.trail import print_records

_TOOLS = ["salesforce_accounts_read", "salesforce_accounts_search"]
_FIELDS = ["Id", "Name", "BillingCity", "AnnualRevenue"]
_MOST = 3
_SEARCH = {
    "filters": [{"field": "Industry", "operator": "equals", "value": "Banking"}],
    "fields": _FIELDS,
    "order_by": [{"field": "AnnualRevenue", "descending": True}],
    "limit": _MOST,
}
_WIDTH = 100


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
        self._prove("No refused call reached the service", counts["writes"] == 0)
        self._prove("One token served every call", counts["token_requests"] == 1)

    def _trail(self, servers: Servers) -> None:
        self._chapter("The trail")
        console.print("Every call is on record, refusals too: asked, decided, ended. The last of them:")
        records = servers.daemon().get("/v1/trail", last=12)
        print_records(records, as_json=False)
        called = [record for record in servers.daemon().get("/v1/trail", last=500) if "call_id" in record]
        released = {one["call_id"] for one in called if one.get("outcome", {}).get("status") == "released"}
        refused = {one["call_id"] for one in called if one.get("outcome", {}).get("status") == "refused"}
        self._prove(
            "Each call is in the trail with identity, policy and outcome",
            len(released) == 2 * len(TRANSPORTS)
            and len(refused) == 3 * len(TRANSPORTS)
            and all(one["identity"]["spiffe_id"] == WORKLOAD for one in called if one["kind"] == "requested")
            and all(one["credential"] for one in called if one["kind"] == "finished" and one["call_id"] in released),
        )
        export, altered = self._place / "trail.jsonl", self._place / "altered.jsonl"
        live = self._aam("trail", "verify", "--dir", str(servers.directory))
        self._aam("trail", "export", str(export), "--dir", str(servers.directory))
        whole = self._aam("trail", "verify", str(export))
        self._prove("The trail verifies, live and exported", live.returncode == 0 and whole.returncode == 0)

        console.print("\nNow somebody changes one byte of the export, in the record of a denial:")
        lines = export.read_bytes().split(b"\n")
        number = next(place for place, line in enumerate(lines) if b'"decision":"deny"' in line)
        lines[number] = lines[number].replace(b'"decision":"deny"', b'"decision":"deNy"', 1)
        altered.write_bytes(b"\n".join(lines))
        caught = self._aam("trail", "verify", str(altered))
        named = f"record {number - 1}:" in caught.stdout  # the first line states the head
        self._prove("One changed byte is found, and its record named", caught.returncode == 1 and named)

    def _secret(self, servers: Servers) -> None:
        self._chapter("Where the access token is not")
        place, directory = self._place, servers.directory
        process = Path(f"/proc/{servers.broker.pid}")
        looked_at = {
            "what the clients received": self._received.bytes,
            "the broker's log": servers.log.read_bytes(),
            "the exported trail": (place / "trail.jsonl").read_bytes(),
            "the database files": b"".join(path.read_bytes() for path in sorted((directory / "data").iterdir())),
            "the documents": b"".join(path.read_bytes() for path in directory.rglob("*.*") if path.is_file()),
            "the broker's command line": _read(process / "cmdline"),
        }
        needles = _encodings(servers.canary)
        for what, text in looked_at.items():
            count = sum(text.count(needle) for needle in needles)
            console.print(f"  {what:<28} {len(text):>9,} bytes   {'[red]FOUND' if count else '[green]not there'}")
            self._prove(f"The access token is not in {what}", bool(text) and count == 0)
        token = _token_without_the_broker(servers)
        console.print("  [dim]The same search does find it in a token taken straight from the service.[/dim]")
        self._prove("The search would have found it", any(needle in token.encode() for needle in needles))

    # --- Helpers

    def _chapter(self, title: str) -> None:
        console.print(f"\n[bold]{plain(title)}[/bold] [dim]{'─' * (_WIDTH - len(title) - 1)}[/dim]\n")

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

    def _aam(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        ran = subprocess.run([aam(), *arguments], capture_output=True, text=True, timeout=60, check=False)  # noqa: S603 - our own command
        shown = [Path(part).name if part.startswith(str(self._place)) else part for part in arguments]
        self._command(" ".join(["aam", *(part for part in shown if part not in {"--dir", "access"})]))
        for line in (ran.stdout + ran.stderr).splitlines():
            console.print(f"    {plain(line)}", style="red" if ran.returncode else "")
        return ran


_PROMISES = 4 * len(TRANSPORTS) + 2 + 3 + 7


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


def _encodings(canary: str) -> set[bytes]:
    raw = canary.encode()
    middles = {base64.b64encode(b"\0" * shift + raw)[4:-4] for shift in range(3)}
    return {raw, raw.hex().encode(), raw.hex().upper().encode(), *middles}


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # not Linux: there is no such file, and nothing to look at
        return b"-"


def _token_without_the_broker(servers: Servers) -> str:
    """Take a token with the account's own key, as the service's administrator could."""
    service = servers.service
    key = RSAKey.import_key(Path(service["private_key_file"]).read_text())
    claims = {"iss": service["consumer_key"], "sub": service["username"], "aud": service["audience"]}
    with requests.Session() as session:
        session.trust_env = False
        answer = session.post(
            service["url"] + "/services/oauth2/token",
            data={
                "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
                "assertion": jwt.encode({"alg": "RS256"}, {**claims, "exp": int(time.time()) + 60}, key),
            },
            verify=service["ca_file"],
            timeout=5,
        )
    return str(json.loads(answer.text).get("access_token", ""))
