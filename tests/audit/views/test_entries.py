import ast
import itertools
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from broker.audit import Record
from broker.audit.views import Entry, join
from tests.support.views import call, event, placed

ROOM = Path(__file__).parents[3] / "broker/audit"
SHAPES: tuple[dict[str, Any], ...] = (
    {},
    {"status": "refused", "effect": "deny", "code": "access_denied"},
    {"status": "refused", "effect": None, "code": "unknown_tool"},
    {"status": None},
    {"status": None, "effect": None},
)


def shown(entries: list[Entry]) -> list[list[Any]]:
    """Return entries by the ids of their records, in a fixed order."""
    return sorted([record["id"] for record in entry.records] for entry in entries)


@given(st.lists(st.sampled_from(SHAPES), max_size=12), st.integers(0, 5), st.randoms(use_true_random=False))
def test_however_calls_interleave_they_make_the_same_entries(
    shapes: list[dict[str, Any]], events: int, chance: random.Random
) -> None:
    """Whatever else happens meanwhile, a call is told as if it had been alone."""
    stories = [call(**shape) for shape in shapes] + [[event("started")] for _ in range(events)]

    alone = [entry for story in stories for entry in join(story)]
    together = list(join(_interleaved(stories, chance)))

    assert shown(together) == shown(alone) == sorted([one["id"] for one in story] for story in stories)


def _interleaved(stories: list[list[Record]], chance: random.Random) -> Iterator[Record]:
    waiting = [list(story) for story in stories]
    while waiting := [story for story in waiting if story]:
        yield chance.choice(waiting).pop(0)


def test_a_call_comes_when_it_finishes_an_event_at_once_and_the_unfinished_last() -> None:
    """The order of entries is that in which they are known."""
    slow, quick, hanging = call(), call(), call(None)

    kinds = list(join(placed([*slow[:2], *hanging, event("stopped"), *quick, slow[2]])))

    assert [(entry.kind, entry.status) for entry in kinds] == [
        ("stopped", None),
        ("call", "released"),
        ("call", "released"),
        ("call", "unfinished"),
    ]
    assert [(entry.first, entry.last) for entry in kinds] == [(4, 4), (5, 7), (0, 8), (2, 3)]


@given(st.lists(st.sampled_from(SHAPES), min_size=1, max_size=8), st.data())
def test_records_that_are_not_there_hide_none_of_those_that_are(
    shapes: list[dict[str, Any]], data: st.DataObject
) -> None:
    """Gaps, filtered or pruned: every record that was read is in exactly one entry."""
    whole = [record for shape in shapes for record in call(**shape)]
    kept = data.draw(st.lists(st.sampled_from(whole), unique_by=lambda record: record["id"]))
    kept.sort(key=whole.index)

    entries = list(join(kept))

    assert sorted(one["id"] for entry in entries for one in entry.records) == sorted(one["id"] for one in kept)
    assert all(entry.kind == "call" and entry.call_id and entry.time for entry in entries)


def test_a_call_that_says_twice_what_is_said_once_hides_neither() -> None:
    """Whoever can write the store may write anything; a view shows what is there."""
    records = call()

    entries = list(join([*records[:2], records[0], *records[1:], records[2]]))

    assert [len(entry.records) for entry in entries] == [2, 3, 1]


def test_only_calls_in_flight_are_held() -> None:
    """Constant memory: a million calls one after the other need no more than one; what `join` holds is what runs."""
    stories = [call() for _ in range(20)]
    joined = join(itertools.chain(*(story[:2] for story in stories), (story[2] for story in stories)))

    held = []
    for _ in joined:
        frame = joined.gi_frame  # type: ignore[attr-defined] # it is a generator
        held.append(len(frame.f_locals["running"]))

    assert held == list(range(19, -1, -1))


def test_the_verifier_needs_no_view() -> None:
    """audit.md C9: what an auditor must read to trust the verification stays small."""
    imports = [
        name
        for path in sorted(ROOM.glob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        for name in _names(node)
        if name.startswith("broker.audit.views")
    ]

    assert not imports


def _names(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [f"{node.module}.{alias.name}" for alias in node.names] if isinstance(node, ast.ImportFrom) else []
