"""Sets of the history, as the commands ask for them and speak of them."""

import base64
import binascii
import hashlib
from typing import Any

from broker.cli.daemon import Daemon, quoted
from broker.cli.output import counted
from broker.errors import HistoryDamaged, Refusal

Shown = dict[str, Any]
SHORT = 12  # digits of a digest that people read


def find_set(daemon: Daemon, digest: str) -> Shown:
    """Return a set by the first digits of its digest; raise a `Refusal` if there is none, or several."""
    found: Shown = daemon.get(f"/v1/documents/history/{quoted(digest.lower())}")
    return found


def content_of(daemon: Daemon, sha256: str) -> bytes | None:
    """Return a content that is kept, or None; raise `HistoryDamaged` if it is not what it was."""
    try:
        found = daemon.get(f"/v1/documents/files/{quoted(sha256)}")
        content = base64.b64decode(found["base64"], validate=True)
    except Refusal as refusal:
        if refusal.code == "not_found":
            return None
        raise
    except (binascii.Error, KeyError, TypeError):
        raise HistoryDamaged(detail=f"the content kept as {sha256}") from None
    if hashlib.sha256(content).hexdigest() != sha256:
        raise HistoryDamaged(detail=f"the content kept as {sha256}")
    return content


def said_of_changes(changed: Shown | None) -> str:
    """Say in a few words what a set changed."""
    if changed is None:
        return "the first set"
    documents = [f"{_SIGNS[one['change']]} {one['kind']} {one['name']}" for one in changed["documents"]]
    files = counted(len(changed["files"]), "file")
    more = f", and {len(documents) - _FEW} more" if len(documents) > _FEW else ""
    return f"{files}: {', '.join(documents[:_FEW])}{more}" if documents else files


def said_of_actor(found: Shown) -> str:
    """Say who brought a set into force, where that is known: a file on disk was changed by whoever may write it."""
    actor = found.get("actor") or {}
    return f"{actor.get('user', '')} (rollback)" if actor else ""


_SIGNS = {"added": "+", "removed": "-", "changed": "~"}
_FEW = 4
