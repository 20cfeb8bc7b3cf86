"""Attempts to go on after an operator has said stop: by what runs, what is open, another way in, a good token."""

import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anyio
import pytest
import requests

from tests.attacks.test_sessions import INITIALIZE, LIST, WRITE, SseStream, headers, open_session
from tests.conftest import Serve
from tests.support.broker import BrokerProcess, ServedBroker, until
from tests.support.clients import ERAS, TRANSPORTS, Era, Lines, Transport, Wire, connected, request
from tests.support.documents import ANALYST, BARRED, OTHER, Written, agents_document
from tests.support.notes import NotesService
from tests.support.operators import OperatorRefused
from tests.support.stopping import resume, suspend

CALL: dict[str, Any] = {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": WRITE}
NEWCOMER = "spiffe://prod/agent/newcomer"


def refused_at_every_door(broker: ServedBroker) -> set[str | None]:
    """Return the codes with which the analyst is refused at each door, with a token that is good."""
    with Lines(broker.agents_socket) as lines:
        local = lines.ask("tools/list", proof={"token": broker.token()})["error"]["data"]["code"]
    return {
        Wire(broker).call(WRITE["name"], WRITE["arguments"]).code,
        requests.get(f"{broker.url}/sse", headers=headers(broker.token()), timeout=60).json()["error"]["data"]["code"],
        requests.post(f"{broker.url}/mcp", headers=headers(broker.token()), json=INITIALIZE, timeout=60).json()[
            "error"
        ]["data"]["code"],
        local,
    }


@pytest.mark.parametrize("whom", [{"agent": "analyst"}, {"agent": ANALYST}, {"team": "finance"}, {"all": True}])
def test_a_good_token_opens_no_door_of_a_suspended_agent(
    serve: Serve, notes_service: NotesService, whom: dict[str, Any]
) -> None:
    """Issue 4, The kill switch: new calls are refused with their own code, by any way in; resume undoes it."""
    broker = serve()
    effects = len(notes_service.effects)

    suspend(broker.operators, **whom)
    codes = refused_at_every_door(broker)
    during = len(notes_service.effects)
    resume(broker.operators, **whom)

    assert codes == {"agent_suspended"}
    assert during == effects
    assert Wire(broker).call(WRITE["name"], WRITE["arguments"]).code is None


class RunningByHttp:
    """A call that runs, over Streamable HTTP of either era."""

    def __init__(self, broker: ServedBroker, era: Era) -> None:
        self._broker = broker
        self._session = open_session(broker) if era == "legacy" else None

    def __call__(self) -> Any:
        """Call, and return what came of it."""
        if self._session is None:
            answer = Wire(self._broker).call(WRITE["name"], WRITE["arguments"])
            return answer.status, answer.code
        sent = headers(self._broker.token(), self._session)
        with contextlib.suppress(requests.ConnectionError, requests.exceptions.ChunkedEncodingError):
            answered = requests.post(f"{self._broker.url}/mcp", headers=sent, json=CALL, timeout=60)
            return "Revenue" in answered.text
        return False


@pytest.mark.parametrize("era", ERAS)
def test_a_call_that_runs_over_http_is_cut_and_its_result_withheld(
    serve: Serve, notes_service: NotesService, era: Era
) -> None:
    """Issue 4, The kill switch: results in flight are withheld and recorded as `outcome_unknown`."""
    broker = serve()
    running = RunningByHttp(broker, era)
    with ThreadPoolExecutor(1) as pool, notes_service.holding():
        answer = pool.submit(running)
        notes_service.arrived.get(timeout=60)

        suspend(broker.operators)

        assert notes_service.left.wait(60)
        said = answer.result(60)

    assert said in ((403, "cut"), False)
    until(lambda: broker.last_status() == "outcome_unknown")
    kinds = [record["kind"] for record in broker.records()]
    assert kinds.index("agent_suspended") < kinds.index("finished")


def test_a_call_that_runs_over_sse_is_cut_with_its_stream(serve: Serve, notes_service: NotesService) -> None:
    """Issue 4, The kill switch: streams are cut, with what runs on them."""
    broker = serve()
    with contextlib.closing(SseStream(broker, broker.token())) as stream, notes_service.holding():
        sent = headers(broker.token())
        requests.post(stream.endpoint, headers=sent, json=request("tools/call", WRITE), timeout=60)
        notes_service.arrived.get(timeout=60)

        suspend(broker.operators)

        assert notes_service.left.wait(60)
        assert "result" not in "".join(iter(stream.next, ""))
    until(lambda: broker.last_status() == "outcome_unknown")


def test_a_call_that_runs_over_the_relay_is_cut_with_its_connection(serve: Serve, notes_service: NotesService) -> None:
    """Issue 4, The kill switch: the stdio relay's connection ends; the relay answers its client itself."""
    broker = serve()
    with Lines(broker.agents_socket) as lines, notes_service.holding():
        lines.say(request("tools/call", WRITE))
        notes_service.arrived.get(timeout=60)

        suspend(broker.operators)

        assert notes_service.left.wait(60)
        assert list(lines.rest()) == []
    until(lambda: broker.last_status() == "outcome_unknown")


def test_what_waits_for_something_to_be_said_is_cut(serve: Serve) -> None:
    """Issue 4, The kill switch: long polls of a session, its stream, and a connection that is idle, all end at once."""
    broker = serve()
    session = open_session(broker)
    sent = {**headers(broker.token(), session), "Accept": "text/event-stream"}
    poll = requests.get(f"{broker.url}/mcp", headers=sent, stream=True, timeout=60)
    with (
        contextlib.closing(poll),
        contextlib.closing(SseStream(broker, broker.token())) as stream,
        Lines(broker.agents_socket) as lines,
        Lines(broker.agents_socket) as others,
    ):
        lines.ask("tools/list")
        others.ask("tools/list", proof={"token": broker.token(OTHER)})

        suspend(broker.operators)

        assert stream.next() == ""
        assert list(lines.rest()) == []
        assert b"data:" not in b"".join(poll.iter_content(1024))
        assert "result" in others.ask("tools/list", proof={"token": broker.token(OTHER)})
    resume(broker.operators)
    after = requests.post(f"{broker.url}/mcp", headers=headers(broker.token(), session), json=LIST, timeout=60)
    assert after.status_code == 404


def test_no_call_is_released_after_the_suspension_in_the_trail(serve: Serve) -> None:
    """Races: however calls and the order meet, the trail holds no answer that was let go behind the suspension."""
    broker = serve()
    stop = threading.Event()

    def call() -> None:
        wire = Wire(broker)
        while not stop.is_set():
            wire.call("notes_notes_read", {"id": "n1"})

    with ThreadPoolExecutor(6) as pool:
        for _ in range(6):
            pool.submit(call)
        until(lambda: len(broker.records(kind="finished")) > 10)
        suspend(broker.operators)
        stop.set()

    records = broker.records()
    (order,) = [number for number, record in enumerate(records) if record["kind"] == "agent_suspended"]
    later = records[order:]
    assert not [one for one in later if one["kind"] == "decided" and one["policy"]["decision"] == "permit"]
    assert not [one for one in later if one["kind"] == "finished" and one["outcome"]["status"] == "released"]
    assert broker.open_calls() == []


@pytest.mark.parametrize("code", ["agent_retired", "agent_expired", "agent_suspended"])
def test_resuming_lets_in_nobody_whose_document_says_otherwise(serve: Serve, code: str) -> None:
    """Issue 4, The kill switch: the stricter of document and store wins; retired and expired too."""
    broker = serve()
    name = code.removeprefix("agent_")
    suspend(broker.operators, agent=name)

    told = resume(broker.operators, agent=name)

    assert (told["barred"], told["still"][0]["code"]) == (1, code)
    assert Wire(broker, broker.token(BARRED[code])).call(WRITE["name"], WRITE["arguments"]).code == code


def test_a_new_document_does_not_lift_what_an_operator_said(serve: Serve) -> None:
    """Decision 50: renaming the agent, moving it to another team or saying active again is no way around."""
    broker = serve()
    suspend(broker.operators, team="finance")
    before = broker.parts.documents.current.digest

    renamed = agents_document().replace("name: analyst", "name: fresh", 1).replace("team: finance", "team: new", 1)
    broker.written.put("agents.yaml", renamed)
    until(lambda: broker.parts.documents.current.digest != before)

    assert Wire(broker).call(WRITE["name"], WRITE["arguments"]).code == "agent_suspended"


def test_an_agent_is_suspended_before_it_is_registered(serve: Serve) -> None:
    """Decision 50: by its workload, and said to be meant: a typing mistake suspends nobody and says so."""
    broker = serve()
    with pytest.raises(OperatorRefused) as mistaken:
        suspend(broker.operators, agent=NEWCOMER)
    suspend(broker.operators, agent=NEWCOMER, unregistered=True)
    before = broker.parts.documents.current.digest

    broker.written.put("agents.yaml", agents_document().replace(ANALYST, NEWCOMER, 1))
    until(lambda: broker.parts.documents.current.digest != before)

    assert mistaken.value.code == "not_found"
    assert Wire(broker, broker.token(NEWCOMER)).call(WRITE["name"], WRITE["arguments"]).code == "agent_suspended"


@pytest.mark.parametrize(
    "whom", [{"agent": "analist"}, {"team": "finanse"}, {"agent": "analyst", "all": True}, {"all": False}]
)
def test_an_order_that_is_not_clear_suspends_nobody(serve: Serve, whom: dict[str, Any]) -> None:
    """A mistake is told of, so that nobody believes an agent to be cut off that is not."""
    broker = serve()

    with pytest.raises(OperatorRefused):
        suspend(broker.operators, **whom)

    assert broker.operators.get("/v1/agents/suspensions") == []
    assert Wire(broker).call(WRITE["name"], WRITE["arguments"]).code is None


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_no_client_goes_on_after_a_suspension(serve: Serve, transport: Transport, era: Era) -> None:
    """Whatever client an agent is, by whichever transport and era: after the order, it gets no further answer."""
    broker = serve()
    listed = []

    async def main() -> bool:
        with contextlib.suppress(BaseException):  # what a client makes of a cut connection is its own affair
            async with connected(broker, transport, era) as client:
                listed.extend((await client.list_tools()).tools)
                suspend(broker.operators)
                result = await client.call_tool(WRITE["name"], WRITE["arguments"])
                return not result.is_error
        return False

    assert not anyio.run(main)
    assert listed
    assert not broker.records(kind="finished")


@pytest.fixture
def process(written: Written) -> Iterator[BrokerProcess]:
    """Serve as a process of its own."""
    with BrokerProcess(written) as broker:
        broker.connect_notes()
        yield broker


def outcomes_of(process: BrokerProcess) -> list[str]:
    """Return how the calls that have ended did."""
    return [one["outcome"]["status"] for one in process.records() if one["kind"] == "finished"]


@pytest.mark.slow
def test_a_served_process_cuts_everything_and_its_successor_remembers(
    process: BrokerProcess, notes_service: NotesService
) -> None:
    """Issue 4, The kill switch, end to end: running calls of every door, streams and sessions; a restart keeps it."""
    session = open_session(process)  # type: ignore[arg-type] # it has what is asked of it
    with (
        ThreadPoolExecutor(1) as pool,
        contextlib.closing(SseStream(process, process.token())) as stream,  # type: ignore[arg-type]
        Lines(process.agents_socket) as lines,
        notes_service.holding(),
    ):
        running = pool.submit(Wire(process).call, WRITE["name"], WRITE["arguments"])
        lines.say(request("tools/call", WRITE))
        requests.post(stream.endpoint, headers=headers(process.token()), json=request("tools/call", WRITE), timeout=60)
        for _ in range(3):
            notes_service.arrived.get(timeout=60)

        suspend(process.operators, all=True)

        assert running.result(60).code == "cut"
        assert "result" not in "".join(iter(stream.next, ""))
        assert list(lines.rest()) == []
    ended = requests.post(f"{process.url}/mcp", headers=headers(process.token(), session), json=LIST, timeout=60)
    until(lambda: len(outcomes_of(process)) == 3)  # what is cut is on record a moment after its connection
    outcomes = outcomes_of(process)
    process.kill()
    process.start()
    after = Wire(process).call(WRITE["name"], WRITE["arguments"]).code
    resume(process.operators, all=True)

    assert ended.status_code == 403
    assert outcomes == ["outcome_unknown"] * 3
    assert after == "agent_suspended"
    assert Wire(process).call(WRITE["name"], WRITE["arguments"]).code is None
