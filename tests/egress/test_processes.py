"""Programs that are services: what a revoked grant or a changed document ends, whatever is going on meanwhile."""

import asyncio
from typing import Any

import pytest

from broker.egress import Command, Processes, Secret
from broker.errors import UpstreamUnreachable

pytestmark = pytest.mark.anyio
KEY = ("up", "grant-1")
SLEEP = Command(("/bin/sleep", "3600"), variable="TOKEN")


class Spawning:
    """Programs as they are started, and when the first of them is about to be."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun = asyncio.Event()
        self.children: list[asyncio.subprocess.Process] = []
        spawn = asyncio.create_subprocess_exec

        async def noted(*words: Any, **how: Any) -> asyncio.subprocess.Process:
            self.begun.set()
            child = await spawn(*words, **how)
            self.children.append(child)
            return child

        monkeypatch.setattr(asyncio, "create_subprocess_exec", noted)


async def test_a_program_that_is_being_started_when_its_grant_is_revoked_does_not_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A revoked token is in nobody's environment: not in that of a program that was only just starting, either."""
    processes, spawning = Processes(), Spawning(monkeypatch)
    starting = asyncio.ensure_future(processes.running(KEY, SLEEP, Secret("Bearer revoked")))
    waiting = asyncio.ensure_future(processes.running(KEY, SLEEP, Secret("Bearer revoked")))
    await spawning.begun.wait()

    await processes.end(KEY[1])

    for call in (starting, waiting):
        with pytest.raises(UpstreamUnreachable):
            await call
    (child,) = spawning.children
    assert child.returncode is not None
    with pytest.raises(UpstreamUnreachable):  # one that had taken the token before it was revoked
        await processes.running(KEY, SLEEP, Secret("Bearer revoked"))
    assert len(spawning.children) == 1


async def test_a_program_ends_when_its_document_names_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """docs/connectors/mcp.md: it ends when its document changes, and not only once somebody calls it again."""
    processes, spawning = Processes(), Spawning(monkeypatch)
    first = await processes.running(KEY, SLEEP, None)
    await processes.keep_only({"up": SLEEP})
    assert KEY in processes._places

    await processes.keep_only({"up": Command(("/bin/sleep", "7200"))})

    assert not first.alive
    assert spawning.children[0].returncode is not None
    await processes.close()


async def test_a_program_with_an_old_credential_ends_although_it_may_not_be_started_again_yet(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The pause before a program is started again is no reason to let it go on with what is no longer good."""
    processes, spawning = Processes(), Spawning(monkeypatch)
    first = await processes.running(KEY, SLEEP, Secret("Bearer old"))
    processes._places[KEY].failures = 5

    with pytest.raises(UpstreamUnreachable):
        await processes.running(KEY, SLEEP, Secret("Bearer new"))

    assert not first.alive
    assert spawning.children[0].returncode is not None
    await processes.close()
