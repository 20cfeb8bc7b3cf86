"""A stranger's connector, made outside this tree from docs/connectors/write-one.md alone."""

import contextlib
import os
import re
import signal
import site
import subprocess
import sysconfig
import venv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from broker.cli.connectors.new import write_package
from broker.cli.init import DEVELOPMENT_KEY
from broker.testing.checking.service import AnsweringService, Manner
from broker.testing.trust_domain import DevelopmentTrustDomain
from tests.support.clients import Wire
from tests.support.ports import free_port

PAGE = Path(__file__).parents[2] / "docs/connectors/write-one.md"
_FILE = re.compile(r"<!-- file: (?P<name>\S+) -->\n```\w+\n(?P<text>.*?)```", re.DOTALL)
_SHELL = re.compile(r"^```sh\n(?P<text>.*?)```", re.DOTALL | re.MULTILINE)
_URL = "https://tasks.example.com/api"
_KEY = "the-key-of-the-tasks-0123456789"
_PATIENCE = 120.0


def files() -> dict[str, str]:
    """Return the page's files."""
    return {found["name"]: found["text"] for found in _FILE.finditer(PAGE.read_text())}


def lines() -> list[str]:
    """Return the page's commands, in order."""
    return [line for found in _SHELL.finditer(PAGE.read_text()) for line in found["text"].splitlines()]


def test_the_page_has_the_files_that_are_written_for_a_new_connector(tmp_path: Path) -> None:
    """Whoever follows the page by hand has the same in the end; `aam connector new` is only faster."""
    written = write_package("tasks", tmp_path / "tasks")

    for name in {*written} - {"README.md"}:
        assert files()[name] == (tmp_path / "tasks" / name).read_text(), name


class Stranger:
    """Somebody with an environment of their own, beside which the broker's is."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.package = place / "aam-connector-tasks"
        venv.create(place / "venv", with_pip=False)
        library = Path(sysconfig.get_path("purelib", vars={"base": str(place / "venv")}))
        ours = [path for path in site.getsitepackages() if Path(path).is_dir()]
        (library / "broker.pth").write_text("".join(f"import site; site.addsitedir({path!r})\n" for path in ours))
        aam = place / "venv/bin/aam"
        aam.write_text(f"#!{place}/venv/bin/python\nfrom broker.cli import main\nmain()\n")
        aam.chmod(0o755)
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PIP_"))},
            "PATH": f"{place}/venv/bin:{os.environ['PATH']}",
            "PIP_NO_INDEX": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def type(self, line: str) -> str:
        """Run one line; it must do what it says."""
        where = self.place if "--dir access" in line or line.startswith("aam init") else self.package
        ran = subprocess.run(
            ["/bin/sh", "-ec", line],
            cwd=where,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            check=False,
        )
        assert ran.returncode == 0, f"{line}\n{ran.stdout}\n{ran.stderr}"
        return ran.stdout

    @contextlib.contextmanager
    def serving(self) -> Iterator[None]:
        """Serve the documents meanwhile."""
        with (self.place / "serve.log").open("w") as log:
            process = subprocess.Popen(
                [self.place / "venv/bin/aam", "serve", "access", "--development"],
                cwd=self.place, env=self.environment, stdout=subprocess.PIPE, stderr=log, text=True,
            )  # fmt: skip
        assert process.stdout is not None
        try:
            while "DEVELOPMENT" not in (line := process.stdout.readline()):
                assert line, (self.place / "serve.log").read_text()
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(_PATIENCE)
            process.stdout.close()


class Reached:
    """The stranger's broker, as an agent reaches it."""

    agents_socket = ""

    def __init__(self, access: Path, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._domain = DevelopmentTrustDomain.read("prod", access / DEVELOPMENT_KEY)

    def token(self) -> str:
        """Return a fresh token of the starter set's agent."""
        return self._domain.mint("spiffe://prod/agent/finance-analyst", f"{self.url}/mcp")


def tasks(method: str, path: str) -> Any:
    """Answer as the service of the page does."""
    task = {"id": "1", "title": "Write the report", "done": False, "internal": "stays"}
    answers: Mapping[tuple[str, str], Any] = {
        ("GET", "/api/me"): {"name": "jane"},
        ("GET", "/api/tasks"): {"items": [task]},
    }
    return answers.get((method, path), task)


@pytest.mark.slow
def test_the_page_leads_from_nothing_to_a_call_through_the_broker(tmp_path: Path) -> None:
    """Issue 6: a stranger's connector in its own package is found by entry point; built from the page alone."""
    stranger, port = Stranger(tmp_path), free_port()
    for name, text in files().items():
        (stranger.package / name).parent.mkdir(parents=True, exist_ok=True)
        (stranger.package / name).write_text(text)
    access = tmp_path / "access"
    with AnsweringService(tmp_path / "service") as service:
        service.manner = Manner(body=tasks)
        stranger.type(f"aam init access --port {port}")
        (access / "connectors/tasks.pem").write_text(service.authority)
        (tmp_path / "tasks.key").write_text(_KEY)
        reach = "--set 'reach.private_ranges=[127.0.0.0/8]' --set reach.certificate_authority=tasks.pem"

        said = {}
        commands = [line for line in lines() if not line.startswith(("aam connector new", "cd "))]
        before = [line for line in commands if not line.startswith(("aam grants", "aam connector test", "aam tools"))]
        for line in before:
            said[line] = stranger.type(line.replace(_URL, f"{service.url}/api {reach}"))
        (access / "policies/tasks.yaml").write_text(files()["tasks-policy.yaml"])
        with stranger.serving():
            for line in commands[len(before) :]:
                said[line] = stranger.type(line)
            wire = Wire(Reached(access, port))
            listed, answered = wire.tools(), wire.call("tasks_tasks_read", {"id": "1"})
            refused = wire.call("tasks_tasks_create", {"title": "No"})

    assert "1 passed" in said["python -m pytest"]
    assert "works: signed in as jane" in said["aam connector test tasks --dir access"]
    assert "tasks_tasks_read" in said["aam tools --as finance-analyst --dir access"]
    assert {"tasks_tasks_list", "tasks_tasks_read"} == {name for name in listed if name.startswith("tasks")}
    assert answered.result["structuredContent"] == {"record": {"id": "1", "title": "Write the report", "done": False}}
    assert refused.code == "access_denied"
    assert {asked.authorization for asked in service.asked} == {f"Bearer {_KEY}"}
