"""Evidence that a served broker gave out, and three programs that check it, none of them ours."""

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

from broker.cli.commands import app
from tests.support.broker import ServedBroker
from tests.support.clients import Wire
from tests.support.documents import write_documents
from tests.support.evidence import unpacked
from tests.support.notes import Notes, NotesService
from tests.verifiers import raw

VERIFIERS = Path(__file__).parent
READ = "notes_notes_read"


@dataclass(frozen=True)
class Evidence:
    """What was given out: unpacked bundles, one head, and the log's keys, the oldest first."""

    bundle: Path
    """The second bundle, made after the key was changed."""
    loose: Path
    """The same without its manifest, with proofs of a call's records: a change is for the mathematics to find."""
    head: Path
    keys: list[str]


@dataclass(frozen=True)
class Said:
    """What a verifier said."""

    verifier: str
    agrees: bool
    text: str


Verifier = Callable[[Path, list[str]], Said]


@pytest.fixture(scope="module")
def evidence(notes_service: NotesService, tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    """Serve calls, take a bundle, change the key, serve more, and take another bundle, proofs and a head."""
    place = tmp_path_factory.mktemp("evidence")
    with ServedBroker(write_documents(place / "access", notes_service), Notes()) as broker:
        wire, directory = Wire(broker), broker.written.directory
        wire.call(READ, {"id": "n1"})
        aam("export", place / "first.zip", "--dir", directory)
        aam("rotate-key", "--dir", directory)
        call_id = wire.call(READ, {"id": "n2"}).call_id
        aam("export", place / "second.zip", "--dir", directory)
        (place / "head").mkdir()
        (place / "head/checkpoint").write_text(aam("checkpoint", "--dir", directory))
        proofs = broker.operators.get(f"/v1/trail/calls/{call_id}/proofs")["proofs"]
        keys = [one["vkey"] for one in broker.operators.get("/v1/trail/keys")]
    bundle = unpacked(place / "second.zip", place / "bundle")
    loose = shutil.copytree(bundle, place / "loose", ignore=shutil.ignore_patterns("manifest.*"))
    (loose / "proofs").mkdir()
    for one in proofs:
        (loose / f"proofs/{one['seq']}.tlog-proof").write_text(one["proof"])
    return Evidence(bundle, loose, place / "head", keys)


def aam(*arguments: str | Path) -> str:
    """Run a command about the trail; return what it prints."""
    ran = CliRunner().invoke(app, ["trail", *map(str, arguments)], catch_exceptions=False)
    assert ran.exit_code == 0, ran.output
    return ran.stdout


@pytest.fixture(scope="session")
def note(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Said], Said]:
    """Write down what a verifier says, in the file that AAM_VERIFIERS_REPORT names, if it does."""
    report = Path(os.environ.get("AAM_VERIFIERS_REPORT") or tmp_path_factory.mktemp("verifiers") / "report")

    def note(said: Said) -> Said:
        with report.open("a") as file:
            file.write(f"--- {said.verifier}: {'agrees' if said.agrees else 'refuses'}\n{said.text.rstrip()}\n")
        return said

    return note


@pytest.fixture(scope="session")
def raw_ed25519(note: Callable[[Said], Said]) -> Verifier:
    """Check signatures with PyNaCl."""

    def verify(directory: Path, keys: list[str]) -> Said:
        try:
            return note(Said("raw Ed25519 (PyNaCl)", agrees=True, text="\n".join(raw.check(directory, keys))))
        except ValueError as error:
            return note(Said("raw Ed25519 (PyNaCl)", agrees=False, text=f"refused: {error}"))

    return verify


@pytest.fixture(scope="session")
def aics(note: Callable[[Said], Said]) -> Verifier:
    """Check with aics-tlog, in a Python of its own."""
    python = os.environ.get("AAM_TLOG_PYTHON") or missing(
        "AAM_TLOG_PYTHON does not name a Python 3.12 or later with requirements/verifiers.txt"
    )
    return program("aics-tlog", [python, str(VERIFIERS / "aics.py")], note)


@pytest.fixture(scope="session")
def go(note: Callable[[Said], Said], tmp_path_factory: pytest.TempPathFactory) -> Verifier:
    """Check with golang.org/x/mod/sumdb, in a program that is built here."""
    compiler = os.environ.get("AAM_GO") or shutil.which("go") or missing("there is no go, and AAM_GO names none")
    built = tmp_path_factory.mktemp("go") / "verifier"
    build = [compiler, "build", "-mod=readonly", "-o", str(built), "."]
    ran = subprocess.run(build, cwd=VERIFIERS / "go", capture_output=True, text=True, timeout=300, check=False)
    if ran.returncode:
        missing(f"the verifier in Go cannot be built here: {ran.stderr.strip()[-300:]}")
    return program("golang.org/x/mod/sumdb", [str(built)], note)


def missing(why: str) -> str:
    """Skip for a newcomer; fail in CI, which installs what it needs."""
    if os.environ.get("AAM_CI"):
        pytest.fail(why)
    pytest.skip(why)


def program(name: str, command: list[str], note: Callable[[Said], Said]) -> Verifier:
    """Return a program that exits with 1, and says why, if it refuses."""

    def verify(directory: Path, keys: list[str]) -> Said:
        ran = subprocess.run([*command, directory, *keys], capture_output=True, text=True, timeout=60, check=False)
        assert ran.returncode in {0, 1}, ran.stderr
        return note(Said(name, ran.returncode == 0, ran.stdout))

    return verify
