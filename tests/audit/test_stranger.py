"""`python -m broker.audit verify`: on a stranger's machine, with what a stranger may have been given."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from broker.audit import LogKey
from broker.audit.check import check
from tests.support.evidence import Log, flipped, unpacked

ROOT = Path(__file__).parent.parent.parent
HOSTILE = "\x1b]0;owned\x07\x1b[2J\x9b1m\u202eknat\u2028"
LOADED = """
import runpy, sys
sys.argv = ["broker.audit", "verify", *sys.argv[1:]]
try:
    runpy.run_module("broker.audit", run_name="__main__", alter_sys=True)
finally:
    print(*sorted(sys.modules), file=sys.stderr)
"""

NO_TEXT: list[Any] = [5, None, [], {}, ["a"]]
OTHER_TYPES: dict[str, list[Any]] = {
    **dict.fromkeys(("checkpoint", "root", "last", "log"), NO_TEXT),
    "keys": [5, None, "", {}, [5], [{}], [{"vkey": 5, "endorsement": None}]],
    "filter": [5, None, "", [], {"agent": 5}, {"agent": None}],
    "size": ["3", None, True, -1],
}


@dataclass(frozen=True)
class Ran:
    """What the verifier did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it printed, as JSON."""
        return json.loads(self.out)


Verify = Callable[..., Ran]


@pytest.fixture
def verify(tmp_path: Path) -> Verify:
    """Run the verifier in a directory of its own."""

    def verify(*arguments: str | Path, program: tuple[str, ...] = ("-m", "broker.audit", "verify"), **env: str) -> Ran:
        ran = subprocess.run(
            [sys.executable, *program, *arguments],
            capture_output=True,
            timeout=60,
            check=False,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT), **env},
        )
        return Ran(ran.returncode, ran.stdout.decode(), ran.stderr.decode())

    return verify


@pytest.fixture
def log() -> Log:
    """Make a log."""
    return Log().grown(12)


@pytest.fixture
def export(log: Log, tmp_path: Path) -> Path:
    """Write an export of it."""
    (tmp_path / "trail.jsonl").write_bytes(log.export())
    return tmp_path / "trail.jsonl"


def test_evidence_that_holds_exits_with_zero_and_says_what_was_proved(verify: Verify, log: Log, export: Path) -> None:
    """Issue 3: nothing but the file and the public key; it says exactly what was proved and what could not be."""
    ran, as_json = verify(export, "--key", str(log.key)), verify(export, "--key", str(log.key), "--json")

    assert (ran.code, ran.err, as_json.code) == (0, "", 0)
    assert ran.out.splitlines()[0] == (
        "proved      12 records of the log access.example.com/log/test are unchanged, complete and in order up to the "
        "head."
    )
    assert "not proved  Records after this head, if any, are not covered." in ran.out
    assert (as_json.json["ok"], as_json.json["records"], as_json.json["first_bad_record"]) == (True, 12, None)
    assert as_json.json["root"] == log.head.root().hex()


def test_every_form_of_evidence_is_recognised(verify: Verify, log: Log, tmp_path: Path) -> None:
    """Issue 3: `python -m broker.audit verify BUNDLE|PROOF`."""
    bundle = log.bundle(tmp_path / "bundle.zip")
    (tmp_path / "one").write_text(log.proof(3).text())
    (tmp_path / "keys").write_text(f"{log.key}\n\n")

    for file in (bundle, unpacked(bundle, tmp_path / "unpacked"), tmp_path / "one"):
        ran = verify(file, "--key", tmp_path / "keys")
        assert (ran.code, ran.err) == (0, "")
        assert "proved" in ran.out


def test_evidence_that_does_not_hold_exits_with_one_and_names_the_record(
    verify: Verify, log: Log, export: Path
) -> None:
    """Issue 3: names the first bad record, exit 1."""
    content = export.read_bytes()
    export.write_bytes(flipped(content, content.index(b"number 7")))

    ran, as_json = verify(export, "--key", str(log.key)), verify(export, "--key", str(log.key), "--json")

    assert (ran.code, as_json.code) == (1, 1)
    assert ran.out.startswith("does not hold  record 7: ")
    assert "proved      " not in ran.out
    assert (as_json.json["ok"], as_json.json["first_bad_record"], as_json.json["proved"]) == (False, 7, [])


def misuses(log: Log, tmp_path: Path) -> list[list[str | Path]]:
    """Return arguments that are wrong, with nothing wrong with the evidence."""
    (tmp_path / "one").write_text(log.proof(3).text())
    (tmp_path / "no-keys").write_text("\n")
    (tmp_path / "head").write_text(Log("example.com/other").grown(3).checkpoint())
    (tmp_path / "directory").mkdir()
    return [
        [],
        ["trail.jsonl", "--nonsense"],
        ["nothing"],
        ["directory"],
        ["one"],
        ["trail.jsonl", "--key", "no-keys"],
        ["trail.jsonl", "--key", "nothing"],
        ["trail.jsonl", "--key", "nonsense+nonsense+nonsense"],
        ["trail.jsonl", "--key", "trail.jsonl"],
        ["trail.jsonl", "--key", "directory"],
        ["trail.jsonl", "--head", "nothing"],
        ["trail.jsonl", "--head", "trail.jsonl"],
        ["trail.jsonl", "--key", str(log.key), "--head", "head"],
    ]


@pytest.mark.parametrize("which", range(13))
def test_what_is_used_wrongly_exits_with_two(
    verify: Verify, log: Log, export: Path, tmp_path: Path, which: int
) -> None:
    """Exit codes: 2 used wrongly; a key file without a key is never as if none had been given."""
    assert export.exists()

    ran = verify(*misuses(log, tmp_path)[which])

    assert (ran.code, ran.out) == (2, "")
    assert ran.err
    assert "Traceback" not in ran.err


def test_a_file_that_has_the_name_of_the_key_is_not_taken_for_it(verify: Verify, log: Log, tmp_path: Path) -> None:
    """check.py, read_keys: whoever could unpack a file here cannot replace the key that the auditor typed."""
    impostor = Log()
    impostor.rotate()
    impostor.keys = [LogKey(impostor.key)]
    (tmp_path / str(log.key)).parent.mkdir(parents=True)
    (tmp_path / str(log.key)).write_text(f"{impostor.key}\n")
    (tmp_path / "trail.jsonl").write_bytes(log.export())

    assert verify("trail.jsonl", "--key", str(log.key)).code == 0
    assert verify("trail.jsonl", "--key", str(impostor.key)).code == 1


def test_a_head_that_was_kept_is_compared(verify: Verify, log: Log, export: Path, tmp_path: Path) -> None:
    """Issue 3: `--head FILE` compares with a signed head that was kept earlier."""
    (tmp_path / "kept").write_text(log.checkpoint(5))
    other = Log()
    other.add(note="another beginning")
    (tmp_path / "other").write_text(other.grown(5).checkpoint())

    assert "The head of 5 records that you hold is on its way." in verify(export, "--head", "kept").out
    assert verify(export, "--head", "other").code == 1


@pytest.mark.parametrize("form", ["log", "checkpoint", "filter", "record", "key", "manifest", "proof", "not UTF-8"])
def test_hostile_files_print_nothing_but_text(verify: Verify, tmp_path: Path, form: str) -> None:
    """What a file says does nothing to the terminal of whoever checks it, and nothing to the verifier."""
    log = Log().grown(3)
    bundle = unpacked(log.bundle(tmp_path / "bundle.zip"), tmp_path / "unpacked")
    content = log.export()
    file = tmp_path / "hostile"
    if form == "manifest":
        (bundle / HOSTILE).write_text("x")
        file = bundle
    else:
        file.write_bytes(
            {
                "log": Log("a\x9b\u202e").grown(3).export(),
                "checkpoint": content.replace(b"access.example.com/log/test\\n3", HOSTILE.encode() + b"\\n3"),
                "filter": log.export({1}, agent=HOSTILE),
                "record": content.replace(b'"seq":1', b'"seq":"\\u001b[2J\\ud800"'),
                "key": content.replace(b'"vkey":"', b'"vkey":"' + HOSTILE.encode()),
                "proof": log.proof(1).text().replace("index 1", f"index {HOSTILE}").encode(),
                "not UTF-8": log.proof(1).text().encode() + b"\xff\x9b",
            }[form]
        )
    for more in ([], ["--json"], ["--key", str(log.key)]):
        ran = verify(file, *more)
        assert ran.code in {0, 1, 2}
        assert "Traceback" not in ran.err
        assert all(one.isprintable() or one == "\n" for one in ran.out + ran.err)


@pytest.mark.parametrize(
    ("member", "value"),
    [(member, value) for member, values in OTHER_TYPES.items() for value in values],
    ids=str,
)
def test_a_statement_of_other_types_is_no_statement(log: Log, tmp_path: Path, member: str, value: Any) -> None:
    """statement.py: whatever stands in the place of a text, the answer is a refusal, and no traceback."""
    first, rest = log.export().split(b"\n", 1)
    wrong = json.dumps(json.loads(first) | {member: value}, separators=(",", ":"), sort_keys=True, ensure_ascii=False)
    (tmp_path / "wrong.jsonl").write_bytes(wrong.encode() + b"\n" + rest)

    with pytest.raises(ValueError, match="the statement of a trail export"):
        check(tmp_path / "wrong.jsonl")


def test_a_terminal_without_unicode_gets_text_all_the_same(verify: Verify, tmp_path: Path) -> None:
    """__main__.py: what cannot be shown is shown as a question mark."""
    (tmp_path / "trail.jsonl").write_bytes(Log("accès.example.com").grown(3).export())

    ran = verify("trail.jsonl", PYTHONIOENCODING="ascii:strict", PYTHONUTF8="0")

    assert (ran.code, ran.err) == (0, "")
    assert "acc?s.example.com" in ran.out


def test_an_auditor_needs_to_read_one_room_only(verify: Verify, log: Log, tmp_path: Path) -> None:
    """audit/__init__.py: it imports nothing of ours but errors; so no other part of the broker can decide."""
    bundle = log.bundle(tmp_path / "bundle.zip")

    ran = verify(bundle, "--key", str(log.key), program=("-c", LOADED))

    ours = {name for name in ran.err.split() if name.partition(".")[0] in {"broker", "connectors", "tests"}}
    assert ran.code == 0
    assert "broker.audit.bundle" in ours
    assert {name for name in ours if not name.startswith("broker.audit")} <= {"broker", "broker.errors"}


def test_no_network_is_asked(verify: Verify, log: Log, export: Path) -> None:
    """__main__.py: needs neither a broker nor a network; a socket would raise."""
    closed = "import socket\ndef refuse(*_, **__): raise SystemExit(9)\nsocket.socket.connect = refuse\n"

    assert verify(export, "--key", str(log.key), program=("-c", closed + LOADED)).code == 0
