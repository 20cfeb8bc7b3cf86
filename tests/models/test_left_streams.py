"""Streams that nobody reads any more: nothing of them goes on in the broker."""

import asyncio
import gc
from unittest.mock import patch

import pytest

from broker.doors.models.answering import Answering
from tests.support.broker import until
from tests.support.models import Gateway, asked

CHAT = ("/v1/chat/completions", asked("small"))


def test_nothing_is_left_of_streams_that_were_left(gateway: Gateway) -> None:
    """A stream that nobody reads has no timer that goes on: not after the caller left, not after it was cut."""
    gateway.behaves(holds_after=1)
    with patch("broker.doors.models.answering.SILENCE", 0.01):
        for _ in range(50):
            with gateway.post(CHAT[0], {**CHAT[1], "stream": True}, stream=True) as response:
                next(response.iter_content(64))

        until(lambda: not living())


def living() -> list[Answering]:
    """Return the answers that something still holds."""
    gc.collect()
    return [one for one in gc.get_objects() if isinstance(one, Answering)]


@pytest.mark.anyio
async def test_a_comment_that_cannot_be_sent_is_waited_for_before_the_next() -> None:
    """A reader that takes nothing is not sent comments upon comments; and what is on its way ends with the answer."""
    sending: list[object] = []
    others = asyncio.all_tasks()

    async def stuck(message: object) -> None:
        sending.append(message)
        await asyncio.Event().wait()

    answering = Answering(stuck, "openai")
    for _ in range(3):
        answering._tick()
        await asyncio.sleep(0)
    tasks = asyncio.all_tasks() - others
    answering.quiet()
    await asyncio.wait(tasks, timeout=60)

    assert len(sending) == 1
    assert [task.cancelled() for task in tasks] == [True]
