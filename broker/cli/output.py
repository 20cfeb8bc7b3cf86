"""What commands print: tables and sentences for people, JSON for programs; and how they end."""

import difflib
import json
import stat
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from broker.errors import Refusal

PROBLEM = 1
"""Exit status: something is wrong with what was looked at, or it could not be done."""
MISUSE = 2
"""Exit status: the command was used wrongly."""
READER_LEFT = 141
"""Exit status: nobody reads on, as in `aam … | head`; a shell says the same of programs that SIGPIPE ends."""

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

_MISUSED = frozenset({"not_found", "operator_request_invalid"})  # the broker's words for a command used wrongly
_WIDE = 240  # columns, where nobody's window is narrower
_UNBOUNDED = 100_000  # columns
_FEW = 8  # as many words as a line takes


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """End the program, as rich does, but not with the status of a problem."""
        try:
            super().on_broken_pipe()
        except SystemExit:
            raise SystemExit(READER_LEFT) from None


def _console(*, stderr: bool) -> Console:
    made = _Console(stderr=stderr, highlight=False, soft_wrap=True)
    if not made.is_terminal:
        made.width = _WIDE
    return made


console = _console(stderr=False)
problems = _console(stderr=True)


def plain(text: Any) -> str:
    """Return text that came from elsewhere as it may be shown: no markup, no control characters."""
    return escape("".join(character if character.isprintable() else "�" for character in str(text)))


def as_json_text(value: Any, *, indent: int | None = 2) -> str:
    """Write a value as JSON in which no character does anything to a terminal."""
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    return "".join(one if one.isprintable() or one == "\n" else json.dumps(one)[1:-1] for one in text)


def print_json(value: Any) -> None:
    """Print a value as JSON."""
    sys.stdout.write(as_json_text(value) + "\n")


def counted(number: int, noun: str) -> str:
    """Return a number of things, as `1 agent` or `2 agents`."""
    return f"{number} {noun}{'s' * (number != 1)}"


def counted_tools(tools: Iterable[Any]) -> str:
    """Return how many tools of a catalog there are, and how many of them work."""
    runs = [tool.tool.run is not None for tool in tools]
    return f"{counted(len(runs), 'tool')} ({sum(runs)} built)"


def nearest(word: str, words: Iterable[str]) -> str:
    """Say which right word is meant, as `broker.documents` does, which takes its time to load."""
    known = list(words)
    if close := difflib.get_close_matches(word, known, n=1):
        return f"; did you mean {close[0]!r}?"
    return f"; there is {', '.join(known)}" if 0 < len(known) <= _FEW else ""


def is_taken(path: Path) -> bool:
    """Tell whether a place is taken by what no file may replace: a link, a device, a directory. Raises `OSError`."""
    try:
        return not stat.S_ISREG(path.lstat().st_mode)
    except FileNotFoundError:
        return False


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], empty: str) -> None:
    """Print rows under their columns, or in blocks where they do not fit, or the sentence `empty`."""
    listed = [[plain("" if cell is None else cell) for cell in row] for row in rows]
    if not listed:
        console.print(empty)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in listed:
        table.add_row(*row)
    if console.measure(table, options=console.options.update(max_width=_UNBOUNDED)).maximum <= console.width:
        console.print(table)
    else:
        _print_blocks(columns, listed)


def _print_blocks(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print each row as a paragraph: a name that is broken in two cannot be copied."""
    widest = max(map(len, columns)) + 1
    for number, row in enumerate(rows):
        if number:
            console.print()
        for column, cell in zip(columns, row, strict=True):
            console.print(f"[bold]{column + ':':<{widest}}[/bold] {cell}")


def fail(refusal: Refusal, *, as_json: bool) -> NoReturn:
    """Say why a command did not do its work, and end it."""
    status = MISUSE if refusal.code in _MISUSED else PROBLEM
    _end(refusal.code, refusal.message, refusal.detail, as_json=as_json, status=status)


def stop(message: str, *, as_json: bool, status: int = MISUSE) -> NoReturn:
    """Say what this computer, or whoever gave the command, must do otherwise, and end the command."""
    _end("command_failed" if status == PROBLEM else "command_misused", message, None, as_json=as_json, status=status)


def _end(code: str, message: str, detail: str | None, *, as_json: bool, status: int) -> NoReturn:
    if as_json:
        print_json({"code": code, "message": message, "detail": detail})
    else:
        problems.print(f"[red]{plain(message)}[/red] [dim]\\[{code}][/dim]")
        if detail:
            problems.print(f"  {plain(detail)}", style="dim")
    raise typer.Exit(status)
