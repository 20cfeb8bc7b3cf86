"""Subscriptions to resources: each is a call that goes on until nobody wants it any more, decided and on record."""

import asyncio
from collections.abc import Awaitable, Callable

from broker.doors.mcp.dialogue import Context, Following
from broker.errors import TooManyConnections

_MOST_OF_ONE = 32  # subscriptions of one session or stream

Call = Callable[[Following], Awaitable[object]]
"""Makes the call that is the subscription; returns or raises when that is over."""


class Subscriptions:
    """The open subscriptions of every session and stream, by whom they belong to and the resource's URI."""

    def __init__(self) -> None:
        self._open: dict[object, dict[str, tuple[Following, asyncio.Task[object]]]] = {}

    async def begin(
        self, owner: object, uri: str, context: Context, tell: Callable[[str], Awaitable[None]], call: Call
    ) -> None:
        """Return once it is open; raise the `Refusal` that says why it is not."""
        of_owner = self._open.setdefault(owner, {})
        if uri in of_owner:
            return
        if len(of_owner) >= _MOST_OF_ONE:
            raise TooManyConnections
        following = Following(context, tell)
        task = asyncio.ensure_future(call(following))
        of_owner[uri] = following, task
        task.add_done_callback(lambda _: self._forget(owner, uri, following))
        opening = asyncio.ensure_future(following.open.wait())
        try:
            await asyncio.wait([task, opening], return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            following.over.set()
            raise
        finally:
            opening.cancel()
        if task.done():
            task.result()

    async def end(self, owner: object, uri: str) -> None:
        """End one, and return once that is on record."""
        found = self._open.get(owner, {}).get(uri)
        if found is not None:
            found[0].over.set()
            await asyncio.wait([found[1]])

    def end_all(self, owner: object = None) -> None:
        """End all of an owner's, or everyone's."""
        for one in [owner] if owner is not None else list(self._open):
            for following, _ in list(self._open.get(one, {}).values()):
                following.over.set()

    def end_denied(self) -> None:
        """End those that could no longer begin: their rule or grant has gone."""
        for of_owner in list(self._open.values()):
            for following, _ in list(of_owner.values()):
                if not following.permitted():
                    following.over.set()

    def _forget(self, owner: object, uri: str, following: Following) -> None:
        of_owner = self._open.get(owner, {})
        found = of_owner.get(uri)
        if found is not None and found[0] is following:
            del of_owner[uri]
            if not found[1].cancelled():
                found[1].exception()  # whoever waited for it has seen it; nobody else is owed it
        if not of_owner:
            self._open.pop(owner, None)
