"""Ends this process with SIGKILL at a named point of a call, as a power cut would."""

import os
import random
import signal
from collections.abc import Callable
from typing import Any

from broker.egress import Session
from broker.pipeline import Recorder
from broker.pipeline.story import Story
from broker.store.grants import GrantTable
from broker.store.queue import CommitQueue
from broker.vault import SigningKeys
from broker.vault.issuing import Issuing
from broker.vault.ledger import Ledger

POINTS = (
    "before-first-commit",
    "in-first-commit",
    "after-first-commit",
    "before-sending",
    "after-answer",
    "before-last-commit",
    "in-last-commit",
    "after-last-commit",
    "in-any-commit",
    "at-digest",
)
"""Of a call, in order; and wherever a commit or a digest is made."""
REFRESH_POINTS = (
    "before-refresh-begins",
    "after-refresh-began",
    "after-refresh-answer",
    "in-refresh-commit",
    "after-refresh-commit",
)
"""Of a refresh whose token rotates, in order."""
STARTING = ("in-first-commit-of-all", "before-recovery", "after-recovery", "before-signing")


def kill_at(point: str) -> None:
    """Arrange for it: one of the times that the point is reached, the process ends there; of a start's, the first."""
    # Not before some of 32 callers who begin together have had effects; and it does come, however slow the machine is
    left = random.randint(40, 139) if point in POINTS else 1  # noqa: S311 - no secret

    def maybe() -> None:
        nonlocal left
        left -= 1
        if left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)

    seen = 0

    def second() -> None:
        nonlocal seen
        seen += 1
        if seen == 2:  # the first says that a refresh begins
            maybe()

    place = {
        "before-first-commit": lambda: _around(Story, "begin", before=maybe),
        "in-first-commit": lambda: _around(Story, "_append_beginning", after=maybe),
        "after-first-commit": lambda: _around(Story, "begin", after_await=maybe),
        "before-sending": lambda: _around(Session, "send", before=maybe),
        "after-answer": lambda: _around(Story, "executed", after=maybe),
        "before-last-commit": lambda: _around(Story, "released", after=maybe),
        "in-last-commit": lambda: _around(Story, "_append_end", after=maybe),
        "after-last-commit": lambda: _around(Story, "__aexit__", after_await=maybe),
        "before-refresh-begins": lambda: _around(Issuing, "_begin", before=maybe),
        "after-refresh-began": lambda: _around(Issuing, "_begin", after_await=maybe),
        "after-refresh-answer": lambda: _around(Ledger, "sealed", after=maybe),
        "in-refresh-commit": lambda: _around(GrantTable, "replace", after=second),
        "after-refresh-commit": lambda: _around(Issuing, "issue", after_await=maybe),
        "in-any-commit": lambda: _around(CommitQueue, "_commit", after=maybe),
        "in-first-commit-of-all": lambda: _around(CommitQueue, "_commit", after=maybe),
        "at-digest": lambda: _around(Recorder, "digest", after=maybe),
        "before-recovery": lambda: _around(Recorder, "recover", before=maybe),
        "after-recovery": lambda: _around(Recorder, "recover", after_await=maybe),
        "before-signing": lambda: _around(SigningKeys, "sign", before=maybe),
    }
    place[point]()


def _around(
    kind: type,
    name: str,
    *,
    before: Callable[[], None] = lambda: None,
    after: Callable[[], None] = lambda: None,
    after_await: Callable[[], None] | None = None,
) -> None:
    original = getattr(kind, name)
    if after_await is not None:
        end = after_await

        async def awaited(*arguments: Any, **keywords: Any) -> Any:
            result = await original(*arguments, **keywords)
            end()
            return result

        setattr(kind, name, awaited)
        return

    def wrapped(*arguments: Any) -> Any:
        before()
        result = original(*arguments)
        after()
        return result

    setattr(kind, name, wrapped)
