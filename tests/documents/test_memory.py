"""What was read of files that have not changed is not read again, and what it says stays true."""

import contextlib
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import pytest

from broker.documents import FindConnector, Invalid, Memory, load, memory
from broker.documents.source import read_sources


def loaded(directory: Path, find: FindConnector, known: Memory) -> list[str]:
    """Load the set, and return the files that were read anew."""
    read: list[str] = []

    def reading(text: bytes, file: str) -> object:
        read.append(file)
        return read_sources(text, file)

    known.begin()
    with patch("broker.documents.memory.read_sources", reading):
        load(directory, find, memory=known)
    return read


def test_only_what_has_changed_is_read_again(directory: Path, find: FindConnector) -> None:
    """Issue 4, Speed: reloading 10,000 documents of which one has changed."""
    known = Memory()
    first = loaded(directory, find, known)
    (directory / "policy.yaml").write_text((directory / "policy.yaml").read_text().replace("[read, search]", "[read]"))

    assert len(first) == 5
    assert loaded(directory, find, known) == ["policy.yaml"]
    assert loaded(directory, find, known) == []


def test_the_same_content_under_another_name_is_told_of_under_that_name(directory: Path, find: FindConnector) -> None:
    """A mistake is reported where it stands now."""
    known = Memory()
    loaded(directory, find, known)
    (directory / "policy.yaml").rename(directory / "renamed.yaml")

    assert loaded(directory, find, known) == ["renamed.yaml"]


def test_a_set_loaded_from_memory_is_the_same_set(directory: Path, find: FindConnector) -> None:
    """What is remembered decides as what is read does."""
    known = Memory()
    loaded(directory, find, known)
    known.begin()

    remembered, fresh = load(directory, find, memory=known), load(directory, find)

    assert (remembered.digest, remembered.outline, remembered.warnings) == (fresh.digest, fresh.outline, fresh.warnings)
    assert remembered.policy_names == fresh.policy_names


def test_a_mistake_is_found_again(directory: Path, find: FindConnector, change: Callable[..., object]) -> None:
    """A file with a mistake that nobody has touched keeps its mistake."""
    change("policy.yaml", "[read, search]", "[read, serach]")
    known = Memory()

    for _ in range(2):
        known.begin()
        with pytest.raises(Invalid) as refused:
            load(directory, find, memory=known)
        assert [problem.key for problem in refused.value.problems] == ["spec.tools[0].actions[1]"]


def test_what_is_gone_is_forgotten(directory: Path, find: FindConnector) -> None:
    """Memory does not grow with every change."""
    known = Memory()
    for number in range(3):
        (directory / "policy.yaml").write_text((directory / "policy.yaml").read_text() + f"# {number}\n")
        loaded(directory, find, known)
    known.forget()

    assert len(known) == 5


class Interpreter:
    """Stands in for `sys` and `gc`: loads of other tests may still be under way."""

    def __init__(self) -> None:
        self.turn, self.thresholds = 0.005, (700, 10, 10)

    def getswitchinterval(self) -> float:
        """Return how long a turn is."""
        return self.turn

    def setswitchinterval(self, turn: float) -> None:
        """Change it."""
        self.turn = turn

    def get_threshold(self) -> tuple[int, int, int]:
        """Return when the collector runs."""
        return self.thresholds

    def set_threshold(self, *thresholds: int) -> None:
        """Change it."""
        first, second, third = thresholds
        self.thresholds = first, second, third

    def get_freeze_count(self) -> int:
        """Say that nothing was left alone."""
        return 0


def test_short_turns_are_over_when_the_last_load_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """What loads change of the interpreter is put back: also where one fails, and where they overlap."""
    interpreter = Interpreter()
    monkeypatch.setattr("broker.documents.memory.sys", interpreter)
    monkeypatch.setattr("broker.documents.memory.gc", interpreter)
    monkeypatch.setattr("broker.documents.memory._TURNS", memory._Turns())
    first, second = memory.in_short_turns(), memory.in_short_turns()

    first.__enter__()
    second.__enter__()
    short = interpreter.turn
    first.__exit__(None, None, None)
    still = interpreter.turn
    with contextlib.suppress(OSError):
        second.__exit__(OSError, OSError(), None)

    assert short == still < 0.005
    assert (interpreter.turn, interpreter.thresholds) == (0.005, (700, 10, 10))
