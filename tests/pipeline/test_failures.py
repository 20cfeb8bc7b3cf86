import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broker.connector import errors
from broker.errors import Refusal, codes
from tests.support.broker import Line
from tests.support.notes import TOKEN, Notes, NotesService, read

InLine = Callable[[Callable[[Line], Awaitable[None]]], None]

SECRET_WORDS = "SESAME-OPEN-SESAME"


class Odd(Exception):  # noqa: N818 - it is odd
    """An exception that cannot even be printed."""

    def __str__(self) -> str:
        raise RuntimeError(SECRET_WORDS)

    __repr__ = __str__


class Nameless(Refusal):
    """A refusal for which nobody has thought of a code."""


def builtin_exceptions() -> list[type[BaseException]]:
    """Return every exception class of the language that can be raised with one text."""
    found: list[type[BaseException]] = [Odd]
    waiting: list[type[BaseException]] = [BaseException]
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        if kind.__module__ == "builtins" and not issubclass(kind, UnicodeError | BaseExceptionGroup | GeneratorExit):
            found.append(kind)
    return found


TEXT = st.text(max_size=20).map(lambda text: SECRET_WORDS + text)
ONE = st.builds(lambda kind, text: kind(text), st.sampled_from(builtin_exceptions()), TEXT)
RAISED = ONE | st.builds(BaseExceptionGroup, TEXT, st.lists(ONE, min_size=1, max_size=3))


def test_no_exception_of_a_connector_becomes_anything_but_a_coded_refusal(
    in_line: InLine, notes: Notes, caplog: pytest.LogCaptureFixture
) -> None:
    """Project rule: every refusal has a stable code, and no exception's text is in an answer, the trail or the log."""
    caplog.set_level(logging.DEBUG, "broker")

    async def case(line: Line) -> None:
        loop = asyncio.get_running_loop()

        @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
        @given(RAISED)
        def check(error: BaseException) -> None:
            async def fail(_call: Any, _session: Any) -> Any:
                raise error

            notes.behaves = fail
            raised.append(asyncio.run_coroutine_threadsafe(line.refused("notes_notes_misbehave"), loop).result(60))

        raised: list[Refusal] = []
        await asyncio.to_thread(check)

        assert {refusal.code for refusal in raised} == {"internal_error"}
        for refusal in raised:
            assert SECRET_WORDS not in f"{refusal.message}{refusal.detail}"
            outcome = line.outcome(str(refusal.call_id))
            assert (outcome["status"], outcome["code"]) == ("failed", "internal_error")
        assert SECRET_WORDS not in repr(line.records())
        assert line.open_calls() == []

    in_line(case)

    assert SECRET_WORDS not in caplog.text
    assert SECRET_WORDS not in "".join(repr(vars(record)) for record in caplog.records)


@pytest.mark.parametrize("kind", list(codes(errors.Upstream)), ids=lambda kind: kind.code)
def test_a_services_failure_keeps_its_code_and_its_words_stay_with_the_operator(
    in_line: InLine, notes: Notes, kind: type[Refusal]
) -> None:
    """architecture.md, Connectors: the service's own error text goes to the operator's detail, never to the agent."""

    async def case(line: Line) -> None:
        async def fail(_call: Any, _session: Any) -> Any:
            raise kind(detail="the service's words")

        notes.behaves = fail
        refusal = await line.refused("notes_notes_misbehave")

        assert refusal.code == kind.code
        assert "words" not in refusal.message
        assert line.outcome(str(refusal.call_id))["detail"] == "the service's words"

    in_line(case)


def test_a_refusal_without_a_code_is_an_internal_error(in_line: InLine, notes: Notes) -> None:
    """Project rule: every refusal has a stable code, a stranger's connector's too."""

    async def case(line: Line) -> None:
        async def fail(_call: Any, _session: Any) -> Any:
            raise Nameless

        notes.behaves = fail

        assert (await line.refused("notes_notes_misbehave")).code == "internal_error"

    in_line(case)


@pytest.mark.parametrize(
    ("after_sending", "status"), [(errors.UpstreamTimeout, "outcome_unknown"), (KeyError, "outcome_unknown")]
)
def test_what_fails_after_sending_and_before_an_answer_is_of_unknown_outcome(
    in_line: InLine, notes: Notes, after_sending: type[Exception], status: str
) -> None:
    """architecture.md: a call whose request had been sent when it was cut off is `outcome_unknown`."""

    async def case(line: Line) -> None:
        async def fail(call: Any, session: Any) -> Any:
            await read(call, session)
            raise after_sending

        notes.behaves = fail
        refusal = await line.refused("notes_notes_misbehave", {"id": "n1"})

        assert line.outcome(str(refusal.call_id))["status"] == status

    in_line(case)


def test_a_service_that_cannot_be_reached_has_not_acted(in_line: InLine, notes: Notes) -> None:
    """Nothing was sent, so the outcome is known: it failed."""

    async def case(line: Line) -> None:
        async def fail(_call: Any, session: Any) -> Any:
            session._base = session._base.replace("127.0.0.1", "127.0.0.9")
            return await session.call("GET", "/notes/n1")

        notes.behaves = fail
        refusal = await line.refused("notes_notes_misbehave")

        assert line.outcome(str(refusal.call_id))["status"] == "failed"

    in_line(case)


@pytest.mark.parametrize(
    "result", [object(), {"id": {1, 2, object()}}, {"id": 2**70}, {"id": "\ud800"}, {"id": b"\xff"}]
)
def test_a_result_that_is_no_json_is_withheld(in_line: InLine, notes: Notes, result: Any) -> None:
    """The service has answered and nothing of it was let go: withheld, with a code."""

    async def case(line: Line) -> None:
        async def answer(call: Any, session: Any) -> Any:
            await read(call, session)
            return result

        notes.behaves = answer
        try:
            call_id = (await line.call("notes_notes_misbehave", {"id": "n1"})).call_id
        except Refusal as refusal:
            call_id = str(refusal.call_id)

        outcome = line.outcome(call_id)
        assert outcome["status"] in {"withheld", "released"}
        assert outcome["code"] is not None or outcome["status"] == "released"

    in_line(case)


@pytest.mark.parametrize("where", ["result", "message", "detail"])
def test_a_credential_never_leaves_in_a_result_or_in_a_refusals_words(
    in_line: InLine, notes: Notes, where: str
) -> None:
    """credentials.md B6: the scanner sees every outgoing message, errors and what goes into the trail included."""

    async def case(line: Line) -> None:
        async def leak(call: Any, session: Any) -> Any:
            await read(call, session)
            if where == "result":
                return {"id": f"it is {TOKEN}."}
            words = {"message": f"denied: {TOKEN}"} if where == "message" else {"detail": f"denied: {TOKEN}"}
            raise errors.UpstreamRejected(**words)

        notes.behaves = leak
        refusal = await line.refused("notes_notes_misbehave", {"id": "n1"})

        assert refusal.code == "leak_blocked"
        assert line.outcome(str(refusal.call_id))["status"] == "withheld"
        assert TOKEN not in repr(line.records())

    in_line(case)


def test_one_calls_failure_is_no_other_calls(in_line: InLine, notes: Notes, notes_service: NotesService) -> None:
    """The line holds nothing that a call could leave broken for the next."""

    async def case(line: Line) -> None:
        async def fail(_call: Any, _session: Any) -> Any:
            raise SystemExit(3)

        notes.behaves = fail
        calls = [
            line.refused("notes_notes_misbehave") if number % 2 else line.call("notes_notes_write", {"id": "ok"})
            for number in range(20)
        ]

        await asyncio.gather(*calls)

        statuses = sorted(record["outcome"]["status"] for record in line.records(kind="finished"))
        assert statuses == ["failed"] * 10 + ["released"] * 10

    in_line(case)

    assert notes_service.effects.count("ok") >= 10
