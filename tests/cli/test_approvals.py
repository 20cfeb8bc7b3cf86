"""`aam approvals`: what an operator types, and what it says."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.conftest import Serve
from tests.doors.test_operators import OPERATORS, connecting_as
from tests.support.approving import WRITE, need_approval
from tests.support.broker import ServedBroker, until
from tests.support.clients import Wire

Aam = Callable[..., Any]
NOTE = {"id": "n1"}


@pytest.fixture
def broker(serve: Serve) -> Iterator[ServedBroker]:
    """Serve a broker whose approver is at the terminal."""
    broker = serve(operators=OPERATORS)
    before = broker.parts.documents.current.digest
    need_approval(broker.written)
    until(lambda: broker.parts.documents.current.digest != before)
    with connecting_as("bin"):
        yield broker


@pytest.fixture
def approvals(aam: Aam, broker: ServedBroker) -> Callable[..., Any]:
    """Run `aam approvals …`."""
    return lambda *arguments: aam("approvals", *arguments, "--dir", broker.written.directory)


def test_an_approver_lists_looks_and_approves(approvals: Callable[..., Any], broker: ServedBroker) -> None:
    """Issue 4, Approval: operators with the approver role see exact arguments and effect in `aam approvals`."""
    nothing = approvals("list")
    Wire(broker).call(WRITE, NOTE)
    listed, (one,) = approvals("list"), approvals("list", "--json").json
    shown, approved = approvals("show", one["id"]), approvals("approve", one["id"], "--reason", "As agreed")
    later = approvals("show", one["id"], "--json").json

    assert nothing.out == "Nothing waits for approval.\n"
    assert one["id"] in listed.out
    assert '"id": "n1"' in shown.out
    assert "Write a note." in shown.out
    assert "may change something" in shown.out
    assert "approved" in approved.out
    assert (later["status"], later["asked"], later["reason"]) == ("approved", None, "As agreed")
    assert Wire(broker).call(WRITE, NOTE).code is None
    assert "consumed" in approvals("list", "--all").out


def test_a_refusal_is_told_and_final(approvals: Callable[..., Any], broker: ServedBroker) -> None:
    """Exit status 2 for what is not there to decide any more."""
    Wire(broker).call(WRITE, NOTE)
    (one,) = approvals("list", "--json").json

    refused = approvals("refuse", one["id"], "--reason", "Not this month")
    again = approvals("approve", one["id"], "--reason", "Changed my mind")

    assert (refused.code, again.code) == (0, 2)
    assert Wire(broker).call(WRITE, NOTE).code == "approval_refused"


def test_what_an_agent_writes_does_nothing_to_a_terminal(approvals: Callable[..., Any], broker: ServedBroker) -> None:
    """Arguments are an agent's words: no markup, no control characters."""
    Wire(broker).call(WRITE, {"id": "[red]\u001b[2J\u202e"})
    (one,) = approvals("list", "--json").json

    shown = approvals("show", one["id"]).out

    assert "[red]" in shown
    assert "\u001b" not in shown
    assert "\u202e" not in shown


def test_a_status_says_how_many_wait(aam: Aam, approvals: Callable[..., Any], broker: ServedBroker) -> None:
    """Whoever looks at the broker sees that somebody must decide."""
    Wire(broker).call(WRITE, NOTE)

    ran = aam("status", "--dir", broker.written.directory)

    assert "1 call waits" in ran.out
    assert approvals("list").code == 0
