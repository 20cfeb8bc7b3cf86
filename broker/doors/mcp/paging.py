"""Pages of what an agent may list: a cursor is good for the documents that it was given under, and no others."""

import base64
import binascii
from collections.abc import Sequence
from typing import TypeVar

import mcp_types as types
from mcp.shared.exceptions import MCPError

from broker.documents import Snapshot

T = TypeVar("T")


def page(found: Sequence[T], params: types.PaginatedRequestParams | None, documents: Snapshot) -> Sequence[T]:
    """Return the page that is asked for."""
    begin = start(params.cursor if params else None, documents)
    return found[begin : begin + documents.broker.caps.list_page]


def following(total: int, params: types.PaginatedRequestParams | None, documents: Snapshot) -> str | None:
    """Return the cursor of the next page, if there is one."""
    stop = start(params.cursor if params else None, documents) + documents.broker.caps.list_page
    return cursor(stop, documents) if stop < total else None


def cursor(begin: int, documents: Snapshot) -> str:
    """Return the cursor of the page that begins there."""
    return base64.urlsafe_b64encode(f"{begin}:{documents.digest[:16]}".encode()).decode()


def start(given: str | None, documents: Snapshot) -> int:
    """Read a cursor; one of another set of documents would skip or repeat tools, so it is refused."""
    if given is None:
        return 0
    try:
        begin, _, digest = base64.urlsafe_b64decode(given).decode().partition(":")
        if digest == documents.digest[:16] and begin.isdecimal():
            return int(begin)
    except (binascii.Error, ValueError):
        pass
    raise MCPError(types.INVALID_PARAMS, "This cursor is no longer valid; list from the start.")
