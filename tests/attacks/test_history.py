"""Attacks on the history of the documents: names that climb, links swapped in, secrets that would be kept."""

import hashlib
import json
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import ECKey

from broker.documents import load
from broker.documents.files import inside, set_digest
from broker.documents.replace import Restoration
from broker.documents.restore import CannotRestore, Wanted, plan
from broker.testing.certificates import CertificateAuthority
from tests.conftest import Serve
from tests.documents.conftest import FILES, NOTES
from tests.support.broker import ServedBroker, private_key, until
from tests.support.documents import POLICIES, Written
from tests.support.notes import Notes, NotesService
from tests.support.operators import OperatorRefused

EVIL = b"kind: Agent\n"


@pytest.fixture(name="place")
def _place(tmp_path: Path) -> Path:
    """Write a set into a directory beside which something lies that is nobody's to change."""
    place = tmp_path / "set"
    (place / "agents").mkdir(parents=True)
    for name, text in FILES.items():
        (place / ("agents/agent.yaml" if name == "agent.yaml" else name)).write_text(text)
    (place / "bundle.json").write_text('{"keys": []}')
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/agent.yaml").write_text("mine")
    return place


def of_history(place: Path) -> Wanted:
    """Return the set that lies there, as the history has it."""
    snapshot = load(place, lambda _: NOTES)
    return Wanted(
        snapshot.digest, snapshot.digests, {snapshot.files[one]: text for one, text in snapshot.contents.items()}
    )


def forged(place: Path, name: str) -> Wanted:
    """Return a set with one more file, as whoever could write the store could make it."""
    true, sha256 = of_history(place), hashlib.sha256(EVIL).hexdigest()
    files = {**true.files, name: sha256}
    return Wanted(set_digest(files), files, {**true.contents, sha256: EVIL})


@pytest.mark.parametrize(
    "name",
    ["../outside/agent.yaml", "/etc/evil.yaml", "agents/../../outside/agent.yaml", "..", ".", "", "../../x.yaml",
     "a/../../set/../outside/agent.yaml", "a\0b.yaml"],
)  # fmt: skip
def test_a_name_cannot_climb_out_of_the_directory(place: Path, name: str) -> None:
    """Only files inside the directory are written, whatever the history says."""
    before = sorted(place.parent.rglob("*"))

    with pytest.raises(CannotRestore):
        plan(place, forged(place, name))

    assert inside(name) is None
    assert sorted(place.parent.rglob("*")) == before
    assert (place.parent / "outside/agent.yaml").read_text() == "mine"


def test_a_set_that_was_made_up_does_not_pass_the_check(place: Path) -> None:
    """A file that the documents do not name would not be of the set that they are."""
    with pytest.raises(CannotRestore, match="another set"):
        plan(place, forged(place, "unnamed.txt")).check(lambda _: NOTES)


def test_a_link_in_the_place_of_a_file_is_not_written_through(place: Path) -> None:
    """A link leads wherever somebody wants; it is named, and left to them."""
    before = of_history(place)
    (place / "agents/agent.yaml").unlink()
    (place / "agents/agent.yaml").symlink_to(place.parent / "outside/agent.yaml")

    with pytest.raises(CannotRestore, match=r"agents/agent\.yaml is a link"):
        plan(place, before)

    assert (place.parent / "outside/agent.yaml").read_text() == "mine"


def link_folder(place: Path) -> None:
    """Swap the folder for a link to one outside."""
    (place / "agents").rename(place / ".agents")
    (place / "agents").symlink_to(place.parent / "outside")


def link_file(place: Path) -> None:
    """Swap the file for a link to one outside."""
    (place / "agents/agent.yaml").unlink()
    (place / "agents/agent.yaml").symlink_to(place.parent / "outside/agent.yaml")


@pytest.mark.parametrize("swap", [link_folder, link_file])
@pytest.mark.parametrize("moment", ["planned", "written", "applied"])
def test_a_link_that_is_swapped_in_is_not_followed(place: Path, swap: Callable[[Path], None], moment: str) -> None:
    """Whoever may write the directory cannot have another user's rollback write somewhere else, at any moment."""
    before = of_history(place)
    (place / "agents/agent.yaml").write_text("changed")
    planned = plan(place, before)

    def rollback() -> None:
        if moment == "planned":
            swap(place)
        with Restoration(planned) as restoration:
            if moment == "written":
                swap(place)
            restoration.apply()
            if moment == "applied":
                swap(place)

    if moment == "applied":
        rollback()
    else:
        with pytest.raises(CannotRestore):
            rollback()

    assert [path.name for path in (place.parent / "outside").iterdir()] == ["agent.yaml"]
    assert (place.parent / "outside/agent.yaml").read_text() == "mine"
    assert not [path for path in place.rglob("*") if path.name.startswith(".aam")]


def test_links_that_are_swapped_all_the_time_are_not_followed(place: Path) -> None:
    """A race is not won either."""
    before = of_history(place)
    outside, stop = place.parent / "outside", threading.Event()

    def swapping() -> None:
        while not stop.is_set():
            (place / "agents").rename(place / ".agents")
            (place / "agents").symlink_to(outside)
            (place / "agents").unlink()
            (place / ".agents").rename(place / "agents")

    (place / "agents/agent.yaml").write_text("changed")
    planned = plan(place, before)
    thread = threading.Thread(target=swapping)
    thread.start()
    try:
        for _ in range(200):
            with suppress(CannotRestore), Restoration(planned) as restoration:
                restoration.apply()
    finally:
        stop.set()
        thread.join()

    assert [path.name for path in outside.iterdir()] == ["agent.yaml"]
    assert (outside / "agent.yaml").read_text() == "mine"


def test_a_set_with_secrets_keeps_none(written: Written, notes_service: NotesService, tmp_path: Path) -> None:
    """No private key of any kind is kept: not in a certificate's file, a trust bundle, a snapshot or a document."""
    jwk: dict[str, Any] = ECKey.generate_key("P-256", auto_kid=False).as_dict(private=True)
    bundle = json.loads((written.directory / "prod.json").read_text())
    (written.directory / "prod.json").write_text(json.dumps({**bundle, "keys": [*bundle["keys"], jwk]}))
    (written.directory / "ca.pem").write_text(notes_service.authority + private_key())
    tls = CertificateAuthority(tmp_path / "tls").issue("broker")
    broker_document = json.loads((written.directory / "broker.yaml").read_text())
    broker_document["spec"]["listen"]["tls"] = {"certificate": str(tls.certificate_file), "key": str(tls.key_file)}
    written.put("broker.yaml", json.dumps(broker_document))
    written.put("policies.yaml", POLICIES + "# " + json.dumps(json.dumps(jwk)) + "\n")

    with ServedBroker(written, Notes()) as broker:
        files = broker.operators.get(f"/v1/documents/history/{broker.serving.documents.digest}")["files"]
        kept = {file["name"] for file in files if file["kept"]}
        (started,) = broker.records(kind="started")

    assert {file["name"] for file in files} - kept == {"prod.json", "ca.pem", "policies.yaml"}
    assert started["documents"]["digests_only"] == 3
    for path in (written.directory / "data").iterdir():
        text = path.read_bytes()
        for secret in (jwk["d"], private_key().splitlines()[3], tls.key_file.read_text().splitlines()[3],
                       (written.directory / "secrets/vault.key").read_text().strip()):  # fmt: skip
            assert secret.encode() not in text


def test_of_two_rollbacks_at_once_one_is_refused(serve: Serve) -> None:
    """Two people who undo at the same time do not end with half of each."""
    broker = serve()
    first = broker.parts.documents.current.digest
    broker.written.put("policies.yaml", POLICIES.replace("deny: [purge]", "deny: [purge, write]"))
    until(lambda: broker.parts.documents.current.digest != first)
    results: list[Any] = []

    def begin() -> None:
        try:
            results.append(broker.operators.post("/v1/documents/rollback", {"digest": first, "reason": "why"})["to"])
        except OperatorRefused as refused:
            results.append(refused.code)

    threads = [threading.Thread(target=begin) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(results) == sorted([first, *["rollback_under_way"] * 7])
    assert len(broker.records(kind="documents_rollback")) == 1


def test_two_hands_at_once_leave_a_whole_set(place: Path) -> None:
    """Even if both write: each file is one that some set had, the one who comes second is told, nothing is torn."""
    before = of_history(place)
    (place / "agents/agent.yaml").write_text(FILES["agent.yaml"] + "# changed\n")
    planned = plan(place, before)

    with Restoration(planned) as one, Restoration(planned) as other:
        one.apply()
        one.keep()
        with pytest.raises(CannotRestore, match="has changed meanwhile"):
            other.apply()

    assert load(place, lambda _: NOTES).digest == before.digest


def test_an_ambiguous_digest_rolls_nothing_back(serve: Serve) -> None:
    """Of several sets none is chosen; all are named."""
    broker = serve()
    history = broker.parts.store.history
    (row,) = broker.parts.store.read(history.last)
    alike = ["abcd" + digit * 60 for digit in "01"]
    for number, digest in enumerate(alike):
        made = replace(row, seq=row.seq + 100 + number, digest=digest)
        broker.await_(broker.parts.store.commits.commit, lambda change, made=made: history.add(change, made, {}))

    with pytest.raises(OperatorRefused) as refused:
        broker.operators.post("/v1/documents/rollback", {"digest": "abcd", "reason": "why"})

    assert refused.value.code == "operator_request_invalid"
    assert all(digest[:12] in refused.value.message for digest in alike)
    assert not broker.records(kind="documents_rollback")
    with pytest.raises(OperatorRefused) as made_up:
        broker.operators.get(f"/v1/documents/history/{alike[0]}")
    assert made_up.value.code == "history_damaged"
