"""Services that fail, through the whole pipeline: what is tried again, what is left alone, and what never is."""

import json
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from broker.connector import ConnectorDocument, Session, Tool, ToolCall
from broker.egress import Secret
from broker.errors import Refusal, UpstreamFailed
from broker.oauth import ApiKeyGrant
from tests.support import failing
from tests.support.broker import Line, open_line
from tests.support.documents import ANALYST, OTHER, Written
from tests.support.failing import Failing, FailingService, connector_documents
from tests.support.windows import Pieces

KEY = "an-api-key-0123456789"
ACTOR = {"user": "test", "uid": 0, "role": "admin"}
PARTS = ("ok", "500", "404", "drop", "flaky", "limited")
RETRIES = "limits: {retries: {most: 2, first_seconds: 0.01}"
SPEC = {
    "ok": "limits: {calls_at_once: 1}",
    "s500": f"{RETRIES}, breaker: {{failures: 6, open_seconds: 60}}}}",
    "s404": f"{RETRIES}, breaker: {{failures: 1, open_seconds: 60}}}}",
    "drop": f"{RETRIES}}}",
    "flaky": f"{RETRIES}, breaker: {{failures: 4, open_seconds: 60}}}}",
    "limited": "limits: {calls_per_minute: 2}",
}
Case = Callable[[Line, FailingService], Awaitable[None]]


@pytest.fixture
def service(tmp_path: Path) -> Iterator[FailingService]:
    """Serve what fails in every way."""
    with FailingService(tmp_path / "failing") as service:
        yield service


@pytest.fixture
def run(written: Written, service: FailingService) -> Callable[[Case], None]:
    """Run a case with a connector for each way to fail, each with an account and permitted."""
    directory = written.directory
    (directory / "failing.pem").write_text(service.authority)
    (directory / "notes.yaml").unlink()
    written.put("failing.yaml", connector_documents(service, *PARTS, **SPEC))
    names = [f"s{part}" if part[0].isdigit() else part for part in PARTS]
    rules = ", ".join(f"{{resource: {name}.notes, actions: [read, write]}}" for name in names)
    written.put(
        "policies.yaml",
        "apiVersion: access.envisionai.dev/v1\nkind: AgentPolicy\nmetadata: {name: all}\n"
        f"spec: {{identity: {{workload: {ANALYST}}}, tools: [{rules}]}}\n",
    )

    def run(case: Case) -> None:
        async def main() -> None:
            async with open_line(written, Failing(), grant=False) as line:  # type: ignore[arg-type] # it finds
                for name in names:
                    await line.parts.vault.add(name, ApiKeyGrant(Secret(KEY)), ACTOR)
                await case(line, service)

        anyio.run(main, backend_options={"use_uvloop": True})

    return run


async def code(line: Line, tool: str) -> tuple[str | None, Refusal | None]:
    """Call a tool; return the code of its refusal, if it is refused."""
    try:
        await line.call(tool, {"id": "n1"})
    except Refusal as refusal:
        return refusal.code, refusal
    return None, None


def standing(line: Line, name: str) -> dict[str, Any]:
    """Return how things stand with a connector."""
    found = line.parts.pipeline.resilience.status(line.parts.documents.current.connections[name])
    assert found is not None
    return found


def test_a_read_is_tried_again_and_every_time_is_on_record(run: Callable[[Case], None]) -> None:
    """Issue 6: retries of idempotent calls, bounded; each attempt is visible in *finished*."""

    async def case(line: Line, service: FailingService) -> None:
        service.answers["flaky"] = [(503, {}), (500, {})]
        answer = await line.call("flaky_notes_read", {"id": "n1"})
        assert json.loads(answer.text)["text"] == "Revenue grew."
        assert service.count("flaky") == 3
        outcome = line.outcome(answer.call_id)
        assert outcome["status"] == "released"
        assert [one["code"] for one in outcome["tries"]] == ["upstream_failed", "upstream_failed"]
        assert all(0 < one["waited_ms"] <= 20 for one in outcome["tries"])

        failed, refusal = await code(line, "s500_notes_read")
        assert (failed, service.count("500")) == ("upstream_failed", 3)
        assert refusal is not None
        assert refusal.call_id is not None
        assert len(line.outcome(refusal.call_id)["tries"]) == 2

    run(case)


def test_a_try_that_failed_leaves_no_credential_on_record(
    run: Callable[[Case], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Vault: no eight bytes of a key are in the trail, wherever a service echoes it; here, in an error, once."""
    echoes = ["cannot validate " + KEY]

    async def read(call: ToolCall, session: Session) -> Any:
        answer = await failing.read(call, session)
        if echoes:
            raise UpstreamFailed(detail=echoes.pop())
        return answer

    def tools(document: ConnectorDocument, snapshot: Any) -> list[Tool]:
        found = failing.tools(document, snapshot)
        return [replace(tool, run=read) if tool.reads_only else tool for tool in found]

    monkeypatch.setattr(Failing, "connector", replace(failing.CONNECTOR, tools=tools))

    async def case(line: Line, _service: FailingService) -> None:
        answer = await line.call("flaky_notes_read", {"id": "n1"})
        (tried,) = line.outcome(answer.call_id)["tries"]
        assert tried["code"] == "leak_blocked"
        assert not Pieces(KEY).in_(json.dumps(line.records()).encode())

    run(case)


def test_a_write_is_never_repeated(run: Callable[[Case], None]) -> None:
    """Issue 6: never a write, whatever the document says and however it failed."""

    async def case(line: Line, service: FailingService) -> None:
        for part, expected in (("500", "upstream_failed"), ("drop", "upstream_interrupted")):
            name = f"s{part}" if part.isdigit() else part
            assert (await code(line, f"{name}_notes_write"))[0] == expected
            assert service.count(part) == 1

    run(case)


def test_what_the_service_refuses_is_not_asked_again(run: Callable[[Case], None]) -> None:
    """It is there, and has said no: neither a retry nor a failure; the circuit stays closed."""

    async def case(line: Line, service: FailingService) -> None:
        for _ in range(3):
            assert (await code(line, "s404_notes_read"))[0] == "upstream_not_found"
        assert service.count("404") == 3

    run(case)


def test_when_to_come_again_is_obeyed_or_the_call_ends(run: Callable[[Case], None]) -> None:
    """Retry-After: a short one is waited for; a long one is the agent's to wait for."""

    async def case(line: Line, service: FailingService) -> None:
        service.answers["flaky"] = [(429, {"retry-after": "0"})]
        assert (await code(line, "flaky_notes_read"))[0] is None
        for headers in ({"retry-after": "120"}, {}):
            service.answers["flaky"] = [(429, headers)]
            failed, refusal = await code(line, "flaky_notes_read")
            assert failed == "upstream_busy"
        assert service.count("flaky") == 4
        service.answers["flaky"] = [(429, {"retry-after": "120"})]
        refusal = (await code(line, "flaky_notes_read"))[1]
        assert refusal is not None
        assert refusal.facts["retry_after"] == 120

        waited: list[float] = []

        async def sleep(seconds: float) -> None:
            waited.append(seconds)

        line.parts.pipeline.resilience._sleep = sleep
        service.answers["flaky"] = [(429, {"retry-after": "7"})]
        assert (await code(line, "flaky_notes_read"))[0] is None
        assert waited == [7]

    run(case)


def test_a_dead_service_is_left_alone_and_disturbs_no_other(run: Callable[[Case], None]) -> None:
    """Issue 6: circuit breaking per connector; its own code, and when to try again."""

    async def case(line: Line, service: FailingService) -> None:
        for _ in range(2):
            await code(line, "s500_notes_read")  # three times each
        assert service.count("500") == 6

        failed, refusal = await code(line, "s500_notes_read")
        assert (failed, service.count("500")) == ("circuit_open", 6)
        assert refusal is not None
        assert 0 < refusal.facts["retry_after"] <= 60
        assert refusal.call_id is not None
        assert line.outcome(refusal.call_id)["status"] == "failed"
        assert line.story(refusal.call_id)["finished"]["credential"] is None  # nothing was opened for it
        assert (await code(line, "s500_notes_write"))[0] == "circuit_open"
        assert (await code(line, "ok_notes_read"))[0] is None

        connection = line.parts.documents.current.connections["s500"]
        assert standing(line, "s500")["circuit"] == "open"
        line.parts.pipeline.resilience.revived(connection)
        assert (await code(line, "s500_notes_write"))[0] == "upstream_failed"

    run(case)


def test_a_circuit_tells_nothing_to_whom_may_not_call(run: Callable[[Case], None]) -> None:
    """It stands behind the decision: whether a service is well is no business of an agent without permission."""

    async def case(line: Line, service: FailingService) -> None:
        for _ in range(2):
            await code(line, "s500_notes_read")
        assert (await code(line, "s500_notes_read"))[0] == "circuit_open"

        assert (await line.refused("s500_notes_read", {"id": "n1"}, OTHER)).code == "unknown_tool"
        assert (await line.refused("s500_notes_read", {"id": "n1", "more": 1})).code == "invalid_arguments"
        assert service.count("500") == 6

    run(case)


def test_what_is_refused_here_opens_no_circuit(run: Callable[[Case], None]) -> None:
    """An agent cannot have a healthy service left alone by calls that the broker itself refuses."""

    async def case(line: Line, service: FailingService) -> None:
        for _ in range(12):
            assert (await line.refused("ok_notes_read", {"id": ""})).code == "invalid_arguments"
            assert (await line.refused("ok_notes_read", {"id": ".."})).code == "invalid_arguments"  # by egress
        assert standing(line, "ok")["circuit"] == "closed"
        assert (await code(line, "ok_notes_read"))[0] is None
        assert service.count("ok") == 1

    run(case)


def test_a_circuit_that_opens_meanwhile_ends_the_retries(run: Callable[[Case], None]) -> None:
    """The agent learns how the service failed, not that it is left alone now."""

    async def case(line: Line, service: FailingService) -> None:
        service.answers["flaky"] = [(500, {})] * 9
        for expected in ("upstream_failed", "upstream_failed", "circuit_open"):
            assert (await code(line, "flaky_notes_read"))[0] == expected
        assert service.count("flaky") == 4

    run(case)


def test_a_connectors_own_limits_refuse_before_anything_is_sent(run: Callable[[Case], None]) -> None:
    """Issue 6: rate limits per connector, set in the document."""

    async def case(line: Line, service: FailingService) -> None:
        for expected in (None, None, "connector_busy"):
            found, refusal = await code(line, "limited_notes_read")
            assert found == expected
        assert service.count("limited") == 2
        assert refusal is not None
        assert 50 < refusal.facts["retry_after"] <= 60

    run(case)


def test_a_call_that_is_cut_off_gives_its_place_back(run: Callable[[Case], None]) -> None:
    """Whatever ends it: what is counted of running calls is true."""

    async def case(line: Line, service: FailingService) -> None:
        resilience = line.parts.pipeline.resilience
        stay, entered = anyio.Event(), anyio.Event()
        found: list[Any] = []

        async def held(_seconds: float) -> None:
            entered.set()
            await stay.wait()

        resilience._sleep = held
        service.answers["flaky"] = [(500, {})]
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(line.call, "flaky_notes_read", {"id": "n1"})
            await entered.wait()
            found.append(standing(line, "flaky")["running"])
            tasks.cancel_scope.cancel()

        assert found == [0]  # while it waits it takes nobody's place
        assert standing(line, "flaky")["running"] == 0
        await line.call("ok_notes_read", {"id": "n1"})  # what is durable after it was queued after it
        ends = [record["outcome"]["status"] for record in line.records(kind="finished")]
        assert ends == ["outcome_unknown", "released"]

    run(case)
