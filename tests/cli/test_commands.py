"""What holds for every command: help with an example, JSON, exit statuses, and never a traceback."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer.main

import broker
from broker.cli import commands, daemon
from broker.cli.output import as_json_text, plain

Aam = Callable[..., Any]
AAM = Path(sys.executable).with_name("aam")

COMMANDS = (
    ("policy", "explain"),
    ("policy", "test"),
    ("policy", "diff"),
    ("policy", "replay"),
    ("demo",), ("init",), ("check",), ("serve",), ("status",), ("metrics",), ("doctor",), ("stdio",),
    ("client-config",), ("agents",),
    ("agents", "suspend"), ("agents", "resume"), ("agents", "suspensions"),
    ("approvals", "list"), ("approvals", "show"), ("approvals", "approve"), ("approvals", "refuse"),
    ("budget",), ("budget", "list"), ("budget", "show"), ("budget", "raise"), ("budget", "raises"),
    ("budget", "withdraw"), ("budget", "overruns"), ("budget", "acknowledge"), ("spend",),
    ("models", "list"), ("models", "test"), ("import", "openrouter"), ("import", "litellm"),
    ("tools",), ("grants", "add"), ("grants", "client"), ("grants", "connect"), ("grants", "list"), ("grants", "show"),
    ("grants", "test"), ("grants", "rotate"), ("grants", "revoke"), ("vault", "rotate-key"),
    ("connectors",), ("keys", "add"), ("keys", "list"), ("keys", "revoke"),
    ("connector", "add"), ("connector", "list"), ("connector", "show"), ("connector", "test"), ("connector", "remove"),
    ("connector", "new"),
    ("connector", "snapshot"), ("connector", "approve"),
    ("trail", "tail"), ("trail", "show"), ("trail", "export"), ("trail", "verify"),
    ("trail", "checkpoint"), ("trail", "keys"), ("trail", "rotate-key"), ("trail", "prune"),
    ("trail", "erase"), ("trail", "hold", "add"), ("trail", "hold", "list"), ("trail", "hold", "release"),
    ("trail", "search"), ("trail", "reindex"), ("trail", "report"),
    ("documents", "history"), ("documents", "show"), ("documents", "rollback"), ("dev", "token"),
)  # fmt: skip
NEED_A_BROKER = (
    ("status",), ("metrics",), ("agents",), ("agents", "suspend", "x", "--reason", "x"),
    ("agents", "resume", "x", "--reason", "x"),
    ("agents", "suspensions"), ("approvals", "list"), ("approvals", "show", "x"),
    ("approvals", "approve", "x", "--reason", "x"), ("approvals", "refuse", "x", "--reason", "x"),
    ("budget",), ("budget", "list"), ("budget", "show", "x"), ("budget", "raises"), ("budget", "overruns"),
    ("budget", "raise", "x", "--by", "1", "--until", "1h", "--reason", "x"),
    ("budget", "withdraw", "x", "--reason", "x"), ("budget", "acknowledge", "x", "--reason", "x"), ("spend",),
    ("models", "list"), ("models", "test", "x"), ("tools", "--as", "x"), ("grants", "list"), ("grants", "test", "x"),
    ("grants", "revoke", "x"), ("grants", "show", "x"), ("grants", "rotate", "x"), ("grants", "connect", "x"),
    ("vault", "rotate-key"), ("grants", "client", "x", "--client-id", "x", "--client-auth", "none"),
    ("connectors",), ("keys", "list"), ("keys", "add", "x"), ("keys", "revoke", "x", "--reason", "x"),
    ("connector", "list"), ("connector", "show", "x"), ("connector", "test", "x"),
    ("connector", "snapshot", "x"), ("connector", "approve", "x"), ("trail", "tail"), ("trail", "show", "x"),
    ("trail", "verify"), ("trail", "checkpoint"), ("trail", "keys"), ("trail", "rotate-key"),
    ("trail", "erase", "--call", "x", "--reason", "x", "--yes"), ("trail", "hold", "list"),
    ("trail", "hold", "add", "x", "--call", "x", "--reason", "x"), ("trail", "hold", "release", "x", "--reason", "x"),
    ("trail", "search"), ("trail", "reindex"), ("trail", "report", "--month", "2026-10"),
    ("documents", "history"), ("documents", "show", "abcd"),
    ("documents", "rollback", "abcd", "--reason", "why", "--yes"),
)  # fmt: skip
NEED_DOCUMENTS = (("client-config", "x"), ("dev", "token", "x"))


def leaves(command: Any, *path: str) -> list[tuple[str, ...]]:
    """Return every command at or below one, by its whole name."""
    if not hasattr(command, "commands"):
        return [path]
    own = [path] if command.invoke_without_command else []
    return own + [leaf for name, below in command.commands.items() for leaf in leaves(below, *path, name)]


def test_every_command_is_known_to_these_tests() -> None:
    """A new command comes under what follows."""
    found: list[tuple[str, ...]] = []
    for name in commands.COMMANDS:
        if name == "stdio":
            found.append((name,))
            continue
        command: Any = commands.CommandsByName().get_command(None, name)
        assert isinstance(command, typer.core.TyperCommand | typer.core.TyperGroup)
        found += leaves(command, name)

    assert sorted(found) == sorted(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_help_with_an_example(aam: Aam, process: Aam, command: tuple[str, ...]) -> None:
    """Issue 2, What a user can do: whoever meets a command first sees how it is used."""
    run = process if command == ("stdio",) else aam

    ran = run(*command, "--help")

    assert ran.code == 0
    assert f"Example: aam {' '.join(command)}" in " ".join(ran.out.replace("│", " ").split())


@pytest.mark.parametrize("command", commands.COMMANDS)
def test_no_command_offers_to_install_completion(aam: Aam, command: str) -> None:
    """It is noise in the help of each, and would not work: none of them is a program of its own."""
    assert "completion" not in aam(command, "--help").out


def test_the_version_is_printed(aam: Aam) -> None:
    """The first thing that a report of a mistake needs."""
    ran = aam("--version")

    assert (ran.code, ran.out) == (0, f"aam {broker.__version__}\n")


@pytest.mark.parametrize("command", [one for one in COMMANDS if one != ("stdio",)], ids=" ".join)
def test_every_command_but_the_relay_speaks_json(aam: Aam, command: tuple[str, ...]) -> None:
    """Issue 2, What a user can do 3: each with --json."""
    assert "--json" in aam(*command, "--help").out


def test_the_list_of_commands_says_what_each_does(aam: Aam) -> None:
    """The summary in the list is the table's; the command's own help begins with what it does too."""
    listed = " ".join(aam("--help").out.replace("│", " ").split())

    assert all(f"{name} {summary.split('.')[0]}" in listed for name, (_, summary) in commands.COMMANDS.items())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["stutus"], "Did you mean 'status'?"),
        (["trail", "tial"], "Did you mean 'tail'?"),
        (["status", "--jsn"], "--json"),
        (["status", "--dir", "/nowhere"], "does not exist"),
        (["check", "/nowhere"], "does not exist"),
        (["doctor", "/nowhere"], "does not exist"),
        (["serve", "/nowhere"], "does not exist"),
        (["check", "/etc/passwd"], "is a file"),
        (["trail", "tail", "--last", "0"], "greater than or equal to 1"),
        (["dev", "token", "x", "--seconds", "1"], "greater than or equal to 5"),
        (["tools"], "--as"),
        (["grants", "add", "x"], "--client-id"),
    ],
)  # fmt: skip
def test_a_command_that_is_used_wrongly_ends_with_2(aam: Aam, arguments: list[str], words: str) -> None:
    """CLI rules: 0 fine, 1 found a problem, 2 used wrongly."""
    ran = aam(*arguments)

    assert ran.code == 2
    assert words in " ".join(ran.err.replace("│", " ").split())
    assert "Traceback" not in ran.err


@pytest.mark.parametrize("command", NEED_A_BROKER, ids=" ".join)
def test_without_a_broker_a_command_says_so_and_ends_with_1(aam: Aam, tmp_path: Path, command: tuple[str, ...]) -> None:
    """Found a problem; the same with --json, on stdout and alone."""
    assert aam("init", tmp_path / "access").code == 0

    ran, as_json = (aam(*command, "--dir", tmp_path / "access", *more) for more in ((), ("--json",)))

    assert (ran.code, ran.out) == (1, "")
    assert "start one with 'aam serve" in ran.err
    assert (as_json.code, as_json.err) == (1, "")
    assert as_json.json["code"] == "daemon_unreachable"


@pytest.mark.parametrize("command", NEED_A_BROKER, ids=" ".join)
def test_in_a_directory_without_documents_a_command_says_which_to_name(
    aam: Aam, tmp_path: Path, command: tuple[str, ...]
) -> None:
    """Whoever forgets --dir is not told to start another broker."""
    ran = aam(*command, "--dir", tmp_path)

    assert ran.code == 1
    assert "There is no Broker document in" in ran.err


@pytest.mark.parametrize("command", NEED_A_BROKER, ids=" ".join)
def test_among_several_brokers_none_is_chosen(aam: Aam, tmp_path: Path, command: tuple[str, ...]) -> None:
    """A document that somebody planted must not say where keys are sent."""
    for name in ("prod", "staging"):
        assert aam("init", tmp_path / name).code == 0

    ran = aam(*command, "--dir", tmp_path, "--json")

    assert (ran.code, ran.json["code"]) == (1, "documents_invalid")
    for name in ("prod", "staging"):
        assert str(tmp_path / name / "broker.yaml") in ran.json["message"]


def test_nothing_is_sent_to_another_users_process(own: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who listens is asked of the kernel, before a private key leaves."""
    stranger = next(uid for uid in range(60_000, 60_003) if uid not in {os.getuid(), own.directory.stat().st_uid})
    monkeypatch.setattr(daemon, "listener_uid", lambda _connection: stranger)
    (own.directory / "run").mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(own.directory / "run/operators.sock"))
        listener.listen()

        with pytest.raises(daemon.ListenerUntrusted) as refused:
            own.add_grant()
        with listener.accept()[0] as accepted:
            received = accepted.recv(100_000)

    assert str(stranger) in refused.value.message
    assert received == b""


def test_the_listener_is_known_by_the_kernels_word(tmp_path: Path) -> None:
    """SO_PEERCRED: whoever owns the socket's file says nothing of who listens."""
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as client:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        if os.getuid() == 0:
            os.chown(tmp_path / "s", 12345, -1)
        client.connect(str(tmp_path / "s"))

        assert daemon.listener_uid(client) == os.getuid()


def test_a_socket_that_one_may_not_reach_is_said(aam: Aam, own: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """To start a second broker would be the wrong advice."""

    class Refusing(socket.socket):
        def connect(self, _address: Any) -> None:
            raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket, "socket", Refusing)

    ran, as_json = aam("status", "--dir", own.directory), aam("status", "--dir", own.directory, "--json")

    assert (as_json.code, as_json.json["code"]) == (1, "operator_unknown")
    assert "operators_group" in ran.err
    assert "aam serve" not in ran.err


@pytest.mark.parametrize("command", NEED_DOCUMENTS, ids=" ".join)
@pytest.mark.parametrize("more", [(), ("--json",)], ids=["text", "json"])
def test_with_mistakes_in_the_documents_a_command_says_so(
    aam: Aam, tmp_path: Path, command: tuple[str, ...], more: tuple[str, ...]
) -> None:
    """The code is that of the documents, and the first mistakes are named."""
    (tmp_path / "x.yaml").write_text("a: [")

    ran = aam(*command, "--dir", tmp_path, *more)

    assert ran.code == 1
    assert "documents_invalid" in (ran.out if more else ran.err)
    assert "x.yaml:1" in (ran.out if more else ran.err)


@pytest.mark.parametrize(
    "command", [("client-config", "finance-analist"), ("dev", "token", "finance-analist")], ids=" ".join
)
def test_an_agent_that_is_not_registered_is_misuse_and_the_nearest_is_named(
    aam: Aam, own: Any, command: tuple[str, ...]
) -> None:
    """Issue 2, What a user can do 3: the nearest right word."""
    ran, as_json = (aam(*command, "--dir", own.directory, *more) for more in ((), ("--json",)))

    assert (ran.code, as_json.code) == (2, 2)
    assert "did you mean 'finance-analyst'?" in ran.err
    assert "did you mean 'finance-analyst'?" in as_json.json["message"]


# --- As processes -----------------------------------------------------------------------------------------------------

HEAVY = (
    "mcp", "aiohttp", "simple_salesforce", "starlette", "uvicorn", "joserfc", "authlib", "httpx2",
    "requests", "jsonschema_rs", "asyncio", "anyio", "sqlite_utils", "keyring",
)  # fmt: skip


@pytest.mark.parametrize(
    "command",
    [("status",), ("agents",), ("tools", "--as", "x"), ("grants", "list"), ("trail", "tail"), ("trail", "verify"),
     ("connector", "snapshot", "x")],
    ids=" ".join,
)  # fmt: skip
def test_small_commands_stay_small(command: tuple[str, ...], tmp_path: Path) -> None:
    """architecture.md, The rooms: loaded by name; only check, serve, demo, doctor pull in mcp or connectors."""
    program = (
        "import sys\nsys.argv = ['aam', *sys.argv[1:]]\nfrom broker.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        f"print('loaded', [name for name in {HEAVY!r} if name in sys.modules])"
    )

    ran = subprocess.run(
        [sys.executable, "-c", program, *command, "--dir", tmp_path], capture_output=True, text=True, check=True
    )

    assert ran.stdout.splitlines()[-1] == "loaded []"


def test_the_relay_stays_tiny() -> None:
    """architecture.md, Processes and people: the relay holds nothing and imports little; it stays with every agent."""
    program = (
        "import sys\nbefore = set(sys.modules)\nsys.argv = ['aam', 'stdio', '--help']\nfrom broker.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print(sorted({name.split('.')[0] for name in set(sys.modules) - before}))"
    )

    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    loaded = set(json.loads(ran.stdout.splitlines()[-1].replace("'", '"')))
    assert loaded <= {*sys.stdlib_module_names, "broker"}
    assert "asyncio" not in loaded
    assert len(loaded) < 60


@pytest.mark.slow
@pytest.mark.parametrize("command", [("check",), ("trail", "tail", "--json"), ("trail", "tail", "--last", "1000")])
def test_whoever_stops_reading_early_gets_no_traceback(served: Any, command: tuple[str, ...]) -> None:
    """`aam … | head -1`."""
    place = [str(served.directory)] if command == ("check",) else ["--dir", str(served.directory)]

    ran = subprocess.run(
        ["/bin/sh", "-c", '"$@" | head -1 > /dev/null', "sh", AAM, *command, *place],
        capture_output=True,
        text=True,
        check=False,
    )

    assert ran.stderr == ""


@pytest.mark.slow
def test_a_good_set_never_ends_with_1(own: Any) -> None:
    """`aam check … | head -1`: 1 would say that the set has mistakes."""
    (own.directory / "more").mkdir()
    agent = (own.directory / "agents/finance-analyst.yaml").read_text()
    for number in range(200):  # each brings a warning, so that the pipe breaks
        text = agent.split("  # A local process")[0].replace("finance-analyst", f"agent-{number}")
        (own.directory / f"more/{number}.yaml").write_text(text)

    for more in ((), ("--json",)):
        with subprocess.Popen([AAM, "check", own.directory, *more], stdout=subprocess.PIPE) as checking:
            assert checking.stdout is not None
            checking.stdout.close()  # whoever reads has left before it says anything
            assert checking.wait(60) == 141


def test_a_full_disk_gets_a_sentence(served: Any) -> None:
    """`aam … > /dev/full`, by rich and by JSON."""
    for more in ((), ("--json",)):
        with Path("/dev/full").open("w") as full:
            ran = subprocess.run(
                [AAM, "agents", "--dir", served.directory, *more],
                stdout=full, stderr=subprocess.PIPE, text=True, check=False,
            )  # fmt: skip

        assert ran.returncode == 1
        assert "No space left on device" in ran.stderr
        assert len(ran.stderr.splitlines()) == 1


def test_a_closed_stdout_gets_no_traceback(served: Any) -> None:
    """`aam … >&-`, as some service managers start programs."""
    ran = subprocess.run(
        ["/bin/sh", "-c", '"$@" >&-', "sh", AAM, "check", served.directory], capture_output=True, text=True, check=False
    )

    assert "Traceback" not in ran.stderr


def test_a_terminal_without_our_characters_gets_the_sentence(process: Aam, served: Any) -> None:
    """A name in another script is no reason to fail."""
    ran = process("check", str(served.directory), PYTHONIOENCODING="ascii")

    assert ran.code == 0
    assert "Traceback" not in ran.err


def test_ctrl_c_ends_a_command_without_a_traceback(served: Any) -> None:
    """Following the trail is ended this way, and that is fine."""
    following = subprocess.Popen(
        [AAM, "trail", "tail", "--follow", "--dir", served.directory],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert following.stdout is not None
    assert following.stdout.readline()

    following.send_signal(signal.SIGINT)
    _, said = following.communicate(timeout=60)

    assert (following.returncode, said) == (0, "")


# --- What is printed --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["\x1b[2J", "\x9b31m", "\x07", "a\rb", "\u202egnp.exe", "\x7f", "\ud800", "\U000e0041"]
)
def test_no_text_does_anything_to_a_terminal(text: str) -> None:
    """What clients, services and other people wrote is shown, never obeyed; JSON keeps it, escaped."""
    assert plain(text).isprintable()
    assert as_json_text(text).isprintable()
    assert json.loads(as_json_text({"name": text})) == {"name": text}


def test_markup_in_text_is_shown_as_text(aam: Aam, tmp_path: Path) -> None:
    """A file name cannot colour the screen, nor hide behind a link."""
    (tmp_path / "[red]x.yaml").write_text("a: [")

    assert "[red]x.yaml" in aam("check", tmp_path).out
