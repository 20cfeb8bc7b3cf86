import io
import logging
from typing import Any

import pytest
import requests

from broker.app.logs import PlainFormatter
from broker.connector import errors
from tests.support.broker import ServedBroker
from tests.support.clients import Lines, Wire
from tests.support.notes import TOKEN, NotesService, read

WORDS = "SESAME-OPEN-SESAME"


@pytest.fixture
def log() -> Any:
    """Collect what the daemon would log, as it would log it."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(PlainFormatter())
    root = logging.getLogger()
    root.addHandler(handler)
    yield stream
    root.removeHandler(handler)


def test_an_agents_own_token_is_in_no_record_no_log_and_no_answer(broker: ServedBroker, log: io.StringIO) -> None:
    """Project rule: no token in agent answers, logs or the trail; a digest says which proof it was."""
    token = broker.token()
    signature = token.split(".")[2]

    answers = [
        Wire(broker, token).call("notes_notes_read", {"id": "n1"}).raw,
        Wire(broker, token).call("nope").raw,
        requests.post(f"{broker.url}/mcp", headers={"Authorization": f"Bearer {token}x"}, timeout=60).content,
    ]

    assert signature not in repr(answers) + repr(broker.records()) + log.getvalue()


def test_what_is_in_arguments_and_results_is_in_no_record_and_no_log(broker: ServedBroker, log: io.StringIO) -> None:
    """Issue 2, Trail: arguments and results are keyed digests."""

    async def answer(call: Any, session: Any) -> Any:
        await read(call, session)
        return {"id": "n1", "text": WORDS + " result"}

    broker.notes.behaves = answer
    call_id = Wire(broker).call("notes_notes_misbehave", {"id": WORDS + " argument"}).call_id
    Wire(broker).call("notes_notes_read", {"id": "n1", WORDS: WORDS})
    Wire(broker).call("notes_notes_purge", {"id": WORDS})

    assert WORDS not in repr(broker.records()) + log.getvalue()
    assert len(broker.story(call_id)["requested"]["action"]["arguments_hmac"]) == 64
    assert len(broker.outcome(call_id)["result_hmac"]) == 64


def test_equal_arguments_are_recognisable_and_no_dictionary_finds_them(broker: ServedBroker) -> None:
    """audit.md C6: a keyed HMAC, not a plain hash."""
    wire = Wire(broker)

    first, second, other = (
        broker.story(wire.call("notes_notes_read", {"id": name}).call_id)["requested"]["action"]["arguments_hmac"]
        for name in ("n1", "n1", "n2")
    )

    assert first == second != other


def test_an_operators_detail_stays_with_the_operator(broker: ServedBroker, log: io.StringIO) -> None:
    """architecture.md, Connectors: the service's own error text goes to the operator's detail, never to the agent."""
    said = "what the service says"

    async def fail(_call: Any, _session: Any) -> Any:
        raise errors.UpstreamRejected(detail=f"HTTP 400 {said}")

    broker.notes.behaves = fail
    answer = Wire(broker).call("notes_notes_misbehave")

    assert said.encode() not in answer.raw
    assert said in broker.outcome(answer.call_id)["detail"]
    assert said not in log.getvalue()


def test_no_exceptions_text_is_in_the_log(broker: ServedBroker, log: io.StringIO) -> None:
    """Project rule: an exception's text may hold a URL, a body or a token; where it was raised is enough."""

    async def fail(_call: Any, _session: Any) -> Any:
        try:
            raise ValueError(f"{WORDS} inner")
        except ValueError as error:
            raise RuntimeError(f"{WORDS} outer") from error

    broker.notes.behaves = fail
    answer = Wire(broker).call("notes_notes_misbehave")

    assert answer.code == "internal_error"
    assert "RuntimeError at test_leaks.py:" in log.getvalue()
    assert WORDS not in log.getvalue()


@pytest.mark.parametrize(
    "hostile", ["\x1b[2J\x1b]0;owned\x07", "one\nERROR broker forged=1", "\u202edetrever", "\x00", "x" * 9_000]
)
def test_what_a_stranger_sends_cannot_write_the_log(broker: ServedBroker, log: io.StringIO, hostile: str) -> None:
    """Logs are read in terminals and by machines: a line stays a line, printable and short."""
    raw = hostile.encode("utf-8").decode("latin-1").replace("\n", "\x85").replace("\x00", "\x01")

    requests.get(f"{broker.url}/healthz", headers={"Host": raw}, timeout=60)
    requests.get(f"{broker.url}/healthz", headers={"Origin": raw}, timeout=60)
    with Lines(broker.agents_socket) as connection:
        connection.ask("tools/call", {"name": "nope" + hostile, "arguments": {"id": hostile}})
        connection.ask(hostile)
        connection.send(hostile.encode() + b"\n")
    Wire(broker).post(b"{}", "tools/list", **{"Mcp-Session-Id": raw, "MCP-Protocol-Version": "2025-11-25"})
    logging.getLogger("broker.test").error("from outside: %s", hostile, extra={"field": hostile})

    lines = log.getvalue().splitlines()
    assert lines
    assert all(line.isprintable() and len(line) <= 2000 for line in lines)
    assert not any(line.startswith("ERROR broker forged") for line in lines)


def test_a_credential_is_not_found_by_asking_for_it(broker: ServedBroker, notes_service: NotesService) -> None:
    """credentials.md B6: whatever an agent sends to a tool that it may call, the token does not come back."""
    wire = Wire(broker)
    tries = [
        "../token",
        "%2e%2e/token",
        "n1?access_token=",
        "n1#",
        "n1;",
        "\r\nX: y",
        "..",
        ".",
        "n1/../../token",
        "{id}",
    ]

    answers = [wire.call("notes_notes_read", {"id": text}).raw for text in tries]

    assert TOKEN.encode() not in b"".join(answers)
    assert notes_service.url.encode() not in b"".join(answers)
