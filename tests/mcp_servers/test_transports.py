"""The same server by every transport that there is upstream, called by clients of both eras."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mcp_types as types
import pytest

from tests.support.broker import ServedBroker
from tests.support.clients import ERAS, Era, connected
from tests.support.mcp_servers import ROOT, as_program, everything, find, over_tls, pin, write_set

pytestmark = [pytest.mark.slow, pytest.mark.anyio]
LETS = ["elicitation", "sampling", "roots", "logging"]


@pytest.fixture(scope="module", params=["http", "sse", "stdio"])
def broker(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedBroker]:
    """Serve a broker in front of the server with one of everything."""
    place = tmp_path_factory.mktemp(request.param)
    with contextlib.ExitStack() as stack:
        if request.param == "stdio":
            spec = as_program([sys.executable, "-m", "tests.support.everything", "stdio"], lets=LETS)
            spec["process"] = {**spec["process"], "directory": str(ROOT)}
        else:
            url = stack.enter_context(everything(place, request.param))
            transport = "sse" if request.param == "sse" else "streamable-http"
            spec = over_tls(url, place, lets=LETS, transport=transport)
        spec["limits"] = {"total_seconds": 60}
        written = write_set(place / "access", {"up": spec}, [{"resource": "up.*", "actions": ["*"]}])
        broker = stack.enter_context(ServedBroker(written, grant=False, find=find))
        pin(broker, "up")
        yield broker


@pytest.mark.parametrize("era", ERAS)
async def test_tools_resources_prompts_and_progress_come_through(broker: ServedBroker, era: Era) -> None:
    """Issue 6, `mcp`: stdio, SSE and Streamable HTTP, both eras."""
    told: list[Any] = []

    async def noted(progress: float, total: float | None, message: str | None) -> None:  # noqa: ARG001
        told.append((progress, total))

    async with connected(broker, "streamable-http", era) as client:
        assert "up_test_simple_text" in [tool.name for tool in (await client.list_tools()).tools]
        result = await client.call_tool("up_test_tool_with_progress", {}, progress_callback=noted)
        assert not result.is_error
        read = await client.read_resource("test://static-text")
        prompt = await client.get_prompt("up_test_prompt_with_arguments", {"arg1": "a", "arg2": "b"})

    assert told == [(0, 100), (50, 100), (100, 100)]
    assert isinstance(read.contents[0], types.TextResourceContents)
    assert "arg1='a'" in str(prompt.messages[0].content)


async def test_a_person_is_asked_by_a_server_of_the_handshake_era(broker: ServedBroker) -> None:
    """Issue 6, `mcp`: elicitation passes through, whatever the transport upstream."""
    asked: list[str] = []

    async def ask(_context: Any, params: Any) -> types.ElicitResult:
        asked.append(params.message)
        return types.ElicitResult(action="accept", content={"username": "jane", "email": "jane@example.com"})

    async with connected(broker, "streamable-http", "legacy", elicitation_callback=ask) as client:
        result = await client.call_tool("up_test_elicitation", {"message": "Who are you?"})

    assert asked == ["Who are you?"]
    assert "jane@example.com" in str(result.content[0])


def test_nothing_that_was_started_is_left(tmp_path: Path) -> None:
    """Issue 6, `mcp`: a program ends with the broker."""
    spec = as_program([sys.executable, "-m", "tests.support.everything", "stdio"])
    spec["process"] = {**spec["process"], "directory": str(ROOT)}
    spec["limits"] = {"total_seconds": 60}
    written = write_set(tmp_path / "access", {"up": spec}, [])

    with ServedBroker(written, grant=False, find=find) as broker:
        pin(broker, "up")
        (place,) = broker.parts.egress.processes._places.values()
        process = place.process
        assert process is not None
        assert process.alive

    assert not process.alive
