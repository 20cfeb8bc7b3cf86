"""`aam trail`: what was recorded, one call of it, all of it on disk whole or not at all, and what can be proved."""

import http.server
import json
import os
import signal
import socket
import socketserver
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client, StdioServerParameters
from mcp_types import Implementation

from broker.cli.output import console
from broker.cli.records import RecordLines

Aam = Callable[..., Any]
AAM = Path(sys.executable).with_name("aam")

# What a client says of itself is its own choice
SCREEN = 40  # lines
HOSTILE = "\x1b]0;owned\x07\x1b[2J\x9b1m\u202eknat[bold red]"


@pytest.fixture(scope="module")
def called(shared: Any) -> str:
    """Let a client with a hostile name call, and be refused; return the id of its refused call."""
    server = StdioServerParameters(
        command=str(AAM),
        args=["stdio", "--socket", str(shared.directory / "run/agents.sock"), "--agent", "finance-analyst"],
    )

    async def call() -> str:
        async with Client(server, client_info=Implementation(name=HOSTILE, version=HOSTILE)) as client:
            await client.call_tool("salesforce_accounts_search", {"limit": 1, "fields": ["Id"]})
            answer = await client.call_tool("salesforce_accounts_export", {})
            return str((answer.meta or {})["dev.envisionai.access/call_id"])

    return anyio.run(call)


def test_the_newest_records_are_shown_oldest_first(aam: Aam, served: Any, called: str) -> None:
    """Issue 2, What a user can do 3: `aam trail tail`: records a line, under the id of their call."""
    ran = aam("trail", "tail", "--last", "3", "--dir", served.directory)
    as_json = aam("trail", "tail", "--last", "3", "--dir", served.directory, "--json").json

    assert [record["kind"] for record in as_json] == ["requested", "decided", "finished"]
    first, *lines = ran.out.splitlines()
    assert first == f"call {called}"
    assert [line.split()[2] for line in lines] == ["requested", "decided", "finished"]
    assert "deny (finance-analyst-readonly tools[0].deny)" in lines[1]
    assert "refused access_denied" in lines[2]


def test_calls_that_ended_alike_can_be_picked_out(aam: Aam, served: Any, called: str) -> None:
    """`--status`, as `aam serve` advises after a crash."""
    as_json = aam("trail", "tail", "--status", "refused", "--last", "1", "--dir", served.directory, "--json").json
    nothing = aam("trail", "tail", "--status", "outcome_unknown", "--dir", served.directory)

    assert [record["call_id"] for record in as_json] == [called]
    assert nothing.out == "The trail has no such records.\n"


@pytest.mark.parametrize(
    ("word", "meant"), [("refusd", "did you mean 'refused'?"), ("x", "there is released, refused")]
)
def test_an_end_that_no_call_has_is_misuse_and_the_nearest_is_named(
    aam: Aam, served: Any, word: str, meant: str
) -> None:
    """An empty answer would read as 'nothing was refused'."""
    ran = aam("trail", "tail", "--status", word, "--dir", served.directory)

    assert (ran.code, ran.out) == (2, "")
    assert meant in ran.err


def test_the_columns_of_records_align() -> None:
    """Whatever their kind."""
    with console.capture() as shown:
        RecordLines().show(
            [
                {"seq": 1, "time": "2026-11-23T10:00:00Z", "kind": kind, "actor": {"user": "WHO"}}
                for kind in ("started", "documents_refused", "authentication_refused")
            ]
        )

    assert len({line.index("WHO") for line in shown.get().splitlines()}) == 1


def test_a_call_is_shown_with_everything_that_is_recorded_of_it(aam: Aam, served: Any, called: str) -> None:
    """Issue 2, What a user can do 3: `aam trail show CALL`."""
    ran = aam("trail", "show", called, "--dir", served.directory)
    as_fields = aam("trail", "show", called, "--records", "--dir", served.directory)
    as_json = aam("trail", "show", called, "--dir", served.directory, "--json").json

    assert [record["call_id"] for record in as_json["records"]] == [called] * 3
    for part in ("spiffe://prod/agent/finance-analyst", "proved by unix-peer", "salesforce.accounts export", "deny"):
        assert part in ran.out
    for part in ("identity.spiffe_id", "policy.rules[0].sha256", "prev_hash"):
        assert part in as_fields.out
    assert len(ran.out.splitlines()) <= SCREEN


def test_a_calls_proofs_are_written_and_anybody_can_check_them(
    aam: Aam, served: Any, called: str, tmp_path: Path
) -> None:
    """Issue 3, What a user can do 1: `--proof FILE` writes a `.tlog-proof` for it."""
    key = served.daemon.get("/v1/trail/keys")[0]["vkey"]

    ran = aam("trail", "show", called, "--proof", tmp_path / "call.tlog-proof", "--dir", served.directory)
    again = aam("trail", "show", called, "--proof", tmp_path / "call.tlog-proof", "--dir", served.directory)

    assert (ran.code, again.code) == (0, 2)
    names = {"call.tlog-proof", "call.decided.tlog-proof", "call.requested.tlog-proof"}
    assert {path.name for path in tmp_path.iterdir()} == names
    for name in names:
        assert aam("trail", "verify", tmp_path / name, "--key", key).code == 0
        assert aam("trail", "verify", tmp_path / name).code == 2
    changed = (tmp_path / "call.tlog-proof").read_text().replace("index ", "index 1")
    (tmp_path / "changed.tlog-proof").write_text(changed)
    assert aam("trail", "verify", tmp_path / "changed.tlog-proof", "--key", key).code == 1


def test_a_call_that_is_not_there_is_misuse(aam: Aam, served: Any) -> None:
    """Whatever is given as an id becomes one segment of a path."""
    for name in ("01980e2b", "../../v1/status", "a b", "é"):
        assert aam("trail", "show", name, "--dir", served.directory).code == 2


def test_no_name_of_a_client_reaches_the_terminal_as_more_than_text(aam: Aam, served: Any, called: str) -> None:
    """What a client says of itself is recorded and shown, and does nothing to whoever reads it."""
    for command in (["tail", "--last", "50"], ["show", called]):
        for more in ([], ["--json"]):
            said = aam("trail", *command, "--dir", served.directory, *more).out
            assert all(character.isprintable() or character == "\n" for character in said)

    assert "knat[bold red]" in aam("trail", "show", called, "--dir", served.directory).out
    shown = aam("trail", "show", called, "--dir", served.directory, "--json").json
    assert shown["records"][0]["origin"]["client"] == HOSTILE


def test_following_the_trail_shows_what_comes(served: Any) -> None:
    """Issue 2, What a user can do 3: JSON is one record a line, so that another program can read along."""
    following = subprocess.Popen(
        [AAM, "trail", "tail", "--follow", "--last", "1", "--json", "--dir", served.directory],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert following.stdout is not None
    first = json.loads(following.stdout.readline())

    served.daemon.post("/v1/grants/salesforce/test")
    came = []
    for line in following.stdout:  # what an earlier test has left to be recorded may come before
        came.append(json.loads(line))
        if came[-1]["kind"] == "grant_tested":
            break
    following.send_signal(signal.SIGINT)

    assert came[-1]["kind"] == "grant_tested"
    assert [one["seq"] - first["seq"] for one in came] == list(range(1, len(came) + 1))
    assert following.wait(60) == 0
    following.stdout.close()


# --- Export and verify ------------------------------------------------------------------------------------------------


def test_the_trail_is_exported_whole_and_verifies(aam: Aam, served: Any, called: str, tmp_path: Path) -> None:
    """Issue 2, What a user can do 3: JSON Lines of canonical records with size and root."""
    exported = aam("trail", "export", tmp_path / "trail.jsonl", "--dir", served.directory, "--json")
    verified = aam("trail", "verify", tmp_path / "trail.jsonl", "--json")

    lines = (tmp_path / "trail.jsonl").read_text().splitlines()
    assert (exported.code, verified.code) == (0, 0)
    assert exported.json["size"] == len(lines) - 1 == verified.json["records"]
    assert exported.json["root"] == verified.json["root"]
    assert any(called in line for line in lines)
    assert verified.json["ok"]
    assert verified.json["not_proved"]


def test_an_export_is_its_owners_alone(aam: Aam, served: Any, tmp_path: Path) -> None:
    """It says who called what and when."""
    aam("trail", "export", tmp_path / "trail.jsonl", "--dir", served.directory)

    assert stat.S_IMODE((tmp_path / "trail.jsonl").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["trail.jsonl"]


def test_the_running_brokers_trail_verifies(aam: Aam, served: Any) -> None:
    """Issue 2, What a user can do 3: without a file, the live trail; and what is left open is said."""
    ran = aam("trail", "verify", "--dir", served.directory)

    assert ran.code == 0
    assert "unchanged, complete and in order" in ran.out
    assert "not proved" in ran.out
    assert "That head was signed by" in ran.out
    assert "named by the export itself" in ran.out


def test_a_changed_byte_is_found_and_its_record_named(aam: Aam, served: Any, called: str, tmp_path: Path) -> None:
    """Issue 2, What a user can do 1: `aam trail verify FILE` names the record."""
    aam("trail", "export", tmp_path / "trail.jsonl", "--dir", served.directory)
    lines = (tmp_path / "trail.jsonl").read_text().splitlines(keepends=True)
    place = next(number for number, line in enumerate(lines) if called in line)
    lines[place] = lines[place].replace("finance", "finanse", 1)
    (tmp_path / "altered.jsonl").write_text("".join(lines))

    ran, as_json = (aam("trail", "verify", tmp_path / "altered.jsonl", *more) for more in ((), ("--json",)))

    assert (ran.code, as_json.code) == (1, 1)
    assert f"record {place - 1}:" in ran.out
    assert (as_json.json["ok"], as_json.json["first_bad_record"]) == (False, place - 1)


@pytest.mark.parametrize("content", ["", "x", "{}\n", "[" * 9999, '{"export":"other"}\n'])
def test_a_file_that_is_no_export_does_not_hold(aam: Aam, tmp_path: Path, content: str) -> None:
    """It was looked at, and something is wrong with it: 1."""
    (tmp_path / "x.jsonl").write_text(content)

    ran = aam("trail", "verify", tmp_path / "x.jsonl", "--json")

    assert ran.code == 1
    assert not ran.json["ok"]


@pytest.mark.parametrize("name", ["nowhere.jsonl", "."])
def test_a_file_that_cannot_be_read_is_misuse(aam: Aam, tmp_path: Path, name: str) -> None:
    """It could not be looked at: 2."""
    assert aam("trail", "verify", tmp_path / name).code == 2


@pytest.mark.parametrize("name", ["nowhere/trail.jsonl", "a-directory"])
def test_where_nothing_can_be_written_an_export_is_misuse(aam: Aam, served: Any, tmp_path: Path, name: str) -> None:
    """And nothing is left behind."""
    (tmp_path / "a-directory").mkdir()

    ran = aam("trail", "export", tmp_path / name, "--dir", served.directory)

    assert ran.code == 2
    assert [path.name for path in tmp_path.rglob("*")] == ["a-directory"]


class _HalfAnExport(http.server.BaseHTTPRequestHandler):
    """A broker that dies in the middle of an export: how it ends is the server's `ending`."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        statement = {
            "export": "access.envisionai.dev/trail/v1",
            "last": "0" * 64,
            "log": "x",
            "root": "0" * 64,
            "size": 2,
        }
        body = json.dumps(statement).encode() + b"\n" + b'{"seq":0}\n'
        self.send_response(200)
        ending = self.server.ending  # type: ignore[attr-defined]
        if ending == "chunks":
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(f"{len(body):x}\r\n".encode() + body + b"\r\n")
        elif ending == "length":
            self.send_header("Content-Length", str(len(body) + 100))
            self.end_headers()
            self.wfile.write(body)
        else:
            self.send_header("Content-Length", str(len(body) if ending == "short" else 0))
            self.end_headers()
            self.wfile.write(body if ending == "short" else b"")
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Keep the test's output to itself."""

    def address_string(self) -> str:
        """Name nobody: a Unix socket has no address."""
        return ""


@pytest.fixture(params=["chunks", "length", "short", "nothing"])
def dying(request: pytest.FixtureRequest, own: Any) -> Iterator[Path]:
    """Serve half an export on the operators' socket."""
    (own.directory / "run").mkdir()

    class Server(socketserver.UnixStreamServer):
        ending = request.param

    with Server(str(own.directory / "run/operators.sock"), _HalfAnExport) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield own.directory
        server.shutdown()
        thread.join()


def test_half_an_export_never_stands_under_its_name(aam: Aam, dying: Path, tmp_path: Path) -> None:
    """It appears only once it is whole: a broker that dies meanwhile leaves nothing that looks like evidence."""
    before = {path.name for path in tmp_path.iterdir()}

    ran = aam("trail", "export", tmp_path / "trail.jsonl", "--dir", dying)

    assert ran.code == 1
    assert "Traceback" not in ran.err
    assert {path.name for path in tmp_path.iterdir()} == before


def test_half_a_trail_does_not_verify(aam: Aam, dying: Path) -> None:
    """What is missing is missing."""
    assert aam("trail", "verify", "--dir", dying).code == 1


def test_an_export_does_not_follow_a_link_that_somebody_put_there(aam: Aam, served: Any, tmp_path: Path) -> None:
    """The place may be one that others can write to, like /tmp; --force does not help."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    for name in ("trail.jsonl", "trail.jsonl.part", ".trail.jsonl"):
        (tmp_path / name).symlink_to(victim)

    assert aam("trail", "export", tmp_path / "trail.jsonl", "--force", "--dir", served.directory).code == 2

    assert victim.read_text() == "precious"
    assert (tmp_path / "trail.jsonl").is_symlink()


def test_an_export_never_takes_a_devices_place(aam: Aam, served: Any, tmp_path: Path) -> None:
    """As root, `aam trail export /dev/stdout` replaced the link that every other program needs."""
    os.mkfifo(tmp_path / "device")

    for more in ((), ("--force",)):
        ran = aam("trail", "export", tmp_path / "device", *more, "--dir", served.directory)
        assert (ran.code, "no regular file" in ran.err) == (2, True)

    assert stat.S_ISFIFO((tmp_path / "device").stat().st_mode)


def test_an_export_replaces_another_only_by_force(aam: Aam, served: Any, tmp_path: Path) -> None:
    """It may be the evidence of last month."""
    (tmp_path / "trail.jsonl").write_text("evidence")

    refused = aam("trail", "export", tmp_path / "trail.jsonl", "--dir", served.directory)
    kept = (tmp_path / "trail.jsonl").read_text()
    forced = aam("trail", "export", tmp_path / "trail.jsonl", "--force", "--dir", served.directory)

    assert (refused.code, "--force" in refused.err, kept) == (2, True, "evidence")
    assert forced.code == 0
    assert aam("trail", "verify", tmp_path / "trail.jsonl").code == 0


def test_an_export_to_stdout_is_alone_there(process: Aam, served: Any, tmp_path: Path) -> None:
    """`aam trail export - | …`: what is said goes to stderr, and no file is named '-'."""
    ran = process("trail", "export", "-", "--dir", str(served.directory))
    (tmp_path / "trail.jsonl").write_text(ran.out)

    assert ran.code == 0
    assert "root" in ran.err
    assert all(json.loads(line) for line in ran.out.splitlines())
    assert process("trail", "verify", str(tmp_path / "trail.jsonl")).code == 0
    assert not Path("-").exists()
    assert process("trail", "export", "-", "--json", "--dir", str(served.directory)).code == 2


def test_what_is_no_broker_on_the_socket_is_said(aam: Aam, own: Any) -> None:
    """Something else may listen there."""
    (own.directory / "run").mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(own.directory / "run/operators.sock"))
        listener.listen()

        def hang_up() -> None:
            listener.accept()[0].close()

        thread = threading.Thread(target=hang_up)
        thread.start()

        ran = aam("status", "--dir", own.directory, "--json")
        thread.join()

    assert (ran.code, ran.json["code"]) == (1, "daemon_unreachable")
    assert os.fspath(own.directory) in ran.json["message"]
