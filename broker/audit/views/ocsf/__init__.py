"""OCSF 1.8.0 events (Open Cybersecurity Schema Framework), one for each entry: what a SIEM takes.

Calls are API Activity (6003), refused proofs Authentication (3002), the broker's own life Application Lifecycle (6002).
What is done to the trail (read, exported, pruned, its head shipped) is Datastore Activity (6005): the trail is a store
of records, and these are reads and deletions of it. Changes of documents, grants, agents, keys, holds and snapshots are
Entity Management (3004), and so is every kind that nobody here has heard of: it is the class that asks for least.

1.8 knows neither agents nor integrity; `unmapped.agent` and `unmapped.integrity` hold them until 1.9 does.
"""

import json
from collections.abc import Iterable, Iterator

from broker.audit.views.entries import CALL, Entry
from broker.audit.views.ocsf.base import Event, pruned
from broker.audit.views.ocsf.calls import call
from broker.audit.views.ocsf.events import event_of, is_known

__all__ = ["Event", "is_known", "lines", "ocsf"]

_ENCODER = json.JSONEncoder(separators=(",", ":"))


def ocsf(entry: Entry) -> Event:
    """Return the OCSF event of an entry."""
    made: Event = pruned(call(entry) if entry.kind == CALL else event_of(entry))
    return made


def lines(entries: Iterable[Entry]) -> Iterator[bytes]:
    """Yield the event of each entry as one line of JSON, in ASCII, with its end."""
    for entry in entries:
        yield _ENCODER.encode(ocsf(entry)).encode() + b"\n"
