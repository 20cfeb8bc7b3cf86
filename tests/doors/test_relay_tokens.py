"""A relay that fetches its agent's JWT-SVID from the Workload API, by the public catalogue (JF, WA-3, EP-1, EP-2)."""

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.broker import ServedBroker
from tests.support.clients import AAM, CALL_ID, request
from tests.support.documents import ANALYST, AUDIENCE, OTHER
from tests.support.workload_api import WorkloadApiServer

READ: dict[str, Any] = {"name": "notes_notes_read", "arguments": {"id": "n1"}}
Ask = Callable[..., dict[str, Any]]


@pytest.fixture
def api(broker: ServedBroker, tmp_path: Path) -> Iterator[WorkloadApiServer]:
    """Serve a Workload API that knows this user as the other agent, and as the analyst."""
    with WorkloadApiServer(tmp_path / "agent.sock") as api:

        def sign(workload: str, audiences: list[str]) -> str:
            return broker.token(workload, aud=audiences)

        api.agent.tokens = {os.getuid(): [(OTHER, sign), (ANALYST, sign)]}
        yield api


@pytest.fixture
def ask(broker: ServedBroker, api: WorkloadApiServer) -> Iterator[Ask]:
    """Call a tool through one relay, which is told of the Workload API by its environment alone."""
    with ExitStack() as stack:
        relays: dict[tuple[str, ...], subprocess.Popen[bytes]] = {}

        def ask(*options: str) -> dict[str, Any]:
            if options not in relays:
                relays[options] = stack.enter_context(
                    subprocess.Popen(
                        [AAM, "stdio", "--socket", broker.agents_socket, "--audience", AUDIENCE, *options],
                        stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE,
                        stderr=subprocess.DEVNULL,
                        env={**os.environ, "SPIFFE_ENDPOINT_SOCKET": api.endpoint},
                    )
                )
                stack.callback(relays[options].kill)
            relay = relays[options]
            assert relay.stdin is not None
            assert relay.stdout is not None
            relay.stdin.write(json.dumps(request("tools/call", READ)).encode() + b"\n")
            relay.stdin.flush()
            answer: dict[str, Any] = json.loads(relay.stdout.readline())
            return answer

        yield ask


def caller(broker: ServedBroker, answer: dict[str, Any]) -> tuple[str, str]:
    """Return as whom a call was recorded, and how that was proved."""
    identity = broker.story(answer["result"]["_meta"][CALL_ID])["requested"]["identity"]
    return identity["spiffe_id"], identity["method"]


def test_jf_1_and_wa_3_the_default_token_is_fetched_for_each_call(
    broker: ServedBroker, api: WorkloadApiServer, ask: Ask
) -> None:
    """identity.md A9: a JWT-SVID from SPIFFE_ENDPOINT_SOCKET, for the broker's audience; the first is the default."""
    answers = [ask(), ask()]

    assert [caller(broker, answer) for answer in answers] == [(OTHER, "jwt-svid")] * 2
    assert [list(call.request.audience) for call in api.agent.calls] == [[AUDIENCE]] * 2
    assert {call.metadata["workload.spiffe.io"] for call in api.agent.calls} == {"true"}
    assert {call.peer.uid for call in api.agent.calls if call.peer} == {os.getuid()}


@pytest.mark.slow
def test_jf_3_the_workload_that_was_named_is_asked_for(broker: ServedBroker, api: WorkloadApiServer, ask: Ask) -> None:
    """Workload API §6.2.1: `spiffe_id`, where one process has several identities."""
    assert caller(broker, ask("--agent", ANALYST)) == (ANALYST, "jwt-svid")
    assert api.agent.calls[0].request.spiffe_id == ANALYST


@pytest.mark.slow
def test_jf_4_a_process_that_is_denied_shows_no_older_token(api: WorkloadApiServer, ask: Ask) -> None:
    """Workload API §6.2.1: PermissionDenied is an answer; what was fetched before is not shown again."""
    assert "result" in ask()

    api.agent.tokens.clear()
    refused = ask()

    assert refused["error"]["data"] == {"code": "proof_missing"}
    assert "PERMISSION_DENIED" in refused["error"]["message"]


@pytest.mark.slow
def test_a_process_of_another_user_gets_no_token(api: WorkloadApiServer, ask: Ask) -> None:
    """Workload Endpoint §3: the kernel says who asks; no user of that number runs this test."""
    api.agent.tokens = {os.getuid() + 1: api.agent.tokens[os.getuid()]}

    assert ask()["error"]["data"] == {"code": "proof_missing"}


@pytest.mark.slow
def test_a_token_for_somebody_else_is_refused_and_the_process_is_not_asked_instead(
    api: WorkloadApiServer, broker: ServedBroker, ask: Ask
) -> None:
    """lessons.md 1: a token that fails is never replaced by a weaker proof, though this user has an agent."""
    api.agent.tokens = {os.getuid(): [(OTHER, lambda name, _: broker.token(name, aud=["https://elsewhere.example"]))]}

    assert ask()["error"]["data"]["code"] == "proof_for_another_audience"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "needs a Workload API"),
        pytest.param(("--workload-api", "unix:relative.sock"), "unix:///an/absolute/path", marks=pytest.mark.slow),
        (("--workload-api", "unix:///x", "--token-file", "t"), "two proofs"),
        (("--workload-api", "unix:///x", "--agent", "analyst"), "SPIFFE ID"),
    ],
)
def test_a_relay_that_could_not_prove_itself_does_not_start(options: tuple[str, ...], words: str) -> None:
    """Project rule: used wrongly is exit status 2, with what to do."""
    environment = {name: value for name, value in os.environ.items() if name != "SPIFFE_ENDPOINT_SOCKET"}

    ran = subprocess.run(
        [AAM, "stdio", "--audience", AUDIENCE, *options], env=environment, capture_output=True, text=True, check=False
    )

    assert ran.returncode == 2
    assert words in ran.stderr
