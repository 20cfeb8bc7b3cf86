"""How secrets get in: from a file, stdin or a prompt, never from the command line, where others can see them."""

import contextlib
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

from broker.cli.output import problems, stop

_LONGEST = 100_000  # characters


def read_secret(file: Path | None, what: str, *, as_json: bool) -> str:
    """Return a secret from a file, from stdin ('-', or where nothing is named) or from a prompt that shows nothing."""
    try:
        if file is not None and str(file) != "-":
            with file.open() as opened:
                secret = opened.read(_LONGEST)
        elif sys.stdin.isatty():
            with _unseen():
                problems.print(f"Paste the {what} (it is not shown), then press Enter and Ctrl-D:")
                secret = sys.stdin.read(_LONGEST)
        else:
            secret = sys.stdin.read(_LONGEST)
    except OSError as error:
        stop(f"The file {file} cannot be read: {error.strerror}.", as_json=as_json)
    except UnicodeDecodeError:
        stop(f"The {what} is not in PEM form, which is text." if "key" in what else f"The {what} is no text.",
             as_json=as_json)  # fmt: skip
    if not secret.strip():
        stop(f"There is no {what}: name a file, or give it on stdin.", as_json=as_json)
    return secret


@contextlib.contextmanager
def _unseen() -> Iterator[None]:
    """Keep the terminal from showing what is typed."""
    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)
    silent = [*before]
    silent[3] = before[3] & ~termios.ECHO
    termios.tcsetattr(terminal, termios.TCSAFLUSH, silent)
    try:
        yield
    finally:
        termios.tcsetattr(terminal, termios.TCSAFLUSH, before)
