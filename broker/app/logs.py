"""What the daemon logs: a constant sentence and fields, never an exception's own text."""

import logging
import sys
from pathlib import Path
from types import TracebackType

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message", "taskName"}
_ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


class PlainFormatter(logging.Formatter):
    """`2026-11-23T21:54:07 WARNING broker.doors a connection failed exception=OSError`."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s %(message)s", "%Y-%m-%dT%H:%M:%S%z")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's own name
        """Append the fields, and keep a line a line."""
        fields = "".join(f" {name}={value}" for name, value in vars(record).items() if name not in _STANDARD)
        return "".join(
            character if character.isprintable() else "?" for character in super().formatMessage(record) + fields
        )

    def formatException(self, ei: _ExcInfo) -> str:  # noqa: N802 - logging's own name
        """Say what kind of exception it was and where: its text may hold a URL, a body or a token."""
        kind, _, traceback = ei
        while traceback is not None and traceback.tb_next is not None:
            traceback = traceback.tb_next
        place = f"{Path(traceback.tb_frame.f_code.co_filename).name}:{traceback.tb_lineno}" if traceback else "?"
        return f"  {kind.__name__ if kind else '?'} at {place}"


def set_up_logging() -> None:
    """Log to stderr: ours from INFO, everyone else's from WARNING."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(PlainFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("broker").setLevel(logging.INFO)
