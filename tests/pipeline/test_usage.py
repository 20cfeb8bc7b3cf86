"""A service's own allowance: noted from its answers, and not used up."""

from types import SimpleNamespace
from typing import Any

import pytest

from broker.connector import Usage
from broker.egress import Response
from broker.errors import UpstreamBusy
from broker.pipeline import Usages


class Clock:
    """A clock that a test moves."""

    now = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


def connection(reserve: int = 0, said: Usage | None = None) -> Any:
    """Return a connector whose every answer says the same of its allowance."""
    connector = SimpleNamespace(expired=lambda response: response.status == 401, usage=lambda _response: said)
    return SimpleNamespace(
        name="crm", connector=connector, document=SimpleNamespace(limits=SimpleNamespace(reserve=reserve))
    )


def heard(usages: Usages, one: Any, status: int = 200, grant: str = "g1") -> bool:
    """Let an answer arrive; return whether it says that the token has expired."""
    return usages.noting(one, grant)(Response(status, {}, b""))


def used(usages: Usages) -> Usage | None:
    """Return the largest use of the connector."""
    largest = usages.largest("crm")
    return None if largest is None else largest.usage


def test_answers_say_how_much_is_used_and_whether_a_token_has_expired() -> None:
    """One does not hide the other."""
    usages = Usages()

    assert heard(usages, connection(said=Usage(3, 10)), 401) is True
    assert heard(usages, connection(said=None)) is False
    assert used(usages) == Usage(3, 10)


@pytest.mark.parametrize(("used", "reserve", "refused"), [(8, 0, False), (9, 0, False), (10, 0, True), (8, 2, True)])
def test_what_is_left_to_others_is_not_used(used: int, reserve: int, refused: bool) -> None:  # noqa: FBT001
    """`limits.reserve`."""
    usages, one = Usages(), connection(reserve, Usage(used, 10))
    heard(usages, one)

    if refused:
        with pytest.raises(UpstreamBusy):
            usages.check(one, "g1")
    else:
        usages.check(one, "g1")


def test_one_call_looks_again_after_a_while() -> None:
    """The others wait for what it finds; the refusal says how long."""
    clock = Clock()
    usages, one = Usages(clock), connection(said=Usage(10, 10))
    heard(usages, one)
    clock.now = 20
    with pytest.raises(UpstreamBusy) as refused:
        usages.check(one, "g1")
    assert refused.value.facts["retry_after"] == 40

    clock.now = 61
    usages.check(one, "g1")
    with pytest.raises(UpstreamBusy):
        usages.check(one, "g1")
    heard(usages, connection(said=Usage(2, 10)))
    usages.check(one, "g1")


def test_a_refusal_of_the_service_does_not_make_its_allowance_smaller() -> None:
    """It says that there is no room, and not how much there was."""
    usages = Usages()
    heard(usages, connection(said=Usage(3, 15_000)))
    heard(usages, connection(said=Usage(1, 1)))

    assert used(usages) == Usage(15_000, 15_000)


def test_what_one_person_uses_up_is_no_other_persons() -> None:
    """GitHub counts by token: one agent at its limit ends nobody else's calls; operators see the fullest."""
    usages = Usages()
    assert used(usages) is None
    heard(usages, connection(said=Usage(5000, 5000)), grant="g1")
    heard(usages, connection(said=Usage(20, 60_000)), grant="g2")

    with pytest.raises(UpstreamBusy):
        usages.check(connection(), "g1")
    usages.check(connection(), "g2")
    usages.check(connection(), "g3")
    assert used(usages) == Usage(5000, 5000)
