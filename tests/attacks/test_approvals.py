"""Attempts to get past a person's approval, and to learn or forge what belongs to it."""

import base64
import hashlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import anyio
import anyio.to_thread
import mcp_types as types
import pytest
from mcp import Client
from mcp.shared.exceptions import MCPError

from broker.audit import VerifierKey
from broker.control.webhooks import FORMAT
from tests.conftest import Serve
from tests.doors.test_operators import OPERATORS, connecting_as
from tests.support.approving import WRITE, need_approval
from tests.support.broker import BrokerProcess, ServedBroker, until
from tests.support.clients import CODE, ERAS, TRANSPORTS, Era, Lines, Transport, Wire, connected
from tests.support.documents import OTHER, Written
from tests.support.notes import NotesService
from tests.support.operators import OperatorRefused
from tests.support.stopping import resume, suspend
from tests.support.webhook import WebhookService

APPROVAL = "dev.envisionai.access/approval"
BECAUSE = {"reason": "As agreed"}
LINK = "https://chat.example.com/aam/{id}"
NOTE = {"id": "n1"}


@contextmanager
def serving(serve: Serve, document: dict[str, Any] | None = None, **approval: Any) -> Iterator[ServedBroker]:
    """Serve a broker under whose policies writing needs an approval."""
    broker = serve(**(document or {}))
    before = broker.parts.documents.current.digest
    need_approval(broker.written, **approval)
    until(lambda: broker.parts.documents.current.digest != before)
    yield broker


@pytest.fixture
def broker(serve: Serve) -> Iterator[ServedBroker]:
    """Serve one whose operators are of all three roles."""
    with serving(serve, {"operators": OPERATORS}) as broker:
        yield broker


def asked(broker: ServedBroker, note: str = "n1") -> str:
    """Call over HTTP, be refused, and return the request's id."""
    answer = Wire(broker).call(WRITE, {"id": note})
    assert answer.code == "approval_needed"
    return str(answer.result["_meta"][APPROVAL])


def decide(broker: ServedBroker, approval_id: str, verb: str = "approve", user: str = "bin") -> Any:
    """Decide as one of the operators; bin is the approver."""
    with connecting_as(user):
        return broker.operators.post(f"/v1/approvals/{approval_id}/{verb}", BECAUSE)


def test_a_call_waits_for_nobody_and_is_made_once_it_is_approved(
    broker: ServedBroker, notes_service: NotesService
) -> None:
    """Issue 4, Approval, over the wire: refused with an id, listed, shown, approved, made once, and never again."""
    approval_id = asked(broker, "over the wire")
    with connecting_as("bin"):
        (listed,) = broker.operators.get("/v1/approvals")
        shown = broker.operators.get(f"/v1/approvals/{approval_id}")
    decide(broker, approval_id)
    made, again = (Wire(broker).call(WRITE, {"id": "over the wire"}) for _ in range(2))

    assert (listed["id"], listed["status"], listed["tool"]) == (approval_id, "pending", WRITE)
    assert shown["asked"]["arguments"] == {"id": "over the wire"}
    assert shown["effect"]["reads_only"] is False
    assert (made.code, again.code) == (None, "approval_needed")
    assert notes_service.effects.count("over the wire") == 1


@pytest.mark.parametrize("user", ["daemon", "root", "agent"])
def test_who_is_no_approver_decides_and_sees_nothing(broker: ServedBroker, user: str) -> None:
    """Issue 4, Approval: operators with the approver role; an admin only where the policy says so, an auditor never."""
    approval_id = asked(broker)

    for verb in ("approve", "refuse"):
        with pytest.raises(OperatorRefused) as refused:
            decide(broker, approval_id, verb, user)
        assert refused.value.code in {"operator_forbidden", "operator_unknown"}
    with connecting_as(user), pytest.raises(OperatorRefused):
        broker.operators.get(f"/v1/approvals/{approval_id}")
    assert Wire(broker).call(WRITE, NOTE).code == "approval_needed"


def test_a_list_of_requests_holds_no_arguments(broker: ServedBroker) -> None:
    """What anybody with a role may read says which tool, not with what."""
    asked(broker, "SESAME")

    with connecting_as("daemon"):
        assert "SESAME" not in repr(broker.operators.get("/v1/approvals", all=1))
    assert "SESAME" not in repr(broker.records())


@pytest.mark.parametrize("transport", ["http", "socket"])
def test_retries_at_once_over_several_doors_are_made_once(
    broker: ServedBroker, notes_service: NotesService, transport: str
) -> None:
    """Issue 4, Approval: two concurrent retries cannot both consume it; the loser is refused."""
    note = f"at once by {transport}"
    decide(broker, asked(broker, note))

    def call(number: int) -> str | None:
        if transport == "http" or number % 2:
            return Wire(broker).call(WRITE, {"id": note}).code
        with Lines(broker.agents_socket) as lines:
            said = lines.ask("tools/call", {"name": WRITE, "arguments": {"id": note}}, {"token": broker.token()})
            code: str | None = said["result"]["_meta"].get(CODE)
            return code

    with ThreadPoolExecutor(6) as pool:
        codes = list(pool.map(call, range(6)))

    assert sorted(map(str, codes)) == ["None"] + ["approval_needed"] * 5
    assert notes_service.effects.count(note) == 1


@pytest.mark.parametrize("arguments", [{"id": "n2"}, {"id": "n1\u0000"}, {"id": "N1"}])
def test_changed_arguments_are_another_call(broker: ServedBroker, arguments: dict[str, str]) -> None:
    """Issue 4, Approval: for exactly that digest."""
    decide(broker, asked(broker))

    assert Wire(broker).call(WRITE, arguments).code == "approval_needed"


def test_another_agent_gets_nothing_of_an_approval(broker: ServedBroker) -> None:
    """Issue 4, Approval: for exactly that agent, even with the same tool, arguments and the request's id."""
    approval_id = asked(broker)
    decide(broker, approval_id)

    answer = Wire(broker, broker.token(OTHER)).call(WRITE, NOTE)

    assert answer.code == "approval_needed"
    assert answer.result["_meta"][APPROVAL] != approval_id


def test_a_request_id_is_no_key(broker: ServedBroker) -> None:
    """What a client sends back (`requestState`, `inputResponses`) changes nothing: only a person does."""
    approval_id = asked(broker)
    params = {
        "name": WRITE,
        "arguments": NOTE,
        "requestState": approval_id,
        "inputResponses": {"approval": {"action": "accept", "content": {"approved": True}}},
    }

    answer = Wire(broker).ask("tools/call", params)

    assert answer.code == "approval_needed"


def test_a_suspension_in_between_voids_the_approval(broker: ServedBroker) -> None:
    """Decision 51: who was stopped comes back without what was approved before."""
    approval_id = asked(broker)
    decide(broker, approval_id)
    with connecting_as("root"):
        suspend(broker.operators)
        resume(broker.operators)

    assert asked(broker) != approval_id
    with pytest.raises(OperatorRefused) as refused:
        decide(broker, approval_id)
    assert refused.value.code == "not_found"


# --- Sent to where people decide --------------------------------------------------------------------------------------


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_client_that_can_show_a_url_is_sent_to_the_request(serve: Serve, transport: Transport, era: Era) -> None:
    """Issue 4, Approval: MRTR `input_required` with a URL where the client can; -32042 in the older revisions."""
    with serving(serve, {"approvals": {"url": LINK}}, by="[admin]") as broker:
        links: list[str] = []

        async def open_link(_context: Any, params: Any) -> types.ElicitResult:
            links.append(params.url)
            approval_id = params.url.rpartition("/")[2]
            await anyio.to_thread.run_sync(broker.operators.post, f"/v1/approvals/{approval_id}/approve", BECAUSE)
            return types.ElicitResult(action="accept")

        async def call(client: Client) -> Any:
            if era == "legacy":  # the client's own code does what the newer protocol does by itself
                with pytest.raises(MCPError) as told:
                    await client.call_tool(WRITE, NOTE)
                assert told.value.code == types.URL_ELICITATION_REQUIRED
                (link,) = told.value.data["elicitations"]
                await open_link(None, types.ElicitRequestURLParams.model_validate(link))
            return await client.call_tool(WRITE, NOTE)

        async def main() -> Any:
            async with connected(broker, transport, era, elicitation_callback=open_link) as client:
                return await call(client)

        result = anyio.run(main)

    assert not result.is_error
    assert len(links) == 1
    assert links[0].startswith(LINK.removesuffix("{id}"))


@pytest.mark.parametrize("url", [None, LINK])
def test_a_client_that_cannot_is_told_in_words(serve: Serve, url: str | None) -> None:
    """Usable by any client: a result with the code and the id."""
    with serving(serve, {"approvals": {"url": url}}) as broker:
        answer = Wire(broker).call(WRITE, NOTE)

        assert answer.result["isError"] is True
        assert answer.result["_meta"][APPROVAL] in answer.result["content"][0]["text"]
        assert LINK[:20] not in repr(answer.result)


# --- Webhooks ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def hook(tmp_path: Path) -> Iterator[WebhookService]:
    """Take webhooks."""
    with WebhookService(tmp_path / "hook") as service:
        yield service


@contextmanager
def announcing(serve: Serve, hook: WebhookService, tmp_path: Path) -> Iterator[ServedBroker]:
    """Serve a broker that announces requests."""
    (tmp_path / "access").mkdir()
    (tmp_path / "access/hook.pem").write_text(hook.authority)
    part = {"url": LINK, "private_ranges": ["127.0.0.0/8"], "certificate_authority": "hook.pem"}
    with serving(serve, {"approvals": part}, webhook=f"'{hook.url}'") as broker:
        yield broker


def test_a_webhook_carries_a_link_and_its_signature_holds(serve: Serve, hook: WebhookService, tmp_path: Path) -> None:
    """Issue 4, Approval: a signed webhook carries a link only; anybody with the log's public key can check it."""
    with announcing(serve, hook, tmp_path) as broker:
        approval_id = asked(broker, "SESAME")
        asked(broker, "SESAME")
        headers, body = hook.came.get(timeout=60)
        until(lambda: broker.records(kind="approval_announced"))
        key = VerifierKey.parse(str(broker.parts.signing.current))

        said = json.loads(body)
        assert (said["id"], said["link"]) == (approval_id, LINK.replace("{id}", approval_id))
        assert said.keys() == {"format", "id", "link", "log", "time"}
        assert "SESAME" not in body.decode()
        name, signature = headers["aam-signature"].split(" ")
        text = f"{FORMAT}\n{said['log']}\n{hashlib.sha256(body).hexdigest()}\n"
        raw = base64.b64decode(signature)
        assert (name, raw[:4]) == (key.name, key.key_id)
        assert key.verifies(text.encode(), raw[4:])
        assert not key.verifies(text.replace("approval", "bundle").encode(), raw[4:])
        assert hook.came.empty()


def test_a_webhook_that_does_not_arrive_is_on_record_and_stops_nobody(
    serve: Serve, hook: WebhookService, tmp_path: Path
) -> None:
    """People can look by themselves: `aam approvals list` knows of everything, whoever was told."""
    hook.status = 500
    with (
        patch("broker.control.webhooks._AGAIN_SECONDS", (0.0, 0.0)),
        announcing(serve, hook, tmp_path) as broker,
    ):
        approval_id = asked(broker)
        until(lambda: broker.records(kind="approval_announced"))

        (record,) = broker.records(kind="approval_announced")
        assert record["outcome"] == {"code": "upstream_rejected"}
        assert hook.came.qsize() == 3
        assert broker.operators.get("/v1/approvals")[0]["id"] == approval_id


# --- Crashes ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_crash_between_use_and_execution_leaves_it_used(written: Written, notes_service: NotesService) -> None:
    """Issue 4, Approval: consumed stays consumed; the call that used it is `outcome_unknown`."""
    need_approval(written, by="[admin]", exclude_owner="false")
    with BrokerProcess(written) as broker:
        broker.connect_notes()
        approval_id = str(Wire(broker).call(WRITE, NOTE).result["_meta"][APPROVAL])
        broker.operators.post(f"/v1/approvals/{approval_id}/approve", BECAUSE)
        with ThreadPoolExecutor(1) as pool, notes_service.holding():
            pool.submit(Wire(broker).call, WRITE, NOTE)
            notes_service.arrived.get(timeout=60)
            broker.kill()
        broker.start()
        after = Wire(broker).call(WRITE, NOTE)
        used = next(one for one in broker.operators.get("/v1/approvals", all=1) if one["id"] == approval_id)
        outcomes = {one["call_id"]: one["outcome"]["status"] for one in broker.records() if one["kind"] == "finished"}

    assert after.code == "approval_needed"
    assert used["status"] == "consumed"
    assert outcomes[used["consumed_by"]] == "outcome_unknown"
