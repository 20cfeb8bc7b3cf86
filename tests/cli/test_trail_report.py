"""`aam trail report`: one month as a page to file, whole or not at all."""

import contextlib
import json
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from broker.audit import timestamp
from broker.cli.daemon import Daemon
from tests.support.views import LOG, call, event, sealed

Aam = Callable[..., Any]
OCTOBER = "2026-10-05T09:00:00.000Z"
STATEMENT = {"export": "access.envisionai.dev/trail/v1", "log": LOG, "root": "ab" * 32, "last": "cd" * 32}
BODIES = sealed([*call(time="2026-09-30T23:59:59.999Z"), *call(time=OCTOBER), *call(None, time=OCTOBER)])

Tell = Callable[..., None]


@pytest.fixture
def tell(monkeypatch: pytest.MonkeyPatch) -> Tell:
    """Let a broker answer with these lines behind a statement; what is given besides is in the statement."""

    def tell(bodies: Iterable[bytes] = BODIES, **stated: Any) -> None:
        first = json.dumps(STATEMENT | {"size": len(BODIES)} | stated).encode()

        @contextlib.contextmanager
        def stream(_: Daemon, path: str, **query: str) -> Iterator[Iterator[bytes]]:
            assert (path, query["purpose"]) == ("/v1/trail/export", "report")
            assert query["since"] < query["until"]
            yield iter([first, *bodies])

        monkeypatch.setattr(Daemon, "stream", stream)

    return tell


@pytest.fixture
def ask(aam: Aam, tmp_path: Path) -> Aam:
    """Ask for October's report, in a directory of the test's own."""

    def ask(*more: str | Path) -> Any:
        return aam("trail", "report", "--month", "2026-10", "--dir", tmp_path, tmp_path / "october.html", *more)

    return ask


# --- A real broker


def test_a_month_of_a_real_broker_is_a_page(aam: Aam, served: Any, tmp_path: Path) -> None:
    """Issue 3, What a user can do 8: `aam trail report --month`: one printable HTML page."""
    served.daemon.post("/v1/grants/salesforce/test")
    this_month = timestamp()[:7]

    ran = aam("trail", "report", "--month", this_month, "--dir", served.directory, tmp_path / "month.html", "--json")

    page = (tmp_path / "month.html").read_text()
    assert (ran.code, ran.json["month"], ran.json["file"]) == (0, this_month, str(tmp_path / "month.html"))
    assert ran.json["root"] in page
    assert "grant_tested" in page
    assert "The month was not over" in page
    assert page.endswith("</html>\n")


def test_that_a_report_was_made_is_on_record(aam: Aam, served: Any, tmp_path: Path) -> None:
    """Who reads the trail is in the trail."""
    aam("trail", "report", "--month", timestamp()[:7], "--dir", served.directory, tmp_path / "month.html")

    (last,) = served.daemon.get("/v1/trail", last=1)
    assert (last["kind"], last["purpose"]) == ("trail_exported", "report")


# --- What the broker may answer


def test_only_the_month_is_in_it_whatever_the_broker_sends(ask: Aam, tell: Tell) -> None:
    """A broker that does not filter sends the whole log."""
    tell()

    ran = ask("--json")

    assert (ran.code, ran.json["calls"], ran.json["unclear"], ran.json["size"]) == (0, 2, 1, 8)


def test_what_the_broker_left_out_is_said(ask: Aam, tell: Tell, tmp_path: Path) -> None:
    """Gaps that are explained are no problem, and are on the page."""
    tell([b'{"gap":{"start":0,"stop":3,"why":"pruned","hashes":[]}}', *BODIES[3:]], checkpoint="note\n", new="unknown")

    ran = ask("--json")

    assert (ran.code, ran.json["records_absent"]) == (0, {"pruned": 3})
    assert "<td>0</td><td>2</td><td>pruned</td>" in (tmp_path / "october.html").read_text()


def test_records_that_are_missing_without_a_reason_are_a_problem(ask: Aam, tell: Tell, tmp_path: Path) -> None:
    """The page is written, because it shows it; 1 says that something is wrong."""
    tell([*BODIES[:3], *BODIES[5:]])

    ran = ask()

    assert ran.code == 1
    assert "Records are missing" in ran.err
    assert "Records are missing" in (tmp_path / "october.html").read_text()


def test_a_broker_that_does_not_say_how_many_there_are_is_taken_at_less_than_its_word(
    ask: Aam, tell: Tell, tmp_path: Path
) -> None:
    """An end that came too early could not be seen, and the page says so."""
    tell(size=None)

    assert ask().code == 0
    assert "that all were read is not known" in (tmp_path / "october.html").read_text()


@pytest.mark.parametrize(
    "bodies", [BODIES[:-1], [], [*BODIES[:2], b"x"], [BODIES[1], BODIES[0]], [*BODIES, b'{"seq":8}']]
)
def test_half_a_report_never_stands_under_its_name(ask: Aam, tell: Tell, tmp_path: Path, bodies: list[bytes]) -> None:
    """What ends early, or is no export, makes no page that somebody files; nor does it leave anything behind."""
    tell(bodies)

    ran = ask()

    assert ran.code == 1
    assert "Traceback" not in ran.err
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_statement_makes_no_report(ask: Aam, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Something else may answer."""
    for first in (b"", b"x", b"[]", b"{}"):

        @contextlib.contextmanager
        def stream(*_: Any, first: bytes = first, **__: Any) -> Iterator[Iterator[bytes]]:
            yield iter([first])

        monkeypatch.setattr(Daemon, "stream", stream)
        assert ask("--json").json["code"] == "command_failed"
    assert list(tmp_path.iterdir()) == []


# --- How it is asked for


@pytest.mark.parametrize("month", ["2026-13", "november", "2026-11-01", "", "9998-01", "../x"])
def test_a_month_that_is_none_or_has_not_begun_is_misuse(aam: Aam, tmp_path: Path, month: str) -> None:
    """Exit status 2, before anybody is asked."""
    ran = aam("trail", "report", "--month", month, "--dir", tmp_path, tmp_path / "x.html", "--json")

    assert (ran.code, ran.json["code"]) == (2, "command_misused")
    assert list(tmp_path.iterdir()) == []


def test_a_report_replaces_another_only_by_force(ask: Aam, tell: Tell, tmp_path: Path) -> None:
    """It may be the one that is filed."""
    tell()
    (tmp_path / "october.html").write_text("filed")

    refused = ask()
    kept = (tmp_path / "october.html").read_text()
    forced = ask("--force")

    assert (refused.code, "--force" in refused.err, kept) == (2, True, "filed")
    assert forced.code == 0
    assert (tmp_path / "october.html").read_text().startswith("<!DOCTYPE html>")


def test_a_report_does_not_follow_a_link_that_somebody_put_there(ask: Aam, tell: Tell, tmp_path: Path) -> None:
    """As an export does not; --force does not help."""
    tell()
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "october.html").symlink_to(tmp_path / "victim")

    assert ask("--force").code == 2
    assert (tmp_path / "victim").read_text() == "precious"


def test_a_report_is_its_owners_alone(ask: Aam, tell: Tell, tmp_path: Path) -> None:
    """It says who called what and when."""
    tell()
    ask()

    assert stat.S_IMODE((tmp_path / "october.html").stat().st_mode) == 0o600


def test_without_a_name_the_page_is_named_after_its_month(
    aam: Aam, tell: Tell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twelve reports of a year lie side by side."""
    tell()
    monkeypatch.chdir(tmp_path)

    ran = aam("trail", "report", "--month", "2026-10", "--json")

    assert ran.json["file"] == "aam-report-2026-10.html"
    assert [path.name for path in tmp_path.iterdir()] == ["aam-report-2026-10.html"]


def test_a_page_to_stdout_is_alone_there(aam: Aam, tell: Tell, tmp_path: Path) -> None:
    """What is said goes to stderr."""
    tell()

    ran = aam("trail", "report", "--month", "2026-10", "--dir", tmp_path, "-")

    assert ran.out.startswith("<!DOCTYPE html>")
    assert ran.out.endswith("</html>\n")
    assert "2 calls in 2026-10" in ran.err
    assert aam("trail", "report", "--month", "2026-10", "--dir", tmp_path, "-", "--json").code == 2


def test_no_name_of_a_log_reaches_the_terminal_as_more_than_text(ask: Aam, tell: Tell) -> None:
    """The statement is the broker's word, and still shown as text."""
    tell(sealed([event("\x1b[2J", time=OCTOBER)]), size=1, log="\x1b]0;owned\x07")

    for more in ((), ("--json", "--force")):
        said = ask(*more).out
        assert all(character.isprintable() or character == "\n" for character in said)
