"""The pages say what is so: quotations are true, links lead somewhere, codes and rooms are covered, examples run."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from joserfc.jwk import RSAKey

from broker.documents.parse import Document, parse
from broker.documents.source import Source, read_sources
from broker.errors import codes
from tests.docs import includes
from tests.support.ports import free_port

ROOT = includes.ROOT
SESSIONS = ("tour.sh", "evidence.sh")
"""In the order of the tour."""
EXAMPLES = ROOT / "docs" / "examples"


@pytest.mark.parametrize("page", includes.pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_quotes_what_is_there(page: Path) -> None:
    """CONTRIBUTING.md: a quotation that is out of date is a mistake; `python tests/docs/includes.py` renews it."""
    assert page.read_text() == includes.rewritten(page)


@pytest.mark.parametrize("page", includes.pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_a_link_leads_somewhere(page: Path) -> None:
    """A page's relative links name files that exist."""
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text())

    missing = [link for link in links if not (page.parent / link).exists()]

    assert not missing


def test_every_refusal_has_a_heading_and_every_heading_a_refusal() -> None:
    """Project rule: every refusal has a stable code and a heading in docs/errors.md."""
    headings = re.findall(r"^## `(\w+)`$", (ROOT / "docs/errors.md").read_text(), re.MULTILINE)

    assert sorted(headings) == sorted(kind.code for kind in codes())


def test_every_room_has_a_page() -> None:
    """architecture.md, The rooms: docs/ has one page for each."""
    rooms = {
        path.name.removesuffix(".py")
        for path in (ROOT / "broker").iterdir()
        if (path.suffix == ".py" or path.is_dir()) and not path.name.startswith("_") and path.name != "starter"
    }

    pages = {page.stem for page in (ROOT / "docs/modules").glob("*.md")} - {"README"}

    assert pages == rooms


@pytest.mark.parametrize("example", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.name)
def test_an_example_document_is_right(example: Path) -> None:
    """Every YAML example is a set of documents that are right in themselves."""
    for source in read_sources(example.read_bytes(), example.name):
        assert isinstance(source, Source), source
        assert isinstance(parse(source), Document), parse(source)


def test_every_example_is_quoted_on_a_page() -> None:
    """An example that no page shows is clutter."""
    shown = {path for page in includes.pages() for path, _ in includes.quoted(page)}

    assert {str(path.relative_to(ROOT)) for path in EXAMPLES.iterdir()} <= shown


@pytest.mark.slow
def test_the_example_sessions_run(session: "Session") -> None:
    """Every shell example runs as it stands, line by line, as a reader of the tour would type them."""
    assert {path.name for path in EXAMPLES.glob("*.sh")} == set(SESSIONS)

    for example in SESSIONS:
        for line in (EXAMPLES / example).read_text().splitlines():
            if line and not line.startswith("#"):
                session.type(line)


class Session:
    """A reader at a terminal, or at several: what serves goes on in one of its own."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        self.background: list[subprocess.Popen[bytes]] = []

    def type(self, line: str) -> None:
        """Run one line; it must do what it says."""
        if line.startswith("aam serve"):
            self.background.append(
                subprocess.Popen(
                    ["/bin/sh", "-c", "exec " + line],
                    cwd=self.place,
                    env=self.environment,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
            )
            self._until_it_serves()
            return
        ran = subprocess.run(
            ["/bin/sh", "-ec", line],
            cwd=self.place,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        assert ran.returncode == 0, f"{line}\n{ran.stdout}{ran.stderr}"
        if line.startswith("aam init"):
            self._serve_elsewhere()

    def _serve_elsewhere(self) -> None:
        """Have another port than the usual one, at which whoever runs these tests may have a broker of their own."""
        (document,) = self.place.glob("*/broker.yaml")
        text = document.read_text()
        assert "8470" in text
        document.write_text(text.replace("8470", str(free_port())))

    def _until_it_serves(self) -> None:
        deadline = time.monotonic() + 60
        while not list(self.place.glob("*/run/operators.sock")):
            assert time.monotonic() < deadline
            assert self.background[-1].poll() is None
            time.sleep(0.05)

    def end(self) -> None:
        """Stop what was started."""
        for process in self.background:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


@pytest.fixture(name="session")
def _session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    """Give a terminal in a directory that has what the examples mention: the key of an app at the service."""
    place = tmp_path_factory.mktemp("s")
    (place / "app.pem").write_bytes(RSAKey.generate_key(2048).as_pem(private=True))
    session = Session(place)
    yield session
    session.end()
    shutil.rmtree(place)
