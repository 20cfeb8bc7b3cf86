"""A real SPIRE: server and agent built from their pinned Go module, and run for a test on loopback and Unix sockets.

`python -m tests.support.spire` builds them; what was built is kept outside of the tree, so that it is built once.
"""

import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from tests.support.broker import until
from tests.support.ports import free_port

VERSION = "1.13.3"
_SUM = "h1:wDTK8tj8ShO5izjue/OFanVaehmjUxSxHtSWxBY+FJQ="  # of the module, as `go mod download -json` tells it
_PROGRAMS = ("spire-server", "spire-agent")
DOMAIN = "prod.example.org"
_PATIENCE = 180.0
Kind = Literal["jwt", "x509"]


class NotHere(Exception):  # noqa: N818 - a reason, not a mistake
    """SPIRE cannot be built on this machine; says why."""


def cache() -> Path:
    """Return where the programs are kept."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "agent-access-manager" / f"spire-{VERSION}"


@functools.cache
def programs() -> Path:
    """Return the directory with the programs, having built them if need be; raise `NotHere`."""
    if all((cache() / name).is_file() for name in _PROGRAMS):
        return cache()
    go = os.environ.get("AAM_GO") or shutil.which("go")
    if not go:
        raise NotHere("SPIRE is built from its Go module, and there is no 'go' here (or AAM_GO, which names one)")
    if not any(shutil.which(name) for name in ("cc", "gcc", "clang")):
        raise NotHere("SPIRE's data store is compiled with a C compiler, and there is none here")
    return _build(go)


def _build(go: str) -> Path:
    sys.stderr.write(f"building SPIRE {VERSION} into {cache()} (some minutes)\n")
    cache().parent.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "CGO_ENABLED": "1", "GOFLAGS": "-buildvcs=false"}
    with tempfile.TemporaryDirectory(dir=cache().parent) as place:
        named = f"github.com/spiffe/spire@v{VERSION}"
        asked = [go, "mod", "download", "-json", named]
        said = subprocess.run(asked, cwd=place, env=environment, capture_output=True, text=True, check=False)
        module = json.loads(said.stdout or "{}")
        if module.get("Error") or "Dir" not in module:
            raise NotHere(f"the Go module cannot be had: {module.get('Error') or said.stderr}")
        if module["Sum"] != _SUM:
            raise RuntimeError(f"{named} is not what was pinned: {module['Sum']}")
        out = Path(place, "out")
        out.mkdir()
        built = [go, "build", "-p", "2", "-trimpath", "-ldflags", "-s -w", "-o", f"{out}/"]
        subprocess.run(
            [*built, *(f"./cmd/{name}" for name in _PROGRAMS)], cwd=module["Dir"], env=environment, check=True
        )
        with suppress(OSError):  # somebody else may have built them meanwhile
            out.rename(cache())
    return cache()


@dataclass(frozen=True, slots=True)
class Authority:
    """The authorities of one kind, by what they are at the moment."""

    active: str
    prepared: str | None


class Spire:
    """A trust domain with a server and one agent, attested by a join token; workloads by the kernel's word."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._server: subprocess.Popen[bytes] | None = None
        self._agent: subprocess.Popen[bytes] | None = None
        self.server_socket, self.agent_socket = directory / "server.sock", directory / "agent.sock"
        self._port, self._bundle_port = free_port(), free_port()
        self.bundle_url = f"https://127.0.0.1:{self._bundle_port}"
        for name, text in (("server", _SERVER), ("agent", _AGENT)):
            (directory / name).mkdir(mode=0o700)
            named = {"port": self._port, "bundle_port": self._bundle_port, "place": directory, "domain": DOMAIN}
            (directory / f"{name}.conf").write_text(text % named)

    def __enter__(self) -> Self:
        self.start_server()
        (self._directory / "bootstrap.pem").write_text(self.server("bundle", "show"))
        made = self.server("token", "generate", "-spiffeID", f"spiffe://{DOMAIN}/node", "-output", "json")
        self.start_agent("-joinToken", json.loads(made)["value"])
        return self

    def __exit__(self, *_: object) -> None:
        self.stop_agent()
        self.stop_server()

    @property
    def workload_api(self) -> str:
        """The agent's Workload API, as SPIFFE_ENDPOINT_SOCKET names it."""
        return f"unix://{self.agent_socket}"

    def start_server(self) -> None:
        """Start the server, again if need be."""
        self._server = self._start("spire-server", "run", "-config", f"{self._directory}/server.conf")
        until(lambda: self._answers("spire-server", "healthcheck", "-socketPath", str(self.server_socket)), _PATIENCE)

    def stop_server(self) -> None:
        """Stop the server; its state stays."""
        _stop(self._server)

    def start_agent(self, *more: str) -> None:
        """Start the agent, again if need be."""
        self._agent = self._start("spire-agent", "run", "-config", f"{self._directory}/agent.conf", *more)
        until(lambda: self._answers("spire-agent", "healthcheck", "-socketPath", str(self.agent_socket)), _PATIENCE)

    def stop_agent(self) -> None:
        """Stop the agent."""
        _stop(self._agent)

    def register(self, path: str, selector: str) -> None:
        """Register a workload, and wait until the agent knows it."""
        workload = f"spiffe://{DOMAIN}{path}"
        entry = ("-spiffeID", workload, "-parentID", f"spiffe://{DOMAIN}/node", "-selector", selector)
        self.server("entry", "create", *entry)
        until(
            lambda: self._answers("spire-agent", *self._fetch("jwt"), "-audience", "x", "-spiffeID", workload),
            _PATIENCE,
        )

    def token(self, workload: str, audience: str) -> str:
        """Return a JWT-SVID of this process's."""
        said = self._run(
            "spire-agent", *self._fetch("jwt"), "-audience", audience, "-spiffeID", workload, "-output", "json"
        )
        return str(json.loads(said)[0]["svids"][0]["svid"])

    def certificate(self, directory: Path) -> tuple[Path, Path]:
        """Write this process's X.509-SVID; return its chain and its key."""
        directory.mkdir(exist_ok=True)
        self._run("spire-agent", *self._fetch("x509"), "-write", str(directory))
        return directory / "svid.0.pem", directory / "svid.0.key"

    def bundle(self) -> str:
        """Return the trust bundle as the server has it."""
        return self.server("bundle", "show", "-format", "spiffe")

    def authority(self, kind: Kind) -> Authority:
        """Return which authorities there are."""
        found: Any = json.loads(self.server("localauthority", kind, "show", "-output", "json"))
        prepared = (found.get("prepared") or {}).get("authority_id")
        return Authority(found["active"]["authority_id"], prepared or None)

    def change(self, kind: Kind, step: str, authority: str | None = None) -> None:
        """Prepare, activate, taint or revoke an authority: one step of a rotation."""
        self.server("localauthority", kind, step, *(() if authority is None else ("-authorityID", authority)))

    def server(self, *command: str) -> str:
        """Ask the server."""
        return self._run("spire-server", *command, "-socketPath", str(self.server_socket))

    def _fetch(self, kind: Kind) -> Sequence[str]:
        return ("api", "fetch", kind, "-socketPath", str(self.agent_socket))

    def _start(self, program: str, *command: str) -> "subprocess.Popen[bytes]":
        with (self._directory / f"{program}.log").open("ab") as log:
            return subprocess.Popen([programs() / program, *command], stdout=log, stderr=log)

    def _answers(self, program: str, *command: str) -> bool:
        return subprocess.run([programs() / program, *command], capture_output=True, check=False).returncode == 0

    def _run(self, program: str, *command: str) -> str:
        ran = subprocess.run([programs() / program, *command], capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout


def _stop(process: "subprocess.Popen[bytes] | None") -> None:
    if process is not None:
        process.terminate()
        process.wait(_PATIENCE)


_SERVER = """\
server {
  bind_address = "127.0.0.1"
  bind_port = "%(port)s"
  socket_path = "%(place)s/server.sock"
  trust_domain = "%(domain)s"
  data_dir = "%(place)s/server"
  log_level = "WARN"
  ca_ttl = "1h"
  ca_key_type = "ec-p256"
  default_x509_svid_ttl = "10m"
  default_jwt_svid_ttl = "5m"
  federation {
    bundle_endpoint {
      address = "127.0.0.1"
      port = %(bundle_port)s
      profile "https_spiffe" {}
    }
  }
}
plugins {
  DataStore "sql" {
    plugin_data {
      database_type = "sqlite3"
      connection_string = "%(place)s/server/datastore.sqlite3"
    }
  }
  NodeAttestor "join_token" { plugin_data {} }
  KeyManager "disk" { plugin_data { keys_path = "%(place)s/server/keys.json" } }
}
"""
_AGENT = """\
agent {
  data_dir = "%(place)s/agent"
  log_level = "WARN"
  server_address = "127.0.0.1"
  server_port = "%(port)s"
  socket_path = "%(place)s/agent.sock"
  trust_bundle_path = "%(place)s/bootstrap.pem"
  trust_domain = "%(domain)s"
}
plugins {
  NodeAttestor "join_token" { plugin_data {} }
  KeyManager "disk" { plugin_data { directory = "%(place)s/agent" } }
  WorkloadAttestor "unix" { plugin_data {} }
}
"""

if __name__ == "__main__":
    try:
        sys.stdout.write(f"{programs()}\n")
    except NotHere as reason:
        sys.exit(str(reason))
