import pytest

from broker.audit import Gap, Statement, verify
from broker.evidence.export import export_lines
from tests.support.broker import ServedBroker
from tests.support.clients import Wire


@pytest.mark.parametrize("wanted", [[], [(0, 1)], [(1, 2), (4, 6)], [(2, 5)]], ids=str)
def test_a_selection_of_a_brokers_trail_holds_and_names_its_last_record(
    broker: ServedBroker, wire: Wire, wanted: list[tuple[int, int]]
) -> None:
    """evidence/export.py: gaps stand for what is left out; the last record by itself, whose hash is stated."""
    wire.call("notes_notes_read", {"id": "n1"})
    signed = broker.await_(broker.parts.heads.sign)
    keys = broker.parts.signing.keys
    stated = Statement.of(broker.parts.store.trail.log, signed.head, signed.checkpoint, keys, agent="one")

    with broker.parts.store.reading() as connection:
        _, *lines = export_lines(broker.parts.store.trail, connection, stated, wanted)
    report = verify(lines, stated, [keys[0].key])

    assert report.holds, report.problem
    assert report.records == sum(stop - start for start, stop in wanted)
    last = Gap.parse(lines[-1])
    assert last is not None
    assert (last.start, last.stop) == (stated.size - 1, stated.size)
    assert not any("Which record is the last" in sentence for sentence in report.open)
