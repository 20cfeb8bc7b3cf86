import contextlib
import resource
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

from broker.errors import AuditUnavailable, ListenerRefused, StoreInUse
from broker.testing.certificates import CertificateAuthority
from tests.conftest import Serve
from tests.support.broker import BrokerProcess, ServedBroker, locked, until
from tests.support.clients import Wire
from tests.support.documents import Written, broker_document, write_documents
from tests.support.notes import Notes, NotesService

READ = ("notes_notes_read", {"id": "n1"})


@pytest.mark.slow
def test_told_to_stop_it_finishes_what_runs_and_refuses_what_comes(
    written: Written, notes_service: NotesService
) -> None:
    """Issue 2: `aam serve` drains on SIGTERM; the answer arrives, the trail is closed, the sockets are gone."""
    with BrokerProcess(written) as process, ThreadPoolExecutor(1) as pool:
        process.connect_notes()
        with notes_service.holding():
            running = pool.submit(Wire(process).call, *READ)
            notes_service.arrived.get(timeout=60)
            process.process.send_signal(signal.SIGTERM)
            until(lambda: requests.get(f"{process.url}/readyz", timeout=60).status_code == 503)
            draining = Wire(process).call(*READ)
        answer = running.result(60)
        status = process.process.wait(60)

        assert (answer.code, draining.code, status) == (None, "draining", 0)
        assert not list((written.directory / "run").iterdir())
        process.start()
        kinds = [record["kind"] for record in process.records()]
        assert kinds[-2:] == ["stopped", "started"]
        assert process.facts["unfinished"] == []
        _keeps_itself_private(process.process.pid)


def _keeps_itself_private(pid: int) -> None:
    """credentials.md B6: core dumps off; and idle strangers must not use up the open files of a shell."""
    assert resource.prlimit(pid, resource.RLIMIT_CORE) == (0, 0)
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    assert soft == hard


def test_a_second_broker_on_the_same_store_is_refused(broker: ServedBroker) -> None:
    """architecture.md, Processes: a second one on the same store refuses to start; the first is not disturbed."""
    with pytest.raises(StoreInUse), ServedBroker(broker.written, Notes()):
        pass

    assert Wire(broker).call(*READ).code is None


def test_a_broker_on_another_store_does_not_take_the_sockets(
    broker: ServedBroker, notes_service: NotesService, tmp_path: Path
) -> None:
    """A copied set of documents with another store must not cut agents and operators off from the broker they have."""
    sockets = {name: str(broker.written.directory / f"run/{name}.sock") for name in ("agents", "operators")}
    listen = {"http": "127.0.0.1:0", "agents_socket": sockets["agents"], "operators_socket": sockets["operators"]}
    copy = write_documents(tmp_path / "copy", notes_service, listen=listen)

    with pytest.raises(ListenerRefused, match="Another process is listening"), ServedBroker(copy, Notes()):
        pass

    assert broker.operators.get("/v1/status")["trouble"] is None


def test_it_serves_tls_with_the_files_it_is_given(written: Written, tmp_path: Path) -> None:
    """Issue 2, MCP: `--tls-cert/--tls-key` serve it, and nothing is served without."""
    authority = CertificateAuthority(tmp_path / "tls")
    files = authority.issue("broker")

    with ServedBroker(written, Notes(), tls_certificate=files.certificate_file, tls_key=files.key_file) as broker:
        health = requests.get(f"{broker.url}/healthz", verify=str(authority.certificate_file), timeout=60)

        assert broker.url.startswith("https://")
        assert health.status_code == 200
        with pytest.raises(requests.ConnectionError):
            requests.get(broker.url.replace("https://", "http://") + "/healthz", timeout=60)


@pytest.mark.parametrize(
    ("listen", "options", "words"),
    [
        ({"http": "0.0.0.0:0"}, {}, "without TLS"),
        ({"http": "127.0.0.1:0"}, {"tls_certificate": Path("absent.pem")}, "both a certificate and a key"),
        (
            {"http": "127.0.0.1:0"},
            {"tls_certificate": Path("absent.pem"), "tls_key": Path("absent.pem")},
            "cannot be used",
        ),
    ],
)
def test_where_one_door_is_refused_none_is_opened_and_nothing_is_left_behind(
    written: Written, listen: dict[str, str], options: dict[str, Any], words: str
) -> None:
    """architecture.md, Processes: TLS, or loopback, or an explicit proxy; anything else is refused."""
    written.put("broker.yaml", broker_document(listen=listen))

    with pytest.raises(ListenerRefused, match=words), ServedBroker(written, Notes(), **options):
        pass

    assert not list((written.directory / "run").glob("*.sock"))


def test_a_start_that_cannot_be_recorded_is_none(written: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    """audit.md C5: starting is a record too; without it no door is opened."""
    monkeypatch.setattr("broker.store._BUSY_SECONDS", 0.05)
    with ServedBroker(written, Notes(), grant=False):
        pass

    with locked(written.directory / "data/broker.db"), pytest.raises(AuditUnavailable):
        ServedBroker(written, Notes(), grant=False).__enter__()

    assert not list((written.directory / "run").glob("*.sock"))


@pytest.mark.slow
def test_what_does_not_end_in_time_is_cut_and_recorded(
    serve: Serve, notes_service: NotesService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """architecture.md: a call cut off after sending is `outcome_unknown`; that goes for the broker's own end too."""
    monkeypatch.setattr("broker.app.daemon._DRAIN_SECONDS", 0.1)
    broker = serve()
    with ThreadPoolExecutor(1) as pool, notes_service.holding():
        running = pool.submit(_call_in_vain, Wire(broker))
        notes_service.arrived.get(timeout=60)
        broker.stop()  # while the service says nothing yet
        running.result(60)

    with ServedBroker(broker.written, Notes(), grant=False) as after:
        assert [record["outcome"]["status"] for record in after.records(kind="finished")] == ["outcome_unknown"]
        assert [record["calls_cut"] for record in after.records(kind="stopped")] == [1]
        assert after.serving.unfinished == []


def _call_in_vain(wire: Wire) -> None:
    with contextlib.suppress(requests.ConnectionError, ValueError, AssertionError):
        wire.call("notes_notes_write", {"id": "drained"})
