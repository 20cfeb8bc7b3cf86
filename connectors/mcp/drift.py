"""Definitions are served as they were approved; one that the server now gives otherwise is refused."""

import time
from collections.abc import Iterator, Mapping
from typing import Any

from broker.connector import errors
from connectors.mcp.messages import Message
from connectors.mcp.pin import listed
from connectors.mcp.upstream import Upstream

_MOST_NAMED = 8  # differences, in words


class Watch:
    """What one set of documents has pinned of a server, and when each of it was last seen to be so.

    Only what fits is remembered: what has drifted is looked at again at every call, and is let through as soon as the
    server says again what was approved.
    """

    def __init__(self, pin: Mapping[str, Any], seconds: float) -> None:
        self._pinned = {
            (kind, one["name"]): one for kind in ("tools", "prompts") for one in pin.get(kind, ()) if "name" in one
        }
        self._seconds = seconds
        self._seen: dict[tuple[str, str], float] = {}

    def forget(self) -> None:
        """Look again before the next call: the server says that something has changed."""
        self._seen.clear()

    async def check(self, upstream: Upstream, kind: str, name: str) -> None:
        """Return if the server still defines it as was approved; raise `DefinitionDrifted`, with the difference."""
        now = time.monotonic()
        seen = self._seen.get((kind, name))
        if seen is not None and self._seconds and now - seen < self._seconds:
            return
        current = {one["name"]: one for one in await listed(upstream, kind)}
        for (of, known), pinned in self._pinned.items():
            if of == kind and current.get(known) == pinned:
                self._seen[of, known] = now
        if self._seen.get((kind, name)) == now:
            return
        pinned = self._pinned[kind, name]
        found = "no longer offered" if name not in current else ", ".join(_differences(pinned, current[name]))
        raise errors.DefinitionDrifted(
            f"The server now describes {name[:100]!r} otherwise than was approved; an administrator must look at it "
            "with 'aam connector approve'.",
            detail=f"{name[:100]}: {found}",
        )


def _differences(pinned: Message, current: Message) -> Iterator[str]:
    """Yield where two definitions differ; never what the server says there."""
    found = list(_places(pinned, current))
    yield from found[:_MOST_NAMED]
    if len(found) > _MOST_NAMED:
        yield f"{len(found) - _MOST_NAMED} more"


def _places(pinned: Any, current: Any, place: str = "") -> Iterator[str]:
    if not isinstance(pinned, dict) or not isinstance(current, dict):
        if pinned != current:
            yield f"{place} changed"
        return
    for name in sorted(pinned.keys() | current.keys()):
        inner = f"{place}.{name}" if place else str(name)
        if name not in current:
            yield f"{inner[:100]} gone"
        elif name not in pinned:
            yield f"{inner[:100]} new"
        else:
            yield from _places(pinned[name], current[name], inner[:100])
