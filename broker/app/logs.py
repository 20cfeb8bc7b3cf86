"""What the daemon logs: a constant sentence and fields, never an exception's own text."""

import asyncio
import logging
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

logger = logging.getLogger(__name__)

_LONGEST_LINE = 2000  # characters: other libraries log what strangers send
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message", "taskName"}
_ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


class PlainFormatter(logging.Formatter):
    """`2026-11-23T21:54:07 WARNING broker.doors a connection failed exception=OSError`."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s %(message)s", "%Y-%m-%dT%H:%M:%S%z")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's own name
        """Append the fields, and keep a line a line."""
        fields = "".join(f" {name}={value}" for name, value in vars(record).items() if name not in _STANDARD)
        line = (super().formatMessage(record) + fields)[:_LONGEST_LINE]
        return line if line.isprintable() else "".join(one if one.isprintable() else "?" for one in line)

    def formatException(self, ei: _ExcInfo) -> str:  # noqa: N802 - logging's own name
        """Say what kind of exception it was and where: its text may hold a URL, a body or a token."""
        kind, _, traceback = ei
        while traceback is not None and traceback.tb_next is not None:
            traceback = traceback.tb_next
        place = f"{Path(traceback.tb_frame.f_code.co_filename).name}:{traceback.tb_lineno}" if traceback else "?"
        return f"  {kind.__name__ if kind else '?'} at {place}"


def set_up_logging() -> None:
    """Log to stderr: ours from INFO, everyone else's from WARNING; and what nobody catches, in the same words."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(PlainFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("broker").setLevel(logging.INFO)
    sys.excepthook = lambda kind, error, traceback: _uncaught("the process", (kind, error, traceback))
    threading.excepthook = lambda thrown: _uncaught(
        "a thread", (thrown.exc_type, thrown.exc_value or thrown.exc_type(), thrown.exc_traceback)
    )
    sys.unraisablehook = lambda thrown: _uncaught(
        "a finalizer", (thrown.exc_type, thrown.exc_value or thrown.exc_type(), thrown.exc_traceback)
    )


def log_uncaught_in(loop: asyncio.AbstractEventLoop) -> None:
    """Have the event loop report exceptions that nobody awaits in the same words: its own hold their text."""

    def report(_loop: asyncio.AbstractEventLoop, context: Mapping[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, BaseException):
            _uncaught("a task", (type(error), error, error.__traceback__))
        else:
            logger.error("the event loop reports a problem")

    loop.set_exception_handler(report)


def _uncaught(where: str, error: tuple[type[BaseException], BaseException, TracebackType | None]) -> None:
    logger.error("nobody caught an exception", exc_info=error, extra={"where": where})
