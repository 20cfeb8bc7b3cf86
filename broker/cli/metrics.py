"""`aam metrics`: what a monitoring system scrapes, on the terminal or as a file."""

import sys
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import typer

from broker.cli.daemon import HERE, Daemon, Directory
from broker.cli.output import PROBLEM, AsJson, fail, print_json, stop
from broker.errors import Refusal

app = typer.Typer(pretty_exceptions_enable=False)

Words = Annotated[list[str] | None, typer.Argument(help="Print only metrics that have one of these in their name.")]


@app.command(epilog="Example: aam metrics budget commit --dir ./access")
def metrics(words: Words = None, directory: Directory = HERE, *, as_json: AsJson = False) -> None:
    """Print the running broker's metrics, in Prometheus' text format or as JSON. Exit 1 if the words fit none.

    It needs no listener: what it prints is a file for node_exporter's textfile collector, too.
    """
    try:
        found = _values(directory, words or []) if as_json else _text(directory, words or [])
    except Refusal as refusal:
        fail(refusal, as_json=as_json)
    if words and not found:
        stop(f"No metric has {' or '.join(words)} in its name.", as_json=as_json, status=PROBLEM)
    if as_json:
        print_json(found)
        return
    for line in found:
        sys.stdout.write("".join(one if one.isprintable() else "?" for one in line) + "\n")


def _values(directory: Any, words: Sequence[str]) -> list[Any]:
    every = Daemon(directory).get("/v1/metrics", format="json")
    return [one for one in every if _is_wanted(one["name"], words)]


def _text(directory: Any, words: Sequence[str]) -> list[str]:
    with Daemon(directory).stream("/v1/metrics") as lines:
        return list(_wanted(lines, words))


def _wanted(lines: Iterator[bytes], words: Sequence[str]) -> Iterator[str]:
    """Yield the lines of the metrics that are wanted: each begins with one that says what it is."""
    wanted = True
    for line in lines:
        text = line.decode("utf-8", "replace")
        if text.startswith("# HELP "):
            wanted = _is_wanted(text.split(" ", 3)[2], words)
        if wanted:
            yield text


def _is_wanted(name: str, words: Sequence[str]) -> bool:
    return not words or any(word in name for word in words)
