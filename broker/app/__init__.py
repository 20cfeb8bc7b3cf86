"""The one place that builds things: the daemon, from its documents to its open doors, and its orderly end."""

import asyncio
import contextlib
import signal
from collections.abc import Callable

from broker.app.daemon import live
from broker.app.logs import log_uncaught_in
from broker.app.options import Options, Serving
from broker.app.parts import Parts
from broker.app.process import allow_many_connections, keep_memory_private
from broker.app.telemetry import set_up_telemetry
from broker.documents import Documents, Memory, load_settled

__all__ = ["Options", "Serving", "serve"]


async def serve(options: Options, ready: Callable[[Serving], None]) -> None:
    """Serve until SIGTERM or SIGINT, then drain.

    Raises `CannotStart` (with `Invalid` for mistakes in the documents), or `AuditUnavailable`, before any door is open.
    """
    keep_memory_private()
    allow_many_connections()
    log_uncaught_in(asyncio.get_running_loop())
    memory = Memory()
    documents = Documents(await load_settled(options.directory, options.find, memory), options.find, memory)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(asyncio.to_thread, set_up_telemetry())  # the last spans leave after the last call
        parts = await Parts.build(options, documents, stack)
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await live(parts, stop, ready)
