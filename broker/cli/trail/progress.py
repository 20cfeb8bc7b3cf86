"""How far a command is that reads the whole trail."""

from collections.abc import Iterator

from rich.progress import Progress

from broker.cli.output import problems


def progress(lines: Iterator[bytes], size: int, what: str) -> Iterator[bytes]:
    """Show how far it is and how long it will take, where somebody watches."""
    with Progress(console=problems, transient=True, disable=not problems.is_terminal) as bar:
        task = bar.add_task(what, total=size)
        for number, line in enumerate(lines):
            if number % 1000 == 0:
                bar.update(task, completed=number)
            yield line
