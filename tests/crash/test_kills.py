import contextlib
import functools
import os
import random
import signal
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests

from broker.audit import Statement, verify
from tests.support.broker import Record, until
from tests.support.clients import Wire
from tests.support.documents import Written
from tests.support.forked import ForkedBroker
from tests.support.killing import POINTS, STARTING
from tests.support.notes import NotesService

pytestmark = pytest.mark.slow

AT_RANDOM = "at random moments"
CALLERS = 32
ROUNDS, KILLS = 8, 40
"""Random moments: so many trails, so often each."""


@dataclass
class Callers:
    """Agents that write notes for as long as there is a broker, each note under the id of its own trace."""

    broker: ForkedBroker
    answered: dict[str, str] = field(default_factory=dict)
    """Call id by trace id, of every call whose answer has arrived."""

    @contextlib.contextmanager
    def calling(self) -> Iterator[None]:
        """Have them call while inside; they leave when the broker is gone."""
        threads = [threading.Thread(target=self._call) for _ in range(CALLERS)]
        for thread in threads:
            thread.start()
        yield
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive()

    def _call(self) -> None:
        wire = Wire(self.broker, self.broker.token())
        with contextlib.suppress(requests.RequestException):
            while True:
                trace = uuid.uuid4().hex
                meta: Any = {"traceparent": f"00-{trace}-00f067aa0ba902b7-01"}
                answer = wire.call("notes_notes_write", {"id": trace}, meta=meta)
                assert answer.code is None
                self.answered[trace] = answer.call_id


def has_effects(notes_service: NotesService, some: int) -> bool:
    """Tell whether there are as many effects."""
    return len(notes_service.effects) >= some


def survive(written: Written, notes_service: NotesService, kills: list[str]) -> None:
    """Kill a serving broker again and again, then check what is left; a kill is a named point or `at random`."""
    before = len(notes_service.effects)
    with ForkedBroker(written) as broker:
        broker.connect_notes()
        broker.kill()
        callers = Callers(broker)
        for kill in kills:
            if not broker.begins(*([] if kill == AT_RANDOM else ["--kill-at", kill])):
                continue
            with callers.calling():
                if kill == AT_RANDOM:
                    some = len(notes_service.effects) + random.randint(0, 80)  # noqa: S311 - no secret
                    until(functools.partial(has_effects, notes_service, some))
                    threading.Event().wait(random.random() / 100)  # noqa: S311 - any moment after it
                    broker.child.kill()
                assert broker.ended() == -signal.SIGKILL
        broker.start()  # and nothing else: no step by hand
        counts = check(broker, callers.answered, notes_service.effects[before:])
    tell(f"{len(kills)} kills {', '.join(sorted(set(kills)))}; {counts}")


def tell(line: str) -> None:
    """Write down what was counted, in the file that AAM_CRASH_REPORT names, if it does."""
    if path := os.environ.get("AAM_CRASH_REPORT"):
        with Path(path).open("a") as file:
            file.write(f"{line}\n")


def check(broker: ForkedBroker, answered: dict[str, str], effects: list[str]) -> str:
    """Hold the trail against what the service has seen and what the agents have received; return what there was."""
    with broker.operators.export() as lines:
        stated = Statement.parse(next(lines))
        bodies = list(lines)
    records = list(broker.records())
    stories: dict[str, dict[str, Record]] = {}
    for record in records:
        if "call_id" in record:
            stories.setdefault(record["call_id"], {})[record["kind"]] = record
    by_trace = {story["requested"]["run_id"]: story for story in stories.values()}

    # Nothing lost: every effect was decided before it, and every answer is backed by its last record
    assert effects
    for effect in effects:
        assert by_trace[effect]["decided"]["policy"]["decision"] == "permit"
    for trace, call_id in answered.items():
        assert stories[call_id]["finished"]["outcome"]["status"] == "released", trace

    # Nothing invented: what was cut off is of unknown outcome, once, and known as such since the next start
    assert all(set(story) == {"requested", "decided", "finished"} for story in stories.values())
    unknown = [call_id for call_id, story in stories.items() if story["finished"]["outcome"].get("found_at_start")]
    assert all(stories[call_id]["finished"]["outcome"]["status"] == "outcome_unknown" for call_id in unknown)
    assert not set(unknown) & set(answered.values())
    undone = [story for story in by_trace.values() if story["requested"]["run_id"] not in effects]
    assert all(story["finished"]["outcome"]["status"] != "released" for story in undone)

    # And the whole of it holds together
    assert verify(bodies, stated).holds
    assert broker.operators.get("/v1/status")["trouble"] is None
    assert Wire(broker).call("notes_notes_read", {"id": "n1"}).code is None
    return (
        f"{len(effects)} effects, each decided before; {len(answered)} answers, each finished; "
        f"{len(unknown)} of unknown outcome; {len(bodies)} records verify"
    )


def test_a_killed_broker_has_lost_nothing_and_invented_nothing(written: Written, notes_service: NotesService) -> None:
    """audit.md C5; at a random moment, between decision and effect, and between effect and end."""
    survive(written, notes_service, [AT_RANDOM, "after-first-commit", "before-last-commit"])


@pytest.mark.parametrize("point", POINTS)
def test_a_broker_killed_at_a_named_point_has_lost_nothing(
    written: Written, notes_service: NotesService, point: str
) -> None:
    """audit.md C5: the two commits leave no moment at which an effect could be without a decision on disk."""
    survive(written, notes_service, [point] * 5)


@pytest.mark.parametrize("point", STARTING)
def test_a_broker_killed_while_it_starts_again_has_lost_nothing(
    written: Written, notes_service: NotesService, point: str
) -> None:
    """Issue 3: after each restart, nothing needs a manual step; the restart may be killed, too."""
    before = len(notes_service.effects)
    with ForkedBroker(written) as broker:
        broker.connect_notes()
        callers = Callers(broker)
        with callers.calling():
            until(functools.partial(has_effects, notes_service, before + 40))
            broker.child.kill()
        broker.ended()
        for _ in range(3):
            broker.begins("--kill-at", point)
            assert broker.ended() == -signal.SIGKILL

        broker.start()

        check(broker, callers.answered, notes_service.effects[before:])


@pytest.mark.parametrize("round_", range(ROUNDS))
def test_a_broker_killed_at_hundreds_of_moments_has_lost_nothing(
    written: Written, notes_service: NotesService, round_: int
) -> None:
    """Issue 3: SIGKILL at random moments while 32 callers have effects; each round is a trail of its own."""
    random.seed(round_)  # of each round its own moments, as far as 32 callers leave a choice
    survive(written, notes_service, [AT_RANDOM] * KILLS)
