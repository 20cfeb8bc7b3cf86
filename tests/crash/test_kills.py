import contextlib
import functools
import random
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import requests

from broker.audit import Statement, verify
from tests.support.broker import BrokerProcess, Record, until
from tests.support.clients import Wire
from tests.support.documents import Written
from tests.support.killing import POINTS
from tests.support.notes import NotesService

pytestmark = pytest.mark.slow

CALLERS = 8


@dataclass
class Callers:
    """Agents that write notes for as long as there is a broker, each note under the id of its own trace."""

    broker: BrokerProcess
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
            thread.join(20)
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
    with BrokerProcess(written) as broker:
        broker.connect_notes()
        broker.kill()
        callers = Callers(broker)
        for kill in kills:
            broker.start(*([] if kill == "at random" else ["--kill-at", kill]))
            with callers.calling():
                if kill == "at random":
                    some = len(notes_service.effects) + random.randint(1, 60)  # noqa: S311 - no secret
                    until(functools.partial(has_effects, notes_service, some))
                    broker.process.kill()
                assert broker.process.wait(30) == -9
        broker.start()  # and nothing else: no step by hand
        check(broker, callers.answered, notes_service.effects[before:])


def check(broker: BrokerProcess, answered: dict[str, str], effects: list[str]) -> None:
    """Hold the trail against what the service has seen and what the agents have received."""
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


def test_a_killed_broker_has_lost_nothing_and_invented_nothing(written: Written, notes_service: NotesService) -> None:
    """audit.md C5; at a random moment, between decision and effect, and between effect and end."""
    survive(written, notes_service, ["at random", "after-first-commit", "before-last-commit"])


@pytest.mark.parametrize("point", POINTS)
def test_a_broker_killed_at_a_named_point_has_lost_nothing(
    written: Written, notes_service: NotesService, point: str
) -> None:
    """audit.md C5: the two commits leave no moment at which an effect could be without a decision on disk."""
    survive(written, notes_service, [point] * 3)


def test_a_broker_killed_at_many_moments_has_lost_nothing(written: Written, notes_service: NotesService) -> None:
    """audit.md C5, at whatever moment it comes."""
    survive(written, notes_service, ["at random"] * 12)
