"""`aam documents show`."""

import difflib
from collections.abc import Iterator, Mapping
from typing import Annotated

import typer

from broker.cli.daemon import HERE, Daemon, Directory
from broker.cli.documents.sets import SHORT, Shown, content_of, find_set, said_of_actor
from broker.cli.output import AsJson, console, fail, plain, print_json, print_table, stop
from broker.errors import Refusal

_COLOURS = {"+": "green", "-": "red", "@": "cyan"}
Files = Mapping[str, str | None]


def show(
    digest: Annotated[str, typer.Argument(help="The set's digest, or its first digits.")],
    directory: Directory = HERE,
    *,
    file: Annotated[str | None, typer.Option(metavar="NAME", help="Print this file as it was then.")] = None,
    diff: Annotated[bool, typer.Option("--diff", help="Print what is otherwise than in the set before it.")] = False,
    against: Annotated[
        str | None, typer.Option(metavar="DIGEST", help="With --diff: than in this set, instead.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show a set of documents as it was in force: its files, one of them, or its differences from another set."""
    if against is not None and not diff:
        stop("--against needs --diff.", as_json=as_json)
    try:
        daemon = Daemon(directory)
        found = find_set(daemon, digest)
        if file is not None and file not in _files(found) and not diff:
            stop(f"The set {found['digest'][:SHORT]} has no file {file!r}.", as_json=as_json)
        if diff:
            other = against or found["before"]
            lines = list(_differences(daemon, _files(find_set(daemon, other)) if other else {}, _files(found), file))
            _print_diff(found, other, lines, as_json=as_json)
        elif file is not None:
            _print_file(daemon, file, _files(found)[file], as_json=as_json)
        elif as_json:
            print_json(found)
        else:
            _print_set(found)
    except Refusal as refusal:
        fail(refusal, as_json=as_json)


def _files(found: Shown) -> Files:
    return {file["name"]: file["sha256"] for file in found["files"]}


def _differences(daemon: Daemon, before: Files, after: Files, only: str | None) -> Iterator[str]:
    """Yield the lines of a unified diff of two sets, or of one file of them."""
    for name in sorted(before.keys() | after.keys()):
        if before.get(name) != after.get(name) and only in {None, name}:
            yield from _difference(daemon, name, before.get(name), after.get(name))


def _difference(daemon: Daemon, name: str, before: str | None, after: str | None) -> Iterator[str]:
    old, new = _lines(daemon, before), _lines(daemon, after)
    was, is_ = (f"{side}/{name}" if sha256 else "/dev/null" for side, sha256 in (("a", before), ("b", after)))
    if old is None or new is None:
        yield f"--- {was}"
        yield f"+++ {is_}"
        yield f"@@ not kept as text: {(before or 'nothing')[:SHORT]} -> {(after or 'nothing')[:SHORT]} @@"
        return
    yield from difflib.unified_diff(old, new, was, is_, lineterm="")


def _lines(daemon: Daemon, sha256: str | None) -> list[str] | None:
    """Return the lines of a content; none of a file that is not there, None for what is not kept or is no text."""
    if sha256 is None:
        return []
    content = content_of(daemon, sha256)
    try:
        return None if content is None else content.decode().split("\n")
    except UnicodeDecodeError:
        return None


def _print_diff(found: Shown, other: str | None, lines: list[str], *, as_json: bool) -> None:
    if as_json:
        print_json({"digest": found["digest"], "against": other, "diff": lines})
        return
    for line in lines:
        bold = line.startswith(("--- ", "+++ "))
        colour = "bold" if bold else _COLOURS.get(line[:1], "none")
        console.print(f"[{colour}]{plain(line.expandtabs())}[/{colour}]")
    if not lines:
        console.print("Nothing is otherwise.")


def _print_file(daemon: Daemon, name: str, sha256: str | None, *, as_json: bool) -> None:
    lines = _lines(daemon, sha256) if sha256 else None
    if as_json:
        text = None if lines is None else "\n".join(lines)
        print_json({"name": name, "sha256": sha256, "text": text})
    elif lines is None:
        why = "it was not there" if sha256 is None else f"it is not kept, or is no text; its SHA-256 is {sha256}"
        console.print(f"{plain(name)} cannot be shown: {why}.")
    else:
        for line in lines[:-1] if lines[-1] == "" else lines:
            console.print(plain(line.expandtabs()))


def _print_set(found: Shown) -> None:
    state = " [green]in force[/green]" if found["in_force"] else ""
    console.print(f"[bold]{plain(found['digest'])}[/bold]{state}")
    facts = {
        "in force from": f"{found['time']}, record {found['record']}",
        "after": found["before"] or "nothing: it was the first set",
        "actor": said_of_actor(found),
        "reason": (found["rollback"] or {}).get("reason"),
        "restart": "its Broker document needs one" if found["restart_needed"] else None,
    }
    for name, value in facts.items():
        if value:
            console.print(f"  [dim]{name:<14}[/dim] {plain(value)}")
    for one in (found["changed"] or {}).get("documents", ()):
        console.print(f"  [dim]{one['change']:<14}[/dim] {plain(one['kind'])} {plain(one['name'])}")
    console.print()
    columns = ("file", "sha256", "content")
    print_table(columns, [(one["name"], one["sha256"], _kept(one)) for one in found["files"]], "It has no file.")


def _kept(file: Shown) -> str:
    if file["sha256"] is None:
        return "was not there"
    return "kept" if file["kept"] else "digest only"
