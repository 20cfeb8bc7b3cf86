"""`aam init`, `aam check` and `aam serve`: from an empty directory to a broker that says where it is."""

import os
import pwd
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from broker.documents import load

Aam = Callable[..., Any]

SECOND = """\
apiVersion: access.envisionai.dev/v1
kind: AgentPolicy
metadata: { name: second }
spec:
  identity: { workload: spiffe://prod/agent/finance-analyst }
  tools: [{ resource: salesforce.contacts, actions: [read] }]
"""


def test_the_starter_set_is_written_and_is_right(aam: Aam, tmp_path: Path) -> None:
    """Issue 2, What a user can do 3: `aam init DIR` writes a set that `aam check DIR` accepts."""
    directory = tmp_path / "new" / "access"

    written, checked = aam("init", directory, "--json"), aam("check", directory, "--json")

    assert (written.code, checked.code) == (0, 0)
    assert written.json["directory"] == str(directory)
    assert all((directory / name).is_file() for name in written.json["files"])
    assert checked.json["ok"]
    assert {problem["severity"] for problem in checked.json["problems"]} == {"warning"}


def test_the_starter_set_says_what_to_do_next(aam: Aam, tmp_path: Path) -> None:
    """The commands that it prints can be pasted, whatever the directory is called."""
    directory = tmp_path / "with a space"

    said = aam("init", directory).out

    assert f"aam serve '{directory}' --development" in said


def test_every_secret_of_the_starter_set_is_its_owners_alone(aam: Aam, tmp_path: Path) -> None:
    """credentials.md B5: keys in files have the mode checked."""
    aam("init", tmp_path / "access")

    secrets = tmp_path / "access/secrets"

    assert stat.S_IMODE(secrets.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in secrets.iterdir()} == {0o600}


def test_two_starter_sets_share_no_key(aam: Aam, tmp_path: Path) -> None:
    """A default that everybody has is no secret (lessons.md 7)."""
    for name in ("one", "other"):
        aam("init", tmp_path / name)

    for file in ("secrets/vault.key", "secrets/development-prod.jwk", "trust-bundle.json"):
        assert (tmp_path / "one" / file).read_bytes() != (tmp_path / "other" / file).read_bytes()


@pytest.mark.parametrize("more", [(), ("--json",)], ids=["text", "json"])
def test_a_second_init_refuses_and_changes_nothing(aam: Aam, tmp_path: Path, more: tuple[str, ...]) -> None:
    """A key that is overwritten takes every sealed grant with it."""
    aam("init", tmp_path / "access")
    key = (tmp_path / "access/secrets/vault.key").read_bytes()

    ran = aam("init", tmp_path / "access", *more)

    assert ran.code == 2
    assert "is not empty" in (ran.json["message"] if more else ran.err)
    assert (tmp_path / "access/secrets/vault.key").read_bytes() == key


@pytest.mark.parametrize("place", ["a-file", "a-file/below", "/proc/nowhere"])
def test_where_nothing_can_be_written_init_says_so(aam: Aam, tmp_path: Path, place: str) -> None:
    """A sentence and a status, not a traceback."""
    (tmp_path / "a-file").touch()

    ran = aam("init", tmp_path / place)

    assert ran.code == 2
    assert "cannot be written" in ran.err


def test_a_user_without_a_name_gets_a_starter_set_too(
    aam: Aam, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a container, users are often only numbers."""
    with monkeypatch.context() as patched:
        patched.setattr(pwd, "getpwuid", lambda uid: {}[uid])
        assert aam("init", tmp_path / "access").code == 0

    assert f'user: "{os.getuid()}"' in (tmp_path / "access/broker.yaml").read_text()
    assert aam("check", tmp_path / "access").code == 0


def test_check_reports_every_mistake_with_its_place(aam: Aam, own: Any) -> None:
    """Issue 2, What a user can do 3: file, line, key, what is wrong and the nearest right word; exit 1."""
    policy = own.directory / "policies/finance-analyst-readonly.yaml"
    policy.write_text(policy.read_text().replace("salesforce.accounts", "salesforce.acounts").replace("false", "true"))

    ran, as_json = aam("check", own.directory), aam("check", own.directory, "--json")

    assert (ran.code, as_json.code) == (1, 1)
    assert "policies/finance-analyst-readonly.yaml:13 spec.tools[0].resource:" in ran.out
    assert "did you mean 'salesforce.accounts'?" in ran.out
    assert "2 mistakes" in ran.out
    mistakes = [problem for problem in as_json.json["problems"] if problem["severity"] == "error"]
    assert [(one["line"], one["key"]) for one in mistakes] == [
        (13, "spec.tools[0].resource"), (18, "spec.credentials.expose_to_agent")
    ]  # fmt: skip
    assert not as_json.json["ok"]


def test_check_shows_warnings_beside_mistakes(aam: Aam, own: Any) -> None:
    """Whoever mends the one sees the other."""
    (own.directory / "broken.yaml").write_text("")

    said = aam("check", own.directory).out

    assert "mistake broken.yaml:1" in said
    assert "has no ModelRoute yet" in said
    assert "1 mistake\n" in said


@pytest.mark.parametrize("command", ["check", "doctor"])
def test_a_directory_is_named_either_way(
    aam: Aam, own: Any, monkeypatch: pytest.MonkeyPatch, command: str, tmp_path: Path
) -> None:
    """As an argument, with --dir, or in AAM_DIR, which comes last; two names are one too many."""
    ways = aam(command, own.directory), aam(command, "--dir", own.directory)
    monkeypatch.setenv("AAM_DIR", str(own.directory))
    by_environment = aam(command)
    monkeypatch.setenv("AAM_DIR", str(tmp_path))
    beaten = aam(command, own.directory)
    both = aam(command, own.directory, "--dir", tmp_path)

    assert all("digest" in ran.out for ran in (*ways, by_environment, beaten))
    assert both.code == 2


def test_check_counts_in_words_and_says_which_tools_work(aam: Aam, own: Any) -> None:
    """A tool that is only named, so that policies can speak of it, is not one that can be called."""
    snapshot = load(own.directory)
    built = sum(1 for tool in snapshot.catalog if tool.tool.run is not None)

    said = aam("check", own.directory).out

    assert 0 < built < 39
    assert f"1 agent, 1 connector, 39 tools ({built} built);" in said


def test_a_second_policy_beside_the_first_is_accepted(aam: Aam, own: Any) -> None:
    """Issue 2, What a user can do 3: a second policy for the same agent dropped beside it is accepted too."""
    (own.directory / "second.yaml").write_text(SECOND)

    assert aam("check", own.directory).code == 0
    assert load(own.directory).policy_names["spiffe://prod/agent/finance-analyst"] == (
        "finance-analyst-readonly", "second"
    )  # fmt: skip


# --- Serve ------------------------------------------------------------------------------------------------------------


def test_serve_says_on_one_screen_where_everybody_connects(served: Any) -> None:
    """Issue 2, What a user can do 3: where agents and operators connect and what is loaded."""
    said = "".join(served.printed)

    assert len(served.printed) <= 24
    for part in (
        f"{served.url}/mcp", f"{served.url}/sse", str(served.directory / "run/agents.sock"),
        f"aam status --dir {served.directory}", "1 agent, 39 tools (", " built)", "salesforce (grant: none)",
        "access.envisionai.dev/log/starter", "has no ModelRoute yet",
    ):  # fmt: skip
        assert part in said


@pytest.mark.slow
def test_serve_drains_on_sigterm_and_takes_its_sockets_away(own: Any) -> None:
    """Issue 2, What a user can do 3: `aam serve` drains on SIGTERM."""
    with own:
        status = own.stop()

    assert status == 0
    assert list((own.directory / "run").iterdir()) == []
    assert "Traceback" not in own.log.read_text()


@pytest.mark.slow
def test_a_second_broker_on_the_same_store_refuses_to_start(served: Any, process: Aam) -> None:
    """architecture.md, Processes and people: the only process that opens the store."""
    ran = process("serve", str(served.directory), "--development", "--json")

    assert ran.code == 1
    assert ran.json["code"] in {"store_in_use", "listener_refused"}


@pytest.mark.slow
def test_serve_with_mistakes_names_them_and_does_not_start(process: Aam, own: Any) -> None:
    """architecture.md, The documents: a set with one broken document is refused."""
    (own.directory / "broken.yaml").write_text("a: [")

    ran = process("serve", str(own.directory), "--json")

    assert ran.code == 1
    assert "mistake broken.yaml:1" in ran.err
    assert ran.json["code"] == "documents_invalid"
    assert not (own.directory / "data").exists()


@pytest.mark.slow
def test_serve_says_each_mistake_once(process: Aam, tmp_path: Path) -> None:
    """An empty directory has one mistake; by --dir as well."""
    ran = process("serve", "--dir", str(tmp_path))

    assert ran.code == 1
    assert ran.err.count("Broker document") == 1
    assert "documents_invalid" in ran.err


@pytest.mark.slow
def test_serve_on_a_wildcard_address_says_what_agents_call(own: Any) -> None:
    """Nobody can call 0.0.0.0."""
    broker = own.directory / "broker.yaml"
    text = broker.read_text().replace(
        f"http: 127.0.0.1:{own.port}", f"http: 0.0.0.0:{own.port}\n    behind_tls_proxy: true"
    )
    broker.write_text(text.replace(f"http://127.0.0.1:{own.port}/mcp", "https://access.example.com/mcp"))

    with own:
        said = "".join(own.printed)

    assert "https://access.example.com/mcp   https://access.example.com/sse" in said
    assert f"//0.0.0.0:{own.port}" not in said


def no_store(place: Path) -> None:
    """Put something else where the store is."""
    (place / "data").mkdir()
    (place / "data/broker.db").write_text("x" * 9999)


def nothing(_place: Path) -> None:
    """Break nothing."""


BROKEN: list[tuple[str, Callable[[Path], object], tuple[str, ...]]] = [
    ("the key is gone", lambda place: (place / "secrets/vault.key").unlink(), ()),
    ("the key is open", lambda place: (place / "secrets/vault.key").chmod(0o644), ()),
    ("the key is none", lambda place: (place / "secrets/vault.key").write_text("x"), ()),
    ("a certificate without a key", nothing, ("--tls-cert", "trust-domain.yaml")),
    ("a certificate that is not there", nothing, ("--tls-cert", "nowhere.pem", "--tls-key", "nowhere.pem")),
    ("a certificate that is none", nothing, ("--tls-cert", "broker.yaml", "--tls-key", "broker.yaml")),
    ("a file for a directory", lambda place: (place / "data").write_text(""), ()),
    ("a file for a socket", lambda place: (place / "run").write_text(""), ()),
    ("a store that is none", no_store, ()),
]  # fmt: skip
_TLS_JUNK = 5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "break_it", "more"),
    [
        pytest.param(*one, id=one[0], marks=[] if number == _TLS_JUNK else pytest.mark.slow)
        for number, one in enumerate(BROKEN)
    ],
)
def test_what_keeps_serve_from_starting_is_said_without_a_traceback(
    process: Aam, own: Any, what: str, break_it: Callable[[Path], object], more: tuple[str, ...]
) -> None:
    """CLI rules: no traceback ever for a mistake of the user's."""
    break_it(own.directory)
    paths = [str(own.directory / part) if not part.startswith("--") else part for part in more]

    ran = process("serve", str(own.directory), "--development", *paths, "--json")

    assert ran.code == 1, what
    assert "Traceback" not in ran.err
    assert ran.json["code"]


@pytest.mark.slow
def test_a_killed_broker_leaves_nothing_that_keeps_the_next_from_starting(own: Any) -> None:
    """A dead socket is taken away, and the store recovers."""
    with own:
        own.process.kill()
        own.process.wait(60)
    assert (own.directory / "run/operators.sock").exists()

    with own:
        assert own.daemon.get("/v1/status")["trouble"] is None


def test_the_program_is_found_from_anywhere(process: Aam, own: Any) -> None:
    """A relative directory is relative to where the command is given."""
    ran = subprocess.run(
        [Path(sys.executable).with_name("aam"), "check", "access"],
        cwd=own.directory.parent,
        capture_output=True,
        text=True,
        check=False,
    )

    assert ran.returncode == 0
    assert process("check", str(own.directory)).out == ran.stdout
