import contextlib
import os
import resource
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
import requests

from tests.support.broker import BrokerProcess, Record, locked, until
from tests.support.clients import Answered, Wire
from tests.support.documents import write_documents
from tests.support.notes import NotesService

pytestmark = pytest.mark.slow

MOST = 3000
"""Calls that a full disk may still have room for."""
STORY = ["requested", "decided", "finished"]
Again = Callable[[], None]
Trouble = Callable[[BrokerProcess, Path], AbstractContextManager[Again]]


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Give a small disk of its own to the store, where this user may mount one; a directory otherwise."""
    place = tmp_path_factory.mktemp("disk")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)], capture_output=True, check=False
    )
    yield place
    if mounted.returncode == 0:
        subprocess.run(["umount", str(place)], check=True)


@pytest.fixture(scope="module")
def process(
    notes_service: NotesService, tmp_path_factory: pytest.TempPathFactory, disk: Path
) -> Iterator[BrokerProcess]:
    """Serve from a process of its own, with its store on the small disk, which may be had in trouble."""
    place = tmp_path_factory.mktemp("trouble")
    (place / "troubles").mkdir()
    written = write_documents(
        place / "access", notes_service, store=str(disk / "broker.db"), trail={"checkpoint_seconds": 1}
    )
    with BrokerProcess(written, environment=preloaded(place, disk)) as process:
        process.connect_notes()
        yield process


def preloaded(place: Path, disk: Path) -> dict[str, str]:
    """Build what makes a disk fail as files say; return what has a program load it, nothing where that cannot be."""
    library, source = place / "disk.so", Path(__file__).parents[1] / "support/disk.c"
    compiler = shutil.which("cc")
    if compiler is None:
        return {}
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"], check=True, timeout=60)
    return {"LD_PRELOAD": str(library), "AAM_DISK": str(disk), "AAM_TROUBLE": str(place / "troubles")}


@contextlib.contextmanager
def disk_full(_process: BrokerProcess, database: Path) -> Iterator[Again]:
    """Fill the disk; what the broker sets free meanwhile is filled again when asked."""
    if not os.path.ismount(database.parent):
        pytest.skip("this user may not mount a disk to be filled")
    filler = database.parent / "filler"

    def fill() -> None:
        with filler.open("ab", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(b"x" * 4096)

    try:
        yield fill
    finally:
        filler.unlink()


@contextlib.contextmanager
def no_file_may_grow(process: BrokerProcess, _database: Path) -> Iterator[Again]:
    """Let no write of the process succeed, as a quota would."""
    pid = process.process.pid
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (1, before[1]))
    try:
        yield nothing
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before)


@contextlib.contextmanager
def locked_by_another(_process: BrokerProcess, database: Path) -> Iterator[Again]:
    """Lock the store from another process."""
    with locked(database):
        yield nothing


@contextlib.contextmanager
def read_only(process: BrokerProcess, _database: Path) -> Iterator[Again]:
    """Have every write to the disk refused with EROFS, as a file system does that has found an error in itself."""
    with flagged(process, "read-only"):
        yield nothing


@contextlib.contextmanager
def slow_disk(process: BrokerProcess, _database: Path) -> Iterator[Again]:
    """Have no sync of the disk come back."""
    with flagged(process, "slow"):
        yield nothing


@contextlib.contextmanager
def flagged(process: BrokerProcess, trouble: str) -> Iterator[None]:
    """Have the disk in trouble."""
    if "LD_PRELOAD" not in process.environment:
        pytest.skip("there is no C compiler here to build a disk in trouble with")
    flag = Path(process.environment["AAM_TROUBLE"]) / trouble
    flag.touch()
    try:
        yield
    finally:
        flag.unlink()


@contextlib.contextmanager
def broken_signing_key(process: BrokerProcess, database: Path) -> Iterator[Again]:
    """Put another thing in the place of the key that signs heads, until the broker has noticed."""
    with contextlib.closing(sqlite3.connect(database, isolation_level=None)) as connection:
        ((number, sealed),) = connection.execute("SELECT number, sealed FROM signing_keys WHERE sealed <> ''")
        connection.execute("UPDATE signing_keys SET sealed = 'AAAA' WHERE number = ?", (number,))
        until(lambda: not is_ready(process))
        try:
            yield nothing
        finally:
            connection.execute("UPDATE signing_keys SET sealed = ? WHERE number = ?", (sealed, number))


def nothing() -> None:
    """Do nothing: the trouble lasts by itself."""


def is_ready(process: BrokerProcess) -> bool:
    """Tell whether the broker says that it serves calls."""
    return requests.get(f"{process.url}/readyz", timeout=60).status_code == 200


@pytest.mark.parametrize(
    "trouble", [disk_full, no_file_may_grow, locked_by_another, read_only, slow_disk, broken_signing_key]
)
def test_what_cannot_be_recorded_is_not_done(
    process: BrokerProcess, notes_service: NotesService, disk: Path, trouble: Trouble
) -> None:
    """NIST AU-5 in audit.md C5: refused with a code, none executed unrecorded, and it resumes by itself."""
    wire = Wire(process)
    until(lambda: is_ready(process))
    assert wire.call("notes_notes_write", {"id": "before"}).code is None
    before = list(notes_service.effects)

    done: list[str] = []
    refused: list[Answered] = []
    with trouble(process, disk / "broker.db") as again:
        while len(refused) < 2 and len(done) < MOST:  # what the store has room for already, it still records
            again()
            answer = wire.call("notes_notes_write", {"id": f"during-{len(done)}"})
            if answer.code is None:
                done.append(f"during-{len(done)}")
            else:
                refused.append(answer)
        again()
        ready = requests.get(f"{process.url}/readyz", timeout=60)
        listed = wire.tools()
    until(lambda: is_ready(process))
    after = wire.call("notes_notes_write", {"id": "after"})

    assert [one.code for one in refused] == ["audit_unavailable"] * 2
    assert (ready.status_code, ready.json()) == (503, {"status": "audit_unavailable"})
    assert listed
    assert after.code is None
    assert notes_service.effects == [*before, *done, "after"]
    records = list(process.records())
    assert [one["kind"] for one in records if one.get("call_id") == after.call_id] == STORY
    of_refused = [one["outcome"]["status"] for one in records if is_end_of(one, refused)]
    assert set(of_refused) <= {"refused"}
    assert not any(one["outcome"]["status"] == "outcome_unknown" for one in records if one["kind"] == "finished")


def is_end_of(record: Record, calls: list[Answered]) -> bool:
    """Tell whether a record is the last of one of the calls."""
    return record["kind"] == "finished" and record["call_id"] in {one.call_id for one in calls}


def test_a_store_that_failed_says_when_it_took_records_again(process: BrokerProcess, disk: Path) -> None:
    """Issue 3: what was not recorded leaves a trace of its own: from when on records were taken again."""
    before = sum(one["kind"] == "recording_resumed" for one in process.records())
    with locked(disk / "broker.db"):
        assert Wire(process).call("notes_notes_write", {"id": "never"}).code == "audit_unavailable"

    until(lambda: sum(one["kind"] == "recording_resumed" for one in process.records()) > before)


def test_a_broker_does_not_start_on_a_store_that_it_cannot_write(notes_service: NotesService, tmp_path: Path) -> None:
    """Issue 3: a read-only store is said at once, with a code and without a traceback."""
    disk, troubles = tmp_path / "disk", tmp_path / "troubles"
    disk.mkdir()
    troubles.mkdir()
    written = write_documents(tmp_path / "access", notes_service, store=str(disk / "broker.db"))
    environment = preloaded(tmp_path, disk)
    if not environment:
        pytest.skip("there is no C compiler here to build a disk in trouble with")
    with BrokerProcess(written, environment=environment) as process:
        process.kill()
        (troubles / "read-only").touch()

        with pytest.raises(AssertionError):
            process.start()

        assert process.process.wait(60) == 1
        said = process.log.read_text()
        assert "store_unusable" in said or "audit_unavailable" in said
        assert "Traceback" not in said
