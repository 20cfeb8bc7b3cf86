"""The commands in this process and as processes, and one broker that really runs, in front of one service."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pytest
from typer.testing import CliRunner

from broker.cli.commands import app
from broker.cli.daemon import Daemon
from broker.testing.salesforce import SalesforceService
from tests.support.ports import free_port
from tests.support.salesforce import CONNECTOR

AAM = Path(sys.executable).with_name("aam")
PATIENCE = 60.0


@dataclass(frozen=True)
class Ran:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it printed, as JSON; nothing else may stand beside it."""
        return json.loads(self.out)


Aam = Callable[..., Ran]


@pytest.fixture(scope="session")
def aam() -> Aam:
    """Run a command in this process."""

    def aam(*arguments: str | Path, stdin: str = "") -> Ran:
        result = CliRunner().invoke(app, list(map(str, arguments)), input=stdin, catch_exceptions=False)
        return Ran(result.exit_code, result.stdout, result.stderr)

    return aam


@pytest.fixture(scope="session")
def process() -> Callable[..., Ran]:
    """Run a command as a process."""

    def process(*arguments: str | Path, stdin: str | None = None, **environment: str) -> Ran:
        ran = subprocess.run(
            [AAM, *arguments],
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
            env={**os.environ, **environment},
        )
        return Ran(ran.returncode, ran.stdout, ran.stderr)

    return process


def until(reached: Callable[[], Any]) -> Any:
    """Wait until something is so, and return it; fail if it does not become so in time."""
    deadline = time.monotonic() + PATIENCE
    while not (found := reached()):
        assert time.monotonic() < deadline, "it did not become so in time"
        time.sleep(0.01)
    return found


@pytest.fixture(scope="session", name="until")
def until_fixture() -> Callable[[Callable[[], Any]], Any]:
    """Lend the helper that waits."""
    return until


class Served:
    """A set of documents, the service that its connector reaches, and a broker that serves it."""

    def __init__(self, directory: Path, service: SalesforceService, aam: Aam) -> None:
        self.directory = directory
        self.service = service
        self.port = free_port()
        self.log = directory.with_name(directory.name + ".log")
        self.printed: list[str] = []
        assert aam("init", directory, "--port", str(self.port)).code == 0
        connectors = directory / "connectors"
        (connectors / "ca.pem").write_bytes(service.ca_file.read_bytes())
        (connectors / "salesforce.yaml").write_text(CONNECTOR.format(url=service.url, audience=service.audience))

    @property
    def url(self) -> str:
        """Where agents reach it."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def daemon(self) -> Daemon:
        """Its operators' door."""
        return Daemon(self.directory)

    def add_grant(self) -> Any:
        """Connect the account."""
        body = {
            "connector": "salesforce",
            "client_id": self.service.consumer_key,
            "subject": self.service.username,
            "private_key": self.service.private_key_file.read_text(),
        }
        return self.daemon.post("/v1/grants", body)

    def __enter__(self) -> Self:
        with self.log.open("w") as errors:
            self.process = subprocess.Popen(
                [AAM, "serve", self.directory, "--development"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        assert self.process.stdout is not None
        while "DEVELOPMENT" not in (line := self.process.stdout.readline()):
            assert line, self.log.read_text()
            self.printed.append(line)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> int:
        """End it as a service manager would, and return its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(PATIENCE)
        finally:
            self.process.kill()
            if self.process.stdout is not None:
                self.process.stdout.close()


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SalesforceService]:
    """Serve the Salesforce-shaped service."""
    with SalesforceService(tmp_path_factory.mktemp("salesforce")) as service:
        yield service


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory, service: SalesforceService, aam: Aam) -> Iterator[Served]:
    """Serve one broker for the commands that only look, or put back what they change."""
    with Served(tmp_path_factory.mktemp("aam") / "access", service, aam) as served:
        served.add_grant()
        yield served


@pytest.fixture
def served(shared: Served) -> Iterator[Served]:
    """Lend the shared broker; faults are taken back."""
    yield shared
    shared.service.faults.clear()


@pytest.fixture
def own(tmp_path: Path, service: SalesforceService, aam: Aam) -> Served:
    """Write a set of the test's own; the test serves it if it needs to."""
    return Served(tmp_path / "access", service, aam)
