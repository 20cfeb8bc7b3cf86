import asyncio
import io
import logging
import subprocess
import sys
from collections.abc import Iterator

import pytest

from broker.app.logs import PlainFormatter, log_uncaught_in

WORDS = "SESAME-OPEN-SESAME"

CRASH = f"""
import threading
from broker.app.logs import set_up_logging
set_up_logging()

class Finalized:
    def __del__(self):
        raise ValueError("{WORDS} in a finalizer")

def fail(place):
    raise ValueError("{WORDS} " + place)

thread = threading.Thread(target=fail, args=("in a thread",))
thread.start()
thread.join()
Finalized()
fail("in the process")
"""


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """Collect what is logged, as the daemon would write it."""
    stream, logger = io.StringIO(), logging.getLogger("broker")
    handler = logging.StreamHandler(stream)
    handler.setFormatter(PlainFormatter())
    logger.addHandler(handler)
    logger.propagate = False  # another formatter would leave its own text in the record
    yield stream
    logger.propagate = True
    logger.removeHandler(handler)


def test_what_the_event_loop_reports_is_reported_without_its_text(log: io.StringIO) -> None:
    """credentials.md B6: asyncio's own report holds the exception's text, and with it perhaps a URL or a token."""

    async def case() -> None:
        log_uncaught_in(asyncio.get_running_loop())

        async def fail() -> None:
            raise ValueError(WORDS)

        await asyncio.wait([asyncio.ensure_future(fail())])
        asyncio.get_running_loop().call_exception_handler({"message": WORDS})

    asyncio.run(case())

    assert "nobody caught an exception where=a task\n  ValueError at test_logs.py:" in log.getvalue()
    assert WORDS not in log.getvalue()


@pytest.mark.slow
def test_what_nobody_catches_is_reported_without_its_text() -> None:
    """credentials.md B6: the hooks of the interpreter print whole tracebacks, text and all."""
    crashed = subprocess.run([sys.executable, "-c", CRASH], capture_output=True, text=True, check=False)

    assert crashed.returncode == 1
    for where in ("the process", "a thread", "a finalizer"):
        assert f"nobody caught an exception where={where}\n  ValueError at <string>:" in crashed.stderr
    assert WORDS not in crashed.stderr + crashed.stdout


def test_a_line_is_a_constant_and_its_fields(log: io.StringIO) -> None:
    """house-style.md: log a constant and fields."""
    logging.getLogger("broker.doors").warning("call refused", extra={"code": "access_denied", "call_id": "0197"})

    assert log.getvalue().endswith(" WARNING broker.doors call refused code=access_denied call_id=0197\n")


def test_a_line_stays_one_printable_short_line(log: io.StringIO) -> None:
    """Whoever chooses a text chooses no line of the log, and no colour of the terminal."""
    logging.getLogger("broker").error("%s", "a\nb\x1b[31m\u2028" + "x" * 9_000, extra={"field": "c\rd"})

    (line, end) = log.getvalue().split("\n")
    assert (end, line.isprintable(), len(line)) == ("", True, 2000)
