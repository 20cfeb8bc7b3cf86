import contextlib
import datetime
import http.client
import json
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from tests.conftest import Serve
from tests.support.broker import ServedBroker, until
from tests.support.clients import CALL_ID, Lines, Wire, request
from tests.support.documents import OTHER, agents_document
from tests.support.notes import NotesService

Headers = dict[str, str]
INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 0,
    "method": "initialize",
    "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}},
}
INITIALIZED = {"jsonrpc": "2.0", "method": "notifications/initialized"}
LIST = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
WRITE: dict[str, Any] = {"name": "notes_notes_write", "arguments": {"id": "session"}}
CALL = {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": WRITE}


def headers(token: str, session: str | None = None) -> Headers:
    """Return the headers of a request of the handshake era."""
    named = {"Mcp-Session-Id": session} if session else {}
    return {
        "Authorization": f"Bearer {token}",
        "Content-Type": "application/json",
        "Accept": "application/json, text/event-stream",
        **named,
    }


def open_session(broker: ServedBroker, token: str | None = None) -> str:
    """Open a session of the handshake era over Streamable HTTP, and return its id."""
    token = token or broker.token()
    opened = requests.post(f"{broker.url}/mcp", headers=headers(token), json=INITIALIZE, timeout=60)
    session = opened.headers["Mcp-Session-Id"]
    requests.post(f"{broker.url}/mcp", headers=headers(token, session), json=INITIALIZED, timeout=60)
    return session


def data_of(response: requests.Response) -> dict[str, Any]:
    """Return the message in a response that is an event stream."""
    (data,) = [line for line in response.text.splitlines() if line.startswith("data:")]
    message: dict[str, Any] = json.loads(data.removeprefix("data:"))
    return message


class SseStream:
    """An open SSE stream: where to post, and what comes."""

    def __init__(self, broker: ServedBroker, token: str) -> None:
        where = urlsplit(broker.url)
        self._connection = http.client.HTTPConnection(str(where.hostname), where.port, timeout=60)
        self._connection.request("GET", "/sse", headers=headers(token))
        self._response = self._connection.getresponse()
        self.endpoint = broker.url + self.next()

    def next(self) -> str:
        """Return what is said next; an empty text once the stream has ended."""
        try:
            for line in self._response:
                if line.startswith(b"data:"):
                    return line.removeprefix(b"data:").decode().strip()
        except (http.client.IncompleteRead, ConnectionError):
            pass
        return ""

    def close(self) -> None:
        """Leave."""
        self._response.close()
        self._connection.close()


Open = Callable[[str], SseStream]


@pytest.fixture
def open_sse(broker: ServedBroker) -> Iterator[Open]:
    """Open SSE streams to the shared broker."""
    with ExitStack() as stack:

        def open_sse(token: str) -> SseStream:
            stream = SseStream(broker, token)
            stack.callback(stream.close)
            return stream

        yield open_sse


def test_a_session_id_is_useless_to_another_principal(broker: ServedBroker, notes_service: NotesService) -> None:
    """lessons.md 5 (CVE-2026-52869): a foreign token gets the answer that a session which does not exist would get."""
    session, foreign = open_session(broker), broker.token(OTHER)
    before = list(notes_service.effects)

    def ask(method: str, session_id: str) -> tuple[int, str]:
        response = requests.request(
            method, f"{broker.url}/mcp", headers=headers(foreign, session_id), json=CALL, timeout=60
        )
        return response.status_code, response.text

    for method in ("POST", "GET", "DELETE"):
        assert ask(method, session) == ask(method, uuid.uuid4().hex)
        assert ask(method, session)[0] == 404
    own = requests.post(f"{broker.url}/mcp", headers=headers(broker.token(), session), json=LIST, timeout=60)

    assert notes_service.effects == before
    assert len(data_of(own)["result"]["tools"]) == 3


def test_a_session_id_without_a_token_is_nothing(broker: ServedBroker) -> None:
    """lessons.md 5: the id names a session; it proves nothing."""
    session = open_session(broker)
    without = headers("", session)
    del without["Authorization"]

    response = requests.post(f"{broker.url}/mcp", headers=without, json=LIST, timeout=60)

    assert response.status_code == 401


def test_a_fresh_token_of_the_same_agent_keeps_the_session(broker: ServedBroker) -> None:
    """lessons.md 17: a session bound to a token's bytes dies on every refresh; ours belongs to issuer and subject."""
    session = open_session(broker, broker.token(jti="first"))

    response = requests.post(
        f"{broker.url}/mcp", headers=headers(broker.token(jti="second"), session), json=CALL, timeout=60
    )

    call_id = data_of(response)["result"]["_meta"][CALL_ID]
    assert broker.story(call_id)["requested"]["identity"]["token_id"] == "second"


def test_a_session_is_opened_by_a_handshake_only(broker: ServedBroker) -> None:
    """What is not an initialize opens nothing, and its call does not happen."""
    before = len(broker.records(kind="requested"))

    response = requests.post(f"{broker.url}/mcp", headers=headers(broker.token()), json=CALL, timeout=60)

    assert response.status_code == 400
    assert len(broker.records(kind="requested")) == before


def test_an_ended_session_stays_ended(broker: ServedBroker) -> None:
    """A DELETE by its owner ends it, for the owner too."""
    session = open_session(broker)

    ended = requests.delete(f"{broker.url}/mcp", headers=headers(broker.token(), session), timeout=60)
    after = requests.post(f"{broker.url}/mcp", headers=headers(broker.token(), session), json=LIST, timeout=60)

    assert (ended.status_code, after.status_code) == (200, 404)


def test_an_sse_stream_takes_no_message_of_another_principal(
    broker: ServedBroker, open_sse: Open, notes_service: NotesService
) -> None:
    """lessons.md 5: the stream's id is in a URL, which is no secret; each POST proves itself."""
    stream = open_sse(broker.token())
    before = list(notes_service.effects)

    foreign = requests.post(stream.endpoint, headers=headers(broker.token(OTHER)), json=CALL, timeout=60)
    absent = requests.post(
        f"{broker.url}/messages/?session_id={uuid.uuid4().hex}",
        headers=headers(broker.token(OTHER)),
        json=CALL,
        timeout=60,
    )
    anonymous = requests.post(stream.endpoint, json=CALL, timeout=60)

    assert (foreign.status_code, foreign.text) == (absent.status_code, absent.text) == (404, "Could not find session")
    assert anonymous.status_code == 401
    assert notes_service.effects == before


def test_an_sse_stream_goes_on_with_a_fresh_token(broker: ServedBroker, open_sse: Open) -> None:
    """lessons.md 17: refresh must not end what belongs to the same issuer and subject."""
    stream = open_sse(broker.token(jti="first"))

    accepted = requests.post(
        stream.endpoint, headers=headers(broker.token(jti="second")), json=request("tools/list"), timeout=60
    )

    assert accepted.status_code == 202
    assert len(json.loads(stream.next())["result"]["tools"]) == 3


@pytest.mark.parametrize("session_id", ["", "x", "../../etc", "0" * 32, "0" * 10_000, "%00"])
def test_a_made_up_stream_id_is_nothing(broker: ServedBroker, session_id: str) -> None:
    """Ids are random; whatever else is sent is answered without a word about what exists."""
    response = requests.post(
        f"{broker.url}/messages/",
        params={"session_id": session_id},
        headers=headers(broker.token()),
        json=CALL,
        timeout=60,
    )

    assert response.status_code in {400, 404}


def test_what_is_open_is_cut_when_its_agent_is_suspended(serve: Serve) -> None:
    """architecture.md, Processes: sessions and streams are registered by agent, and cut when the agent is suspended."""
    broker = serve()
    session, stream = open_session(broker), SseStream(broker, broker.token())
    with contextlib.closing(stream), Lines(broker.agents_socket) as lines:
        lines.ask("tools/list")

        broker.written.put("agents.yaml", agents_document(analyst="suspended"))

        assert stream.next() == ""
        assert list(lines.rest()) == []
    until(lambda: session not in broker.doors._sessions._server_instances)
    broker.written.put("agents.yaml", agents_document())
    until(lambda: requests.get(f"{broker.url}/mcp", headers=headers(broker.token()), timeout=60).status_code != 403)
    resumed = requests.post(f"{broker.url}/mcp", headers=headers(broker.token(), session), json=LIST, timeout=60)

    assert resumed.status_code == 404


def test_only_the_suspended_agents_streams_are_cut(serve: Serve) -> None:
    """One agent's suspension is nobody else's."""
    broker = serve()
    with Lines(broker.agents_socket) as own, Lines(broker.agents_socket) as others:
        own.ask("tools/list")
        others.ask("tools/list", proof={"token": broker.token(OTHER)})

        broker.written.put("agents.yaml", agents_document(analyst="suspended"))

        assert list(own.rest()) == []
        assert "result" in others.ask("tools/list", proof={"token": broker.token(OTHER)})


def test_a_running_call_is_cut_when_its_agent_is_suspended(serve: Serve, notes_service: NotesService) -> None:
    """Project rule: cut an agent off in one second; the 2026-07-28 wire has no session to end, but a request."""
    broker = serve()
    with ThreadPoolExecutor(1) as pool, notes_service.holding():
        running = pool.submit(Wire(broker).call, WRITE["name"], WRITE["arguments"])
        notes_service.arrived.get(timeout=60)

        broker.written.put("agents.yaml", agents_document(analyst="suspended"))

        assert notes_service.left.wait(60)
        answer = running.result(60)

    assert (answer.status, answer.code) == (403, "cut")
    until(lambda: broker.last_status() == "outcome_unknown")


@pytest.mark.slow
def test_an_agent_whose_time_has_come_keeps_nothing_open(serve: Serve) -> None:
    """streams.py: what is open belongs to an agent that may call; a registration that has run out is none."""
    broker = serve()
    soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=3)
    text = agents_document().replace("status: active,", f"valid_until: {soon:%Y-%m-%dT%H:%M:%SZ},", 1)
    broker.written.put("agents.yaml", text)
    with contextlib.closing(SseStream(broker, broker.token())) as stream:
        assert stream.next() == ""

    assert Wire(broker).call(WRITE["name"], WRITE["arguments"]).code == "agent_expired"


def test_one_agents_streams_leave_room_for_the_others(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """Issue 2, MCP: what one agent holds open is capped, with a code, and is nobody else's trouble."""
    monkeypatch.setattr("broker.app.doors._MOST_REQUESTS_OF_AN_AGENT", 3)
    broker = serve()
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(contextlib.closing(SseStream(broker, broker.token())))

        refused = requests.get(f"{broker.url}/sse", headers=headers(broker.token()), timeout=60)
        others = SseStream(broker, broker.token(OTHER))
        others.close()

    assert (refused.status_code, refused.json()["error"]["data"]["code"]) == (429, "too_many_connections")
    assert others.endpoint


def test_one_agents_sessions_leave_room_for_the_others(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """lessons.md 5 and 18: a client that opens sessions and never ends them shuts nobody else out."""
    monkeypatch.setattr("broker.doors.mcp.http._MOST_SESSIONS_OF_AN_AGENT", 3)
    broker = serve()
    for _ in range(3):
        open_session(broker)

    refused = requests.post(f"{broker.url}/mcp", headers=headers(broker.token()), json=INITIALIZE, timeout=60)

    assert refused.status_code == 503
    assert open_session(broker, broker.token(OTHER))
