"""`aam connector approve`: what an MCP server says otherwise is shown whole, and let in by a person."""

from pathlib import Path
from typing import Any

import pytest

from tests.support.broker import ServedBroker, until
from tests.support.clients import Wire
from tests.support.low_mcp import LowMcp, note_tool
from tests.support.mcp_servers import find, over_tls, write_set

pytestmark = pytest.mark.slow


def test_a_drifted_tool_is_refused_until_somebody_approves_it(aam: Any, tmp_path: Path) -> None:
    """Issue 6, `mcp`: approved once; drift is refused; the difference is shown; approval lets the tool in again."""
    directory = tmp_path / "access"
    with LowMcp(tmp_path / "server") as server:
        spec = over_tls(server.url, tmp_path / "server", check_seconds=0)
        written = write_set(directory, {"up": spec}, [{"resource": "up.*", "actions": ["*"]}])
        with ServedBroker(written, grant=False, find=find) as broker:
            wire, place = Wire(broker), ("--dir", directory)
            first = aam("connector", "approve", "up", *place)
            assert aam("connector", "approve", "up", "--yes", *place).code == 0
            until(lambda: wire.tools() == ["up_readNote"])
            assert not wire.call("up_readNote", {"id": "n1"}).result.get("isError")

            server.tools = [note_tool(description="Read a note aloud.\x1b[2J")]
            refused = wire.call("up_readNote", {"id": "n1"})
            shown = aam("connector", "approve", "up", *place)
            as_json = aam("connector", "approve", "up", "--json", *place).json
            told = wire.ask("tools/list").result["tools"][0]["description"]
            other = aam("connector", "approve", "up", "--yes", "--only", "0" * 64, *place)
            let_in = aam("connector", "approve", "up", "--yes", "--only", as_json["sha256"], *place)
            until(lambda: wire.ask("tools/list").result["tools"][0]["description"].startswith("Read a note aloud."))

            assert (first.code, "+ tools.readNote.description: 'Read a note.'" in first.out) == (1, True)
            assert refused.code == "definition_drifted"
            assert told == "Read a note."
            assert shown.code == 1
            assert "~ tools.readNote.description: 'Read a note.' -> 'Read a note aloud.\\x1b[2J'" in shown.out
            assert (other.code, let_in.code) == (1, 0)
            assert not wire.call("up_readNote", {"id": "n1"}).result.get("isError")
