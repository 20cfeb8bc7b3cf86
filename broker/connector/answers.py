"""What a service's usual HTTP answers mean, as refusals; its own words stay out of them."""

import email.utils
import time
from http import HTTPStatus
from typing import Any

from broker import errors
from broker.egress import Response

_BY_STATUS: dict[int, type[errors.Refusal]] = {
    HTTPStatus.UNAUTHORIZED: errors.UpstreamUnauthorized,
    HTTPStatus.FORBIDDEN: errors.UpstreamForbidden,
    HTTPStatus.NOT_FOUND: errors.UpstreamNotFound,
    HTTPStatus.GONE: errors.UpstreamNotFound,
    HTTPStatus.CONFLICT: errors.UpstreamChanged,
    HTTPStatus.PRECONDITION_FAILED: errors.UpstreamChanged,
}
_LONGEST_WAIT = 86_400  # seconds; what asks for more says nothing


def checked(response: Response) -> Response:
    """Return an answer that says that the service did it; raise the refusal that any other means."""
    status = response.status
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return response
    detail = f"HTTP {status}"
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        raise busy(response)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        raise errors.UpstreamFailed(detail=detail)
    raise _BY_STATUS.get(status, errors.UpstreamRejected)(detail=detail)


def busy(response: Response) -> errors.UpstreamBusy:
    """Return the refusal that says when to try again, as far as the service says it."""
    detail, seconds = f"HTTP {response.status}", retry_after(response)
    if seconds is None:
        return errors.UpstreamBusy(detail=detail)
    words = f"The service's rate or usage limit is reached; try again in {seconds} seconds."
    return errors.UpstreamBusy(words, detail=detail, retry_after=seconds)


def retry_after(response: Response) -> int | None:
    """Return in how many seconds the service wants to be asked again (RFC 9110 §10.2.3); None if it says nothing."""
    said = response.headers.get("retry-after", "").strip()
    if said.isascii() and said.isdigit():
        seconds = int(said[:9])
    else:
        try:
            seconds = round(email.utils.parsedate_to_datetime(said).timestamp() - time.time())
        except (ValueError, TypeError, OverflowError, IndexError):
            return None
    return seconds if 0 <= seconds <= _LONGEST_WAIT else None


def object_of(response: Response) -> dict[str, Any]:
    """Return the JSON object that a service answers with when it did what was asked; refuse anything else."""
    value = checked(response).json()
    if not isinstance(value, dict):
        raise errors.UpstreamMalformed(detail="an answer that is no object")
    return value


def list_of(response: Response, member: str | None = None) -> list[dict[str, Any]]:
    """Return the list of JSON objects that a service answers with, or that stands in a member of its answer."""
    value = checked(response).json() if member is None else object_of(response).get(member)
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise errors.UpstreamMalformed(detail="an answer that is no list of objects")
    return value
