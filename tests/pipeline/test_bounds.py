"""What a decision binds a call to: at the service, on the result, and by count."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

from tests.support.broker import Line, open_line
from tests.support.documents import ANALYST, HEAD, OTHER, Written
from tests.support.notes import Notes, NotesService

InLine = Callable[[Callable[[Line], Awaitable[None]]], None]


@pytest.fixture(autouse=True)
def _nothing_asked(notes_service: NotesService) -> None:
    notes_service.asked.clear()


def put_rules(written: Written, *rules: dict[str, Any], workload: str = ANALYST, **spec: Any) -> None:
    """Replace all policies by one of these rules."""
    document = {"identity": {"workload": workload}, "tools": list(rules), **spec}
    written.put("policies.yaml", f"{HEAD}kind: AgentPolicy\nmetadata: {{name: bound}}\nspec: {json.dumps(document)}\n")


def notes_rule(*actions: str, **more: Any) -> dict[str, Any]:
    """Return a rule on the notes."""
    return {"resource": "notes.notes", "actions": list(actions), **more}


async def answered(line: Line, tool: str, arguments: Any) -> Any:
    """Make a call and return its result."""
    return json.loads((await line.call(tool, arguments)).text)


def test_a_filter_reaches_the_service(in_line: InLine, written: Written, notes_service: NotesService) -> None:
    """Issue 4, Scope reaches the upstream: what is outside is as if it were not there."""
    put_rules(written, notes_rule("read", "list", filter="owner = :agent.owner"))

    async def case(line: Line) -> None:
        listed = await answered(line, "notes_notes_list", {})
        mine = await answered(line, "notes_notes_read", {"id": "n1"})
        refusal = await line.refused("notes_notes_read", {"id": "n2"})

        assert [note["id"] for note in listed["notes"]] == ["n1", "n3"]
        assert mine["id"] == "n1"
        assert refusal.code == "upstream_not_found"
        assert all(json.loads(asked["where"]) == [["owner", ["jane@example.com"]]] for asked in notes_service.asked)

    in_line(case)


def test_the_most_records_reach_the_service_and_hold_afterwards(
    in_line: InLine, written: Written, notes_service: NotesService
) -> None:
    """Issue 4, The language: `max_records`; a service that answers with more changes nothing."""
    put_rules(written, notes_rule("list", max_records=2))

    async def case(line: Line) -> None:
        listed = await answered(line, "notes_notes_list", {"limit": 50})

        assert len(listed["notes"]) == 2
        assert notes_service.asked[-1]["limit"] == "2"

    in_line(case)


def test_fields_outside_a_permit_never_leave(in_line: InLine, written: Written) -> None:
    """The brief of issue 4: the connector narrows, and the pipeline sees to it all the same."""
    put_rules(written, notes_rule("read", "list", fields=["id"]))

    async def case(line: Line) -> None:
        assert await answered(line, "notes_notes_read", {"id": "n1"}) == {"id": "n1"}
        listed = await answered(line, "notes_notes_list", {"limit": 1})
        assert listed == {"notes": [{"id": "n1"}]}

    in_line(case)


def test_obligations_are_met_before_anything_leaves(in_line: InLine, written: Written) -> None:
    """Issue 4, The language: obligations `mask`, `redact`, `max_bytes`."""
    put_rules(written, notes_rule("list", mask=["owner"], redact=["text"]), notes_rule("read", max_bytes=64))

    async def case(line: Line) -> None:
        listed = await answered(line, "notes_notes_list", {"limit": 1})
        assert listed == {"notes": [{"id": "n1", "owner": "****.com"}]}
        assert (await line.refused("notes_notes_read", {"id": "n" * 60})).code == "result_too_large"

    in_line(case)


def test_the_record_says_what_bound_the_call(in_line: InLine, written: Written) -> None:
    """The brief of issue 4: deciding rules with place and line, a digest of the scope, obligations; no values."""
    put_rules(
        written,
        notes_rule(
            "read",
            fields=["id", "owner"],
            filter="owner = :agent.owner",
            mask=["owner"],
            max_records=3,
            limits={"calls_per_day": 9},
        ),
    )

    async def case(line: Line) -> None:
        answers = [await line.call("notes_notes_read", {"id": name}) for name in ("n1", "n3")]
        first, second = (line.story(answer.call_id)["decided"]["policy"] for answer in answers)

        assert first["rules"][0] | {"sha256": ""} == {
            "policy": "bound", "sha256": "", "place": "tools[0].actions", "file": "policies.yaml", "line": 4
        }  # fmt: skip
        assert first["scope"]["fields"] == ["id", "owner"]
        assert first["scope"]["filters"] == ["owner ="]
        assert first["scope"]["hmac"] == second["scope"]["hmac"]
        assert first["obligations"] == {"mask": ["owner"], "redact": [], "max_bytes": None}
        assert first["limits"] == [{"policy": "bound", "calls": 9, "per": "day"}]
        assert "jane@example.com" not in json.dumps(first)

    in_line(case)


def test_a_limit_is_counted_exactly_and_survives_a_restart(written: Written, notes: Notes) -> None:
    """Issue 4, The language: limits are counted in *hold*, exactly, in the first commit."""
    put_rules(written, notes_rule("read", limits={"calls_per_day": 5}))

    async def attempt(line: Line) -> str:
        try:
            await line.call("notes_notes_read", {"id": "n1"})
        except Exception as refusal:  # noqa: BLE001 - its code is what counts
            return str(getattr(refusal, "code", refusal))
        return "released"

    async def case() -> None:
        async with open_line(written, notes) as line:
            assert [await attempt(line) for _ in range(3)] == ["released"] * 3
        async with open_line(written, notes, grant=False) as line:
            outcomes = await asyncio.gather(*(attempt(line) for _ in range(8)))
            assert sorted(outcomes) == ["limit_reached"] * 6 + ["released"] * 2

    anyio.run(case)


def test_a_call_beyond_a_limit_is_refused_and_recorded_as_permitted(in_line: InLine, written: Written) -> None:
    """architecture.md: where the hold fails, *decided* keeps the permit and *finished* carries the code."""
    put_rules(written, notes_rule("write", limits={"calls_per_hour": 1}))

    async def case(line: Line) -> None:
        await line.call("notes_notes_write", {"id": "w1"})
        refusal = await line.refused("notes_notes_write", {"id": "w2"})

        story = line.story(str(refusal.call_id))
        assert story["decided"]["policy"]["decision"] == "permit"
        outcome = story["finished"]["outcome"]
        assert (outcome["status"], outcome["code"]) == ("refused", "limit_reached")
        assert not line.open_calls()

    in_line(case)


def test_another_agents_calls_are_not_counted(in_line: InLine, written: Written) -> None:
    """A limit is that of a rule of one agent."""
    put_rules(written, notes_rule("read", limits={"calls_per_day": 1}))
    rules = written.directory.joinpath("policies.yaml").read_text()
    written.put("policies.yaml", rules + "---\n" + rules.replace(ANALYST, OTHER).replace("name: bound", "name: bound2"))

    async def case(line: Line) -> None:
        await line.call("notes_notes_read", {"id": "n1"})
        await line.call("notes_notes_read", {"id": "n1"}, OTHER)
        assert (await line.refused("notes_notes_read", {"id": "n1"}, OTHER)).code == "limit_reached"

    in_line(case)


def test_calls_at_once_are_limited(in_line: InLine, written: Written, notes_service: NotesService) -> None:
    """Issue 4, The language: limits, concurrent."""
    put_rules(written, notes_rule("read", limits={"concurrent": 1}))

    async def case(line: Line) -> None:
        with notes_service.holding():
            running = asyncio.ensure_future(line.call("notes_notes_read", {"id": "n1"}))
            await asyncio.to_thread(notes_service.arrived.get)
            refusal = await line.refused("notes_notes_read", {"id": "n1"})
        await running

        assert refusal.code == "limit_reached"
        await line.call("notes_notes_read", {"id": "n1"})

    in_line(case)


@pytest.mark.parametrize(
    ("rule", "code"),
    [
        (notes_rule("read", when="agent.team == 'audit'"), "access_denied"),
        (notes_rule("read", filter="owner = :on_behalf_of.email"), "condition_failed"),
        (notes_rule("read", approval={}), "approval_needed"),
    ],
)
def test_what_is_not_permitted_has_no_effect(
    in_line: InLine, written: Written, notes_service: NotesService, rule: dict[str, Any], code: str
) -> None:
    """A refusal comes before any credential is opened or any request sent."""
    put_rules(written, rule)

    async def case(line: Line) -> None:
        refusal = await line.refused("notes_notes_read", {"id": "n1"})

        assert refusal.code == code
        assert "credential" not in line.story(str(refusal.call_id))["finished"]["outcome"]
        assert not notes_service.asked

    in_line(case)


def test_a_condition_that_fails_is_on_record_without_its_values(in_line: InLine, written: Written) -> None:
    """Issue 4, The language: an expression that errors refuses the call and tells the operator."""
    put_rules(written, notes_rule("read", when="arguments.id + 1 == 'private'"))

    async def case(line: Line) -> None:
        refusal = await line.refused("notes_notes_read", {"id": "private"})

        assert refusal.code == "condition_failed"
        (failed,) = line.story(str(refusal.call_id))["decided"]["policy"]["failed"]
        assert (failed["place"], failed["line"]) == ("tools[0].actions", 4)
        assert "types" in failed["why"]
        assert "private" not in f"{failed} {refusal.message} {refusal.detail}"

    in_line(case)


def test_every_record_of_an_observed_call_says_so(in_line: InLine, written: Written) -> None:
    """Issue 4: `enforcement: observe`: every record says so."""
    put_rules(written, notes_rule("list"), enforcement="observe", observe={"until": "@"})
    text = written.directory.joinpath("policies.yaml").read_text()
    written.put("policies.yaml", text.replace('"@"', "2099-01-01T00:00:00Z"))

    async def case(line: Line) -> None:
        answer = await line.call("notes_notes_read", {"id": "n1"})

        decided = line.story(answer.call_id)["decided"]["policy"]
        assert (decided["decision"], decided["reason"], decided["observed"]) == (
            "permit",
            "observed",
            "no_rule_permits",
        )
        assert decided["rules"][0]["place"] == "observe"
        assert (await line.refused("notes_notes_write", {"id": "n1"})).code == "access_denied"

    in_line(case)
