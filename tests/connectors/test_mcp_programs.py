"""Which call a program's question is about, and how much of what it says is kept: a test speaks for the program."""

import asyncio
import json
from contextlib import AsyncExitStack
from types import SimpleNamespace
from typing import Any

import pytest

from broker.connector import ConnectorDocument, NoDialogue, ToolCall, errors
from connectors.mcp import stdio
from connectors.mcp.messages import Deaf
from connectors.mcp.run import Server
from connectors.mcp.settings import McpSettings
from connectors.mcp.stdio import program

pytestmark = pytest.mark.anyio
QUESTION = {"id": "q1", "method": "elicitation/create", "params": {"message": "Delete all of A's files?"}}
ASKS: dict[str, Any] = {"elicitation": {}}


class Program:
    """A program of the handshake era: it answers what opens a session, and otherwise says what a test says."""

    def __init__(self) -> None:
        self.took: list[dict[str, Any]] = []
        self.attached: Any = None
        self.calls = 0
        self.alive = True
        self.blameless = False
        self.ended = asyncio.Event()
        self._lines: asyncio.Queue[bytes] = asyncio.Queue()
        self._came = asyncio.Event()

    async def send(self, line: bytes) -> None:
        """Take a line."""
        said = json.loads(line)
        self.took.append(said)
        self._came.set()
        if said.get("method") == "initialize":
            self.says({"id": said["id"], "result": {"protocolVersion": "2025-11-25"}})
        elif said.get("method", "").startswith("resources/"):
            self.says({"id": said["id"], "result": {}})

    async def lines(self) -> Any:
        """Yield what is said."""
        while line := await self._lines.get():
            yield line

    def says(self, message: Any) -> None:
        """Say one message."""
        self._lines.put_nowait(json.dumps({"jsonrpc": "2.0", **message}).encode())

    def kill(self) -> None:
        """End."""
        self.alive = False
        self.ended.set()
        self._lines.put_nowait(b"")

    async def sent(self, **wanted: Any) -> dict[str, Any]:
        """Wait until such a message has come, and return it."""
        while not (found := [one for one in self.took if wanted.items() <= one.items()]):
            self._came.clear()
            await self._came.wait()
        return found[-1]


class Session:
    """Where a program is had from: the one that runs, or another once that has ended."""

    limits = SimpleNamespace(total_seconds=30.0)

    def __init__(self) -> None:
        self.programs = [Program()]

    async def process(self) -> Program:
        """Return the program that runs."""
        if not self.programs[-1].alive:
            self.programs.append(Program())
        return self.programs[-1]


class Person(Deaf):
    """Somebody who can be asked."""

    def __init__(self) -> None:
        self.asked_of: list[str] = []
        self.answer = asyncio.Event()

    async def asked(self, method: str, params: Any) -> Any:  # noqa: ARG002 - the protocol's
        """Think, and say yes."""
        self.asked_of.append(params["message"])
        await self.answer.wait()
        return {"action": "accept"}


def spoken_to(session: Session, *, asks: bool = True) -> Any:
    """Take the session's program for one call."""
    return program(session, ASKS, asks=asks)  # type: ignore[arg-type] # as much of a session as it uses


async def give_up_a_call(session: Session) -> int:
    """Make a call of agent A's, cut it off before it is answered, and return its number."""
    async with spoken_to(session) as peer:
        call = asyncio.ensure_future(peer.request("tools/call", {}, Person()))
        said = await session.programs[0].sent(method="tools/call")
        call.cancel()
        await asyncio.wait([call])
    return int(said["id"])


async def test_a_question_of_a_call_that_was_given_up_is_put_to_nobody_else() -> None:
    """Issue 6, `mcp`: a program goes on with a call that was cut off; its question is not the next caller's."""
    session, person = Session(), Person()
    await give_up_a_call(session)
    first = session.programs[0]
    first.says(QUESTION)
    assert (await first.sent(id="q1"))["error"]["code"] == -32601

    async with spoken_to(session) as peer:
        call = asyncio.ensure_future(peer.request("tools/call", {}, person))
        second = session.programs[1]
        number = (await second.sent(method="tools/call"))["id"]
        first.says({**QUESTION, "id": "q2"})
        second.says({"id": number, "result": {"content": []}})
        await call

    assert not first.alive
    assert first.blameless  # others' calls are not held up because one was cancelled
    assert person.asked_of == []


async def test_a_program_that_answers_late_goes_on() -> None:
    """It is known again whom a question is for: nothing else is under way."""
    session, person = Session(), Person()
    number = await give_up_a_call(session)
    (only,) = session.programs
    only.says({"id": number, "result": {}})
    only.says({"id": "p", "method": "ping"})
    await only.sent(id="p")
    only.took.clear()

    async with spoken_to(session) as peer:
        call = asyncio.ensure_future(peer.request("tools/call", {"of": "B"}, person))
        number = (await only.sent(method="tools/call"))["id"]
        person.answer.set()
        only.says(QUESTION)
        await only.sent(id="q1")
        only.says({"id": number, "result": {}})
        await call

    assert session.programs == [only]
    assert person.asked_of == ["Delete all of A's files?"]


async def test_log_messages_of_a_call_that_was_given_up_are_told_to_nobody() -> None:
    """What a program logs may be another agent's."""
    session = Session()
    logged: list[Any] = []

    class Reader(Deaf):
        async def logged(self, params: Any) -> None:
            logged.append(params)

    await give_up_a_call(session)
    (only,) = session.programs
    async with spoken_to(session, asks=False) as peer:
        call = asyncio.ensure_future(peer.request("prompts/get", {}, Reader()))
        number = (await only.sent(method="prompts/get"))["id"]
        only.says({"method": "notifications/message", "params": {"level": "info", "data": "of A"}})
        only.says({"id": number, "result": {}})
        await call

    assert logged == []


async def test_a_subscription_stops_no_other_call() -> None:
    """Issue 6, `mcp`: a program that may ask has one call at a time; a subscription would be one for days."""
    session, over, begun = Session(), asyncio.Event(), asyncio.Event()

    class Following(NoDialogue):
        def begun(self) -> None:
            begun.set()

        async def ended(self) -> None:
            await over.wait()

    spec = {"type": "mcp", "process": {"command": ["/bin/true"]}, "snapshot": "x.json"}
    server = Server(ConnectorDocument.model_validate(spec), McpSettings(lets=["elicitation"]), {})
    call = ToolCall({"uri": "x://y"}, None, dialogue=Following())  # type: ignore[arg-type] # it tells no progress
    following = asyncio.ensure_future(server.follow(call, session))  # type: ignore[arg-type] # the same
    await begun.wait()

    async with spoken_to(session) as peer:
        assert not peer.in_doubt
    over.set()
    assert await following == {}


async def test_who_waits_too_long_for_a_turn_is_told_that_it_is_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit on a call holds while it waits for another agent's, too."""
    session = Session()
    async with spoken_to(session):
        monkeypatch.setattr(Session, "limits", SimpleNamespace(total_seconds=0))

        with pytest.raises(errors.ConnectorBusy):
            async with AsyncExitStack() as stack:
                await stack.enter_async_context(spoken_to(session))


@pytest.mark.parametrize(("size", "most"), [(10, stdio._MOST_WAITING), (stdio._MOST_BYTES // 4, 4)])
async def test_a_program_that_asks_faster_than_anybody_answers_is_ended(size: int, most: int) -> None:
    """Issue 6, `mcp`: what is kept of what a server says has an end, in number and in bytes."""
    session, person = Session(), Person()
    async with spoken_to(session) as peer:
        call = asyncio.ensure_future(peer.request("tools/call", {}, person))
        (only,) = session.programs
        await only.sent(method="tools/call")
        for number in range(most + 2):  # one of them is being thought about
            only.says({**QUESTION, "id": number, "params": {"message": "x" * size}})

        await only.ended.wait()
        person.answer.set()
        with pytest.raises(errors.UpstreamTooLarge):
            await call


async def test_what_a_program_tells_is_dropped_above_what_is_kept() -> None:
    """Of what nobody has to answer, too much is told to nobody."""
    inbox = stdio.Inbox()

    for _ in range(1000):
        inbox.offer({"method": "notifications/message"}, 1000)
    inbox.offer({"method": "notifications/message"}, stdio._MOST_BYTES)

    assert inbox._came.qsize() == stdio._MOST_UNREAD
    assert isinstance(await inbox.get(), dict)
    assert inbox._bytes == 1000 * (stdio._MOST_UNREAD - 1)
