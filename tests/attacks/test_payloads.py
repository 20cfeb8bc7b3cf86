"""Attempts on what is recorded encrypted: to read it where it lies, to move it, to see it unseen, to outrun a hold."""

import asyncio
import io
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import pytest
import requests

from broker.app.logs import PlainFormatter
from broker.evidence import erasure, holds
from broker.identity import Peer
from tests.conftest import Serve
from tests.support.broker import ServedBroker, until
from tests.support.clients import Wire
from tests.support.documents import recording_policy
from tests.support.notes import read
from tests.support.operators import OperatorRefused

ASKED, ANSWERED = "SESAME-OPEN-SESAME", "THE-CAVE-IS-OPEN"
WHY = {"reason": "an attempt"}
SWAPPED = (
    "UPDATE payloads AS p SET sealed = o.sealed FROM payloads AS o "
    "WHERE o.call_id > ? AND o.call_id = p.call_id AND p.call_id = ? AND o.field <> p.field"
)
OPERATORS = [{"user": "root", "role": "admin"}, {"user": "bin", "role": "approver"}]


@pytest.fixture
def recorded(serve: Serve) -> ServedBroker:
    """Serve a broker that has the analyst's calls recorded, and whose service answers with something worth having."""

    async def answer(call: Any, session: Any) -> Any:
        await read(call, session)
        return {"id": "n1", "text": ANSWERED}

    broker = serve(operators=OPERATORS)
    broker.notes.behaves = answer
    broker.written.put("recording.yaml", recording_policy("arguments", "result"))
    until(lambda: broker.records(kind="documents_loaded"))
    return broker


@contextmanager
def logged() -> Iterator[io.StringIO]:
    """Collect what the daemon logs, at every level."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(PlainFormatter())
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield stream
    finally:
        root.removeHandler(handler)
        root.setLevel(level)


def call(broker: ServedBroker, asked: str = ASKED) -> str:
    """Make a call that is recorded, and return its id."""
    return Wire(broker).call("notes_notes_misbehave", {"id": "n1", "note": asked}).call_id


def files(broker: ServedBroker) -> bytes:
    """Read the store's files, whatever they are called."""
    return b"".join(path.read_bytes() for path in (broker.written.directory / "data").iterdir())


def sealed(broker: ServedBroker, call_id: str) -> dict[str, bytes]:
    """Return the sealed values of a call."""
    store = broker.parts.store
    return store.read(lambda connection: store.payloads.of_call(connection, call_id))


def change(broker: ServedBroker, statement: str, *values: Any) -> None:
    """Do what somebody does who can write the store's file."""
    commits = broker.parts.store.commits
    broker.await_(lambda: commits.commit(lambda change: change.execute(statement, values).rowcount))


def refused(broker: ServedBroker, call_id: str) -> str:
    """Ask to be shown a call's values, and return the code of the refusal."""
    with pytest.raises(OperatorRefused) as raised:
        broker.operators.post(f"/v1/trail/calls/{call_id}/reveal", WHY)
    assert ASKED not in repr(raised.value)
    return raised.value.code


def test_the_values_are_in_the_clear_nowhere(recorded: ServedBroker) -> None:
    """Issue 3, What must be true: encrypted; not in database, write-ahead log, broker's log, trail or export."""
    with logged() as log:
        call_id = call(recorded)
        Wire(recorded).call("notes_notes_purge", {"id": ASKED})
        shown = recorded.operators.post(f"/v1/trail/calls/{call_id}/reveal", WHY)
        with recorded.operators.export() as lines:
            exported = b"\n".join(lines)

    everything = files(recorded) + exported + log.getvalue().encode() + repr(recorded.records()).encode()
    assert (ASKED in repr(shown), ANSWERED in repr(shown)) == (True, True)  # the control: they are what was recorded
    assert all(value[:64] in files(recorded) for value in sealed(recorded, call_id).values())
    for word in (ASKED, ANSWERED):
        for secret in (word.encode(), word.encode().hex().encode(), word.encode("utf-16-le")):
            assert secret not in everything


def test_the_trail_and_its_export_hold_no_sealed_bytes_either(recorded: ServedBroker) -> None:
    """docs/decisions: what an export carries away can never be erased, so it carries a commitment only."""
    values = sealed(recorded, call(recorded))

    with recorded.operators.export() as lines:
        exported = b"\n".join(lines)

    assert len(values) == 2
    for value in values.values():
        assert value[:40] not in exported
        assert value[:40].hex().encode() not in exported


def test_after_erasing_not_even_the_sealed_bytes_are_in_the_files(recorded: ServedBroker) -> None:
    """Issue 3, What must be true: erased later; of long values, which stand on pages of their own, too."""
    call_id = call(recorded, ASKED * 3000)
    values = sealed(recorded, call_id)
    before = files(recorded)

    answer = recorded.operators.post("/v1/trail/erase", {"call": call_id, **WHY})

    pieces = [value[start : start + 32] for value in values.values() for start in range(0, len(value) - 32, 2000)]
    after = files(recorded)
    assert answer["overwritten"]
    assert sum(piece in before for piece in pieces) > 10  # the control: a piece may stand across two pages
    assert not [piece for piece in pieces if piece in after]
    assert recorded.verified().holds


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE payloads SET call_id = ? WHERE call_id = ?",  # to another call
        # Over what another call has, and over what the same call has of another field
        "UPDATE payloads AS p SET sealed = o.sealed FROM payloads AS o WHERE p.call_id = ?1 AND o.call_id = ?2",
        SWAPPED,
        "UPDATE payloads SET sealed = substr(sealed, 1, 60) || x'00' || substr(sealed, 62) WHERE call_id IN (?, ?)",
        "UPDATE payloads SET sealed = x'' WHERE call_id IN (?, ?)",
        "UPDATE payloads SET field = 'more' WHERE field = 'result' AND call_id IN (?, ?)",
    ],
)
def test_a_sealed_value_that_was_moved_or_changed_is_not_shown(recorded: ServedBroker, statement: str) -> None:
    """Issue 2, Vault: whoever can write the file gains nothing; nor can it be made to say what nobody recorded."""
    call(recorded)
    bare, own = Wire(recorded).call("notes_notes_purge", {"id": "other"}).call_id, call(recorded)
    if statement.startswith("UPDATE payloads SET call_id"):
        change(recorded, "DELETE FROM payloads WHERE call_id = ?", bare)

    change(recorded, statement, bare, own)

    moved = bare if "SET call_id" in statement or "p.call_id = ?1" in statement else own
    assert refused(recorded, moved) == "vault_unreadable"
    assert recorded.records(kind="payload_revealed") == []


def test_a_sealed_value_does_not_open_elsewhere_even_if_the_record_is_made_to_fit(recorded: ServedBroker) -> None:
    """seal.py: the seal itself binds call and field; the trail's commitment is not the only thing in the way."""
    own, other = call(recorded), Wire(recorded).call("notes_notes_purge", {"id": "other"}).call_id
    value = sealed(recorded, own)["arguments"]
    change(recorded, "UPDATE payloads SET sealed = ? WHERE call_id = ?", value, other)
    records = recorded.operators.get(f"/v1/trail/calls/{own}")
    committed = next(record for record in records if record["kind"] == "requested")["action"]["sealed"]

    def said(_body: bytes) -> Any:
        return committed if b"requested" in _body else []

    with patch("broker.evidence.payloads._said", said):
        assert refused(recorded, other) == "vault_unreadable"


def test_not_even_who_has_the_key_can_put_other_words_into_a_call(recorded: ServedBroker) -> None:
    """docs/decisions: the hash binds all the same; what is shown is what was recorded, or nothing is."""
    call_id = call(recorded)
    forged = recorded.parts.vault.sealed_payload(call_id, "result", b'{"id":"n1","text":"forged"}')

    change(recorded, "UPDATE payloads SET sealed = ? WHERE call_id = ? AND field = 'result'", forged, call_id)

    assert refused(recorded, call_id) == "vault_unreadable"
    assert recorded.records(kind="payload_revealed") == []


def test_who_may_not_be_shown_it_is_refused_and_counted(recorded: ServedBroker) -> None:
    """Issue 2, Operators: an approver decides about calls, and does not read along; attempts are on record."""
    call_id = call(recorded)

    for uid, code in ((2, "operator_forbidden"), (4711, "operator_unknown")):
        with patch("broker.app.http.socket_peer", lambda _, uid=uid: Peer(1, uid, uid)):
            assert refused(recorded, call_id) == code
            assert refused(recorded, call_id) == code
    recorded.await_(recorded.parts.refused.flush)

    counted: dict[tuple[str, str], int] = {}
    for record in recorded.records(kind="authentication_refused"):
        kind = (record["origin"]["source"], record["outcome"]["code"])
        counted[kind] = counted.get(kind, 0) + record["outcome"]["count"]
    assert counted == {("uid:2", "operator_forbidden"): 2, ("uid:4711", "operator_unknown"): 2}
    assert recorded.records(kind="payload_revealed") == []


def test_no_agent_reaches_what_is_recorded(recorded: ServedBroker) -> None:
    """architecture.md, Processes: operators have a socket of their own, and the agents' door knows no such path."""
    call_id = call(recorded)

    for path in (f"/v1/trail/calls/{call_id}/reveal", "/v1/trail/erase", "/v1/trail/holds"):
        headers = {"Authorization": f"Bearer {recorded.token()}"}
        assert requests.post(f"{recorded.url}{path}", json=WHY, headers=headers, timeout=60).status_code == 404


def test_an_erasure_during_a_hold_erases_nothing_of_it_however_they_race(recorded: ServedBroker) -> None:
    """erasure.py: holds are asked in the transaction that erases; what is on record first, wins."""
    store = recorded.parts.store
    calls = [call(recorded) for _ in range(4)]
    actor = {"user": "test"}

    async def race() -> None:
        await asyncio.gather(
            *(holds.add(store, f"case-{number}", {"call": one}, "why", actor) for number, one in enumerate(calls)),
            *(erasure.erase(store, {"call": one}, "why", actor) for one in calls),
        )

    recorded.await_(race)

    order = [record for record in recorded.records() if record["kind"] in {"hold_added", "payloads_erased"}]
    for one in calls:
        held = next(record["seq"] for record in order if record.get("hold", {}).get("filter") == {"call": one})
        erased = next((record["seq"] for record in order if one in record.get("calls", ())), None)
        assert (sealed(recorded, one) != {}) == (erased is None)
        assert erased is None or erased < held


def test_what_an_agent_sent_does_nothing_where_it_is_shown(recorded: ServedBroker) -> None:
    """Whatever it is, it comes back as the same JSON value."""
    hostile = "\x1b]0;owned\x07\x1b[2J\u202e[bold red]\u2028</script>\x00"
    call_id = call(recorded, hostile)

    shown = recorded.operators.post(f"/v1/trail/calls/{call_id}/reveal", WHY)

    assert shown["values"][0]["value"]["note"] == hostile
    assert json.loads(json.dumps(shown)) == shown
