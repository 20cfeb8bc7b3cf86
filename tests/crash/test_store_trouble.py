import contextlib
import os
import resource
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
import requests

from tests.support.broker import BrokerProcess, locked, until
from tests.support.clients import Wire
from tests.support.documents import write_documents
from tests.support.notes import NotesService

pytestmark = pytest.mark.slow

Again = Callable[[], None]
Trouble = Callable[[int, Path], AbstractContextManager[Again]]


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
    """Serve from a process of its own, with its store on the small disk."""
    written = write_documents(
        tmp_path_factory.mktemp("trouble") / "access", notes_service, store=str(disk / "broker.db")
    )
    with BrokerProcess(written) as process:
        process.connect_notes()
        yield process


@contextlib.contextmanager
def disk_full(_pid: int, database: Path) -> Iterator[Again]:
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
def no_file_may_grow(pid: int, _database: Path) -> Iterator[Again]:
    """Let no write of the process succeed, as a quota would."""
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (1, before[1]))
    try:
        yield nothing
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before)


@contextlib.contextmanager
def locked_by_another(_pid: int, database: Path) -> Iterator[Again]:
    """Lock the store from another process."""
    with locked(database):
        yield nothing


def nothing() -> None:
    """Do nothing: the trouble lasts by itself."""


@pytest.mark.parametrize("trouble", [disk_full, no_file_may_grow, locked_by_another])
def test_a_store_that_takes_nothing_means_that_nothing_is_done(
    process: BrokerProcess, notes_service: NotesService, disk: Path, trouble: Trouble
) -> None:
    """NIST AU-5 in audit.md C5: refused with a code, none executed unrecorded, and it resumes by itself."""
    wire = Wire(process)
    assert wire.call("notes_notes_write", {"id": "before"}).code is None
    before = list(notes_service.effects)

    refused = []
    with trouble(process.process.pid, disk / "broker.db") as again:
        for _ in range(2):
            again()
            refused.append(wire.call("notes_notes_write", {"id": "never"}).code)
        again()
        ready = requests.get(f"{process.url}/readyz", timeout=5)
        listed = wire.tools()
    until(lambda: requests.get(f"{process.url}/readyz", timeout=5).status_code == 200)
    after = wire.call("notes_notes_write", {"id": "after"})

    assert refused == ["audit_unavailable"] * 2
    assert (ready.status_code, ready.json()) == (503, {"status": "audit_unavailable"})
    assert listed
    assert notes_service.effects == [*before, "after"]
    records = list(process.records())
    assert records[-2]["call_id"] == after.call_id
    assert any(record["kind"] == "recording_resumed" for record in records)
