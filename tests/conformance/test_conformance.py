"""The protocol's own conformance suite, through the broker with authentication on, on an upstream server of ours.

It needs Node 22 or newer and the suite: `AAM_CONFORMANCE` names its `dist/index.js`, `AAM_NODE` the Node that runs it.
"""

import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from broker.doors.mcp import agents_app
from tests.support.broker import ServedBroker, until
from tests.support.mcp_servers import everything, find, over_tls, pin, write_set

pytestmark = [pytest.mark.slow, pytest.mark.node]

SUITE, NODE = os.environ.get("AAM_CONFORMANCE"), os.environ.get("AAM_NODE", "node")
LETS = ["elicitation", "sampling", "roots", "logging"]


@pytest.fixture(scope="module")
def conforming(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedBroker]:
    """Serve a broker in front of a server with one of everything, whose names reach clients as they are.

    The suite cannot send a token, so one is put into each of its requests on the way: a proof as any agent's.
    """
    place = tmp_path_factory.mktemp("conformance")
    token: Callable[[], str] = str

    def injecting(*positional: Any, **named: Any) -> ASGIApp:
        app = agents_app(*positional, **named)

        async def inject(scope: Scope, receive: Receive, send: Send) -> None:
            headers = [*scope["headers"], (b"authorization", f"Bearer {token()}".encode())]
            await app({**scope, "headers": headers}, receive, send)

        return inject

    with everything(place) as url:
        spec = over_tls(url, place, names="upstream", lets=LETS)
        written = write_set(place / "access", {"up": spec}, [{"resource": "up.*", "actions": ["*"]}])
        token = written.token
        with (
            patch("broker.app.doors.agents_app", injecting),
            ServedBroker(written, grant=False, find=find) as broker,
        ):
            pin(broker, "up")
            until(lambda: broker.parts.documents.current.catalog.find("test_simple_text"))
            yield broker


@pytest.mark.parametrize("requirements", ["2025-11-25", "2026-07-28"])
def test_the_broker_conforms(conforming: ServedBroker, requirements: str, tmp_path: Path) -> None:
    """Issue 6, `mcp`: both requirement sets exit 0 through the broker with authentication on."""
    if SUITE is None:
        assert "AAM_CI" not in os.environ, "CI brings the conformance suite"
        pytest.skip("needs AAM_CONFORMANCE: the path of @modelcontextprotocol/conformance's dist/index.js")
    before = len(conforming.records(kind="finished"))

    url = conforming.url.replace("127.0.0.1", "localhost") + "/mcp"
    command = [NODE, SUITE, "server", "--url", url, "--requirements", requirements, "-o", str(tmp_path)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)

    summary = ran.stdout[ran.stdout.rfind("=== SUMMARY ===") :]
    _report(requirements, summary)
    assert ran.returncode == 0, summary + ran.stderr
    assert re.search(r"Total: \d{2,} passed", summary)
    assert len(conforming.records(kind="finished")) > before + 10  # through the pipeline, and not around it


def _report(requirements: str, summary: str) -> None:
    """Keep the summary for whoever runs CI."""
    report = os.environ.get("AAM_CONFORMANCE_REPORT")
    if report is not None:
        with Path(report).open("a") as file:
            file.write(f"--requirements {requirements}\n{summary}\n")
