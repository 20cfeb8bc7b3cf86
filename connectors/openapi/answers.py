"""What the service answered: its errors as ours, and its JSON as results."""

import re
from collections.abc import Mapping
from typing import Any, NoReturn
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit

from broker.connector import Response, errors
from connectors.openapi.snapshot import Operation, Paging

_BY_STATUS: dict[int, type[errors.Refusal]] = {
    401: errors.UpstreamUnauthorized,
    403: errors.UpstreamForbidden,
    404: errors.UpstreamNotFound,
    410: errors.UpstreamNotFound,
    412: errors.UpstreamChanged,
    428: errors.UpstreamChanged,
    429: errors.UpstreamBusy,
}
_UNAUTHORIZED = 401
_FINE = range(200, 300)
_REJECTED = range(300, 500)
_NEXT = re.compile(r"<([^>]*)>[^,]*;\s*rel=\"?next\"?(?=[,;\s]|$)")
_LONGEST_WAIT = 86_400  # seconds


def expired(response: Response) -> bool:
    """Tell whether the token has expired: any 401 may mean that."""
    return response.status == _UNAUTHORIZED


def checked(response: Response) -> Response:
    """Return an answer that is one; raise what a refusal of the service is in our words."""
    return response if response.status in _FINE else refuse(response)


def refuse(response: Response) -> NoReturn:
    """Raise what a refusal of the service is in our words."""
    other = errors.UpstreamRejected if response.status in _REJECTED else errors.UpstreamFailed
    kind = _BY_STATUS.get(response.status, other)
    wait = response.headers.get("retry-after", "")
    if kind is errors.UpstreamBusy and wait.isdecimal() and int(wait) <= _LONGEST_WAIT:
        raise kind(
            f"The service's rate limit is reached; try again in {int(wait)} seconds.",
            detail=f"HTTP {response.status}",
            retry_after=int(wait),
        )
    raise kind(detail=f"HTTP {response.status}")


def value_of(response: Response) -> Any:
    """Return what an answer holds: JSON, text, or that it was done."""
    if not response.body.strip():
        return {"done": True}
    if "json" in response.headers.get("content-type", "json").lower():
        return response.json()
    if response.headers.get("content-type", "").lower().startswith("text/"):
        return {"text": response.body.decode("utf-8", "replace")}
    raise errors.UpstreamMalformed(detail="an answer that is neither JSON nor text")


def whole(value: Any) -> dict[str, Any]:
    """Return a result as the object that results are."""
    return value if isinstance(value, dict) else {"result": value}


def records_of(operation: Operation, value: Any) -> list[Any]:
    """Return the records of a page; raise `UpstreamMalformed` where there is no list of them."""
    found = at(value, operation.records or "")
    if found is None and operation.records and isinstance(value, Mapping):
        return []  # some services leave an empty list out
    if not isinstance(found, list):
        raise errors.UpstreamMalformed(detail=f"no list of records at {operation.records or 'the whole answer'!r}")
    return found


def following(paging: Paging, response: Response, value: Any, records: list[Any], now: Any) -> Any:
    """Return where the next page is, in the terms of `paging`; None after the last."""
    if paging.more is not None and at(value, paging.more) is not True:
        return None
    match paging.by:
        case "link":
            said = at(value, paging.found) if paging.found else _link(response)
            return said if isinstance(said, str) and said else None
        case "token":
            said = at(value, paging.found or "")
            return str(said) if isinstance(said, str | int) and not isinstance(said, bool) and said != "" else None
        case "last":
            return records[-1].get("id") if records and isinstance(records[-1], dict) else None
        case "page":
            return (paging.first if now is None else now) + 1 if records else None
        case "offset":
            return (now or 0) + len(records) if records else None


def next_query(url: str, said: str) -> str:
    """Return the query of a link to the next page: only that is taken, on the URL that was called.

    Where the service says that it is, or what else it links to, changes nothing of where calls go.
    """
    try:
        return urlencode(parse_qsl(urlsplit(urljoin(url, said)).query, keep_blank_values=True))
    except ValueError:
        raise errors.UpstreamMalformed(detail="the link to the next page is no URL") from None


def at(value: Any, path: str) -> Any:
    """Return what stands at a path of members, as `meta.next`; None where nothing does."""
    if path and isinstance(value, Mapping) and path in value:
        return value[path]
    for name in path.split(".") if path else ():
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _link(response: Response) -> str | None:
    if (said := response.headers.get("next-page")) is not None:
        return said
    found = _NEXT.search(response.headers.get("link", ""))
    return found[1] if found else None
