"""For connectors whose service has a good client library that blocks: run it in a bounded pool, on egress."""

from collections.abc import Callable
from typing import TypeVar

import anyio
import anyio.to_thread
import requests

from broker.egress import Session
from broker.egress.requests_adapter import requests_session

T = TypeVar("T")
_THREADS = anyio.CapacityLimiter(64)


async def run_blocking(session: Session, work: Callable[[requests.Session], T]) -> T:
    """Run `work` in a worker thread with a `requests` session that leaves through `session`.

    Cancelling cuts the request that is under way; `work` then sees an exception from its library and ends.
    """
    return await anyio.to_thread.run_sync(work, requests_session(session), limiter=_THREADS)
