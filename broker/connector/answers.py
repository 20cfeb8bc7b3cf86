"""What a service's usual HTTP answers mean, as refusals; its own words stay out of them."""

import email.utils
import time
from http import HTTPStatus

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
