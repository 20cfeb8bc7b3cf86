"""Definitions are served as they were approved; one that the server now gives otherwise is refused."""

import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any

from broker.connector import errors
from connectors.mcp.messages import Message
from connectors.mcp.pin import listed
from connectors.mcp.upstream import Upstream

_MOST_NAMED = 8  # differences, in words
_MOST_SEEN = (
    200  # grants with which a server was looked at; of more, the one that was used longest ago is looked at again
)


class Watch:
    """What one set of documents has pinned of a server, and when each of it was last seen to be so, with which grant.

    Only what fits is remembered: what has drifted is looked at again at every call, and is let through as soon as the
    server says again what was approved.
    """

    def __init__(self, pin: Mapping[str, Any], seconds: float) -> None:
        self._pinned = {
            (kind, one["name"]): one for kind in ("tools", "prompts") for one in pin.get(kind, ()) if "name" in one
        }
        self._seconds = seconds
        self._seen: OrderedDict[tuple[str, str], tuple[float, frozenset[str]]] = OrderedDict()
        """When one kind was looked at with a grant, and what of it was as approved."""

    def forget(self) -> None:
        """Look again before the next call: the server says that something has changed."""
        self._seen.clear()

    async def check(self, upstream: Upstream, kind: str, name: str, grant: str = "") -> None:
        """Return if the server still defines it as was approved; raise `DefinitionDrifted`, with the difference."""
        now = time.monotonic()
        looked, fitting = self._seen.get((grant, kind), (now, frozenset()))
        if name in fitting and self._seconds and now - looked < self._seconds:
            return
        current = {one["name"]: one for one in await listed(upstream, kind)}
        fitting = frozenset(
            one for (of, one), pinned in self._pinned.items() if of == kind and current.get(one) == pinned
        )
        self._seen[grant, kind] = now, fitting
        self._seen.move_to_end((grant, kind))
        if len(self._seen) > _MOST_SEEN:
            self._seen.popitem(last=False)
        if name in fitting:
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
    found = list(dict.fromkeys(_places(pinned, current)))
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
            yield f"{inner[:100]} new" if not place else f"{place} has more"  # its names are the server's words
        else:
            yield from _places(pinned[name], current[name], inner[:100])
