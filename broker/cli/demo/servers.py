"""The two processes of the demo: a Salesforce-shaped service, and the broker in front of it."""

import json
import os
import secrets
import shlex
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any, Self

from broker.cli.client_config import aam, mcp_servers, relay_arguments
from broker.cli.daemon import Daemon
from broker.cli.init import DEVELOPMENT_KEY, write_starter
from broker.testing.trust_domain import DevelopmentTrustDomain

AGENT = "finance-analyst"
WORKLOAD = "spiffe://prod/agent/finance-analyst"
_PATIENCE = 60.0  # seconds for a process to start or stop

_CONNECTOR = """\
apiVersion: access.envisionai.dev/v1
kind: Connector
metadata: {{ name: salesforce }}
spec:
  type: salesforce
  url: {url}
  resources: {{ accounts: Account, contacts: Contact, opportunities: Opportunity, cases: Case }}
  snapshot: salesforce.snapshot.json
  oauth:
    token_endpoint: {url}/services/oauth2/token
    revocation_endpoint: {url}/services/oauth2/revoke
    audience: {audience}
  reach:                              # this Salesforce is on your own machine, which must be said
    private_ranges: [127.0.0.0/8, "::1/128"]
    certificate_authority: ca.pem
"""


class DidNotStart(Exception):  # noqa: N818 - it says what happened
    """A process ended before it served."""


class Servers:
    """Both processes, and what the demo knows of them. Every token of the service has `canary` in it."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.directory = place / "access"
        self.canary = "CANARY" + secrets.token_hex(8)
        self.log = place / "broker.log"
        self.port = _free_port()
        self.service: dict[str, str] = {}
        self._processes: list[subprocess.Popen[str]] = []

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    @property
    def url(self) -> str:
        """Where agents reach the broker."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def broker(self) -> subprocess.Popen[str]:
        """The broker's process."""
        return self._processes[1]

    def daemon(self) -> Daemon:
        """Return the broker's operators' door."""
        return Daemon(self.directory)

    def relay(self) -> list[str]:
        """Return the command that an MCP client starts."""
        return [aam(), *relay_arguments(self.directory, AGENT, None)]

    def svid(self) -> str:
        """Mint an SVID for the agent, as SPIRE would hand it one."""
        domain = DevelopmentTrustDomain.read("prod", self.directory / DEVELOPMENT_KEY)
        return domain.mint(WORKLOAD, f"{self.url}/mcp")

    def grant(self) -> dict[str, str]:
        """Return what `aam grants add` sends: the account at the service, with its private key."""
        return {
            "connector": "salesforce",
            "client_id": self.service["consumer_key"],
            "subject": self.service["username"],
            "private_key": Path(self.service["private_key_file"]).read_text(),
        }

    def service_counts(self) -> Any:
        """Ask the service what it has seen."""
        trust = ssl.create_default_context(cafile=self.service["ca_file"])
        with urllib.request.urlopen(self.service["url"] + "/__control__", context=trust, timeout=5) as answer:  # noqa: S310 - our own https URL
            return json.load(answer)

    def next_steps(self) -> dict[str, Any]:
        """Return what a reader can do while both run."""
        directory = shlex.quote(str(self.directory))
        command = shlex.quote(aam())
        return {
            "client": mcp_servers(self.relay()),
            "http": [
                "# or by HTTP, for the five minutes that a token lives:",
                f"{self.url}/mcp  with  Authorization: Bearer $({command} dev token {AGENT} --dir {directory})",
            ],
            "operator": [
                "# then, as the operator:",
                f"{command} trail tail --follow --dir {directory}",
                f"{command} tools --as {AGENT} --dir {directory}",
                f"{command} doctor {directory}",
            ],
            "policy": [
                f"# and change what the agent may do: edit {directory}/policies/finance-analyst-readonly.yaml",
            ],
        }

    def last_words(self) -> str:
        """Return the end of the broker's log."""
        return self.log.read_text(errors="replace")[-2000:] if self.log.exists() else ""

    def wait(self) -> None:
        """Wait until one of the processes ends."""
        while all(process.poll() is None for process in self._processes):
            time.sleep(0.2)

    def _start(self) -> None:
        log = self.place / "salesforce.log"
        service = self._run(
            [
                *(sys.executable, "-m", "broker.testing.salesforce"),
                *("--directory", str(self.place / "salesforce"), "--canary", self.canary),
            ],
            log,
        )
        self.service = json.loads(_line(service, log))
        self.write_documents()
        broker = self._run([aam(), "serve", str(self.directory), "--development"], self.log)
        while "DEVELOPMENT" not in _line(broker, self.log):
            pass

    def write_documents(self) -> None:
        """Write the starter set, and point its connector at the service on this machine."""
        write_starter(self.directory, self.port)
        connectors = self.directory / "connectors"
        (connectors / "ca.pem").write_bytes(Path(self.service["ca_file"]).read_bytes())
        (connectors / "salesforce.yaml").write_text(_CONNECTOR.format_map(self.service))

    def _run(self, command: list[str], log: Path) -> subprocess.Popen[str]:
        with log.open("a") as errors:
            process = subprocess.Popen(  # noqa: S603 - our own commands
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,
            )
        self._processes.append(process)
        return process

    def _stop(self) -> None:
        for process in reversed(self._processes):
            if process.poll() is None:
                os.kill(process.pid, signal.SIGTERM)
        for process in reversed(self._processes):
            try:
                process.wait(_PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdout is not None:
                process.stdout.close()


def _line(process: subprocess.Popen[str], log: Path) -> str:
    """Read one line that a process prints; a process that ends instead did not start."""
    line = process.stdout.readline() if process.stdout else ""
    if not line:
        raise DidNotStart(f"A process of the demo did not start; it said:\n{log.read_text()[-2000:]}")
    return line


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
