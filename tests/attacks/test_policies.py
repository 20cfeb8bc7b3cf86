"""Getting past a policy by what one sends: numbers, names, types, floods, and rules that could be read in two ways."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import anyio
import pytest

from broker.audit import Head, seal
from broker.audit.record import LARGEST
from broker.identity import OnBehalfOf
from broker.pipeline.records import decided
from broker.policy import Failed, Rule, compile_condition, parse_filter
from broker.policy.condition import CannotEvaluate
from tests.support.broker import Line, open_line
from tests.support.documents import ANALYST, HEAD, Written
from tests.support.notes import Notes, NotesService
from tests.support.policies import decide, policy, request

CAP = "arguments.amount <= 1000"
READ = {"resource": "crm.accounts", "actions": ["read"]}


@pytest.mark.parametrize(
    "amount",
    [1001, 1000.5, 2**31, 2**32, 2**53 + 1, 2**63, 2**64, 2**64 + 5, 10**30, 1e308, float("inf"), float("nan")],
)
def test_a_number_is_never_small_because_it_is_too_large(amount: float) -> None:
    """Arguments are whatever JSON holds; the engine's integers have 64 bits, and must not wrap."""
    assert decide(policy({**READ, "when": CAP}), arguments={"amount": amount}).effect == "deny"


@pytest.mark.parametrize("amount", ["5", True, None, [5], {"value": 5}, "1e1", ""])
def test_what_is_no_number_is_not_compared_as_one(amount: Any) -> None:
    """No value is converted to fit a condition."""
    assert decide(policy({**READ, "when": CAP}), arguments={"amount": amount}).effect == "deny"


@pytest.mark.parametrize("name", ["agent", "on_behalf_of", "context", "arguments"])
def test_an_argument_is_never_a_fact(name: str) -> None:
    """Glossary, on behalf of: never from an argument, whatever that is called."""
    rule = {**READ, "when": "agent.team == 'audit' || on_behalf_of.email == 'chief@example.com'"}
    given = {name: {"team": "audit", "email": "chief@example.com"}, f"{name}.team": "audit"}

    assert decide(policy(rule), arguments=given).effect == "deny"


@pytest.mark.parametrize(
    "email", ["x' OR 'a' = 'a", "jane@example.com\x00", "%", "*", "' --", "\\' OR 1=1", "jane@example.com' AND"]
)
def test_a_parameter_stays_one_value(email: str) -> None:
    """What an issuer says of a person is a value in a comparison, never a part of the filter."""
    asked = request()
    delegated = OnBehalfOf("https://issuer.example.com", "jane", "id-jag", email)
    asked = replace(asked, subject=replace(asked.subject, on_behalf_of=delegated))

    (bound,) = parse_filter("Owner.Email = :on_behalf_of.email").bound(asked)

    assert (bound.field, bound.operator, bound.value) == ("Owner.Email", "=", email)


def test_a_missing_argument_does_not_slip_past_a_denial() -> None:
    """Leaving out what a denial reads makes the denial apply, not go away."""
    denial = {"resource": "crm.accounts", "deny": ["read"], "when": "arguments.amount > 1000"}

    assert decide(policy(READ, denial), arguments={}).effect == "deny"


def test_an_argument_nested_too_deeply_ends_no_process() -> None:
    """The engine walks values by recursion, in a language where too much of it is the end."""
    nested: Any = 1
    for _ in range(900):
        nested = [nested]

    try:
        held = compile_condition("arguments.amount == 1").holds(request({"amount": nested}))
    except CannotEvaluate:
        held = False
    assert held is False


def test_a_loop_in_a_loop_is_refused_when_loaded() -> None:
    """An agent that sends long lists would choose how long the broker thinks."""
    with pytest.raises(ValueError, match="inside another such loop"):
        compile_condition("arguments.a.all(x, arguments.b.exists(y, x == y))")


def test_a_flood_does_not_get_one_call_more_than_its_limit(
    written: Written, notes: Notes, notes_service: NotesService
) -> None:
    """Issue 4, The language: limits are counted exactly, in the commit that begins the call."""
    rule = {"resource": "notes.notes", "actions": ["write"], "limits": {"calls_per_day": 7}}
    spec = json.dumps({"identity": {"workload": ANALYST}, "tools": [rule]})
    written.put("policies.yaml", f"{HEAD}kind: AgentPolicy\nmetadata: {{name: capped}}\nspec: {spec}\n")
    notes_service.effects.clear()

    async def case(line: Line) -> None:
        await asyncio.gather(*(_attempt(line, number) for number in range(30)), return_exceptions=True)

    _in_line(written, notes, case)

    assert len(notes_service.effects) == 7


def test_the_largest_decision_fits_into_a_record() -> None:
    """A decision that could not be recorded would let nobody call: names are bounded, and so is their number."""
    long = "é" * 100
    rule = Rule(long, "f" * 64, "tools[999999].actions", long * 3, 10**6)
    fields = [f"F{number:03}{'x' * 190}" for number in range(400)]
    wide = policy(
        {**READ, "fields": fields, "mask": fields, "redact": fields, "filter": " AND ".join(["Bbbb = 2"] * 20),
         "limits": {"calls_per_day": 1, "calls_per_hour": 1, "calls_per_minute": 1, "concurrent": 1}, "approval": {}}
    )  # fmt: skip
    decision = decide(wide)
    decision = replace(
        decision,
        rules=(rule,) * 500,
        policies=(long,) * 500,
        failed=(Failed(rule, long * 3),) * 500,
        limits=decision.limits * 100,
    )

    sealed, _ = seal("example.com/log", Head(), decided("0" * 36, decision, "f" * 64))

    assert len(sealed.body) <= LARGEST


async def _attempt(line: Line, number: int) -> None:
    await line.call("notes_notes_write", {"id": f"flood-{number}"})


def _in_line(written: Written, notes: Notes, case: Callable[[Line], Awaitable[None]]) -> None:
    async def run() -> None:
        async with open_line(written, notes) as line:
            await case(line)

    anyio.run(run)


@pytest.fixture
def notes() -> Notes:
    """Lend the connector."""
    return Notes()
