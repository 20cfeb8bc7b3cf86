"""`aam trail show`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from broker.audit.note import VerifierKey
from broker.audit.verify_proof import verify_proof
from broker.cli.daemon import HERE, Daemon, Directory, quoted
from broker.cli.output import AsJson, console, fail, plain, print_json, stop
from broker.cli.records import print_whole
from broker.cli.trail.reveal import Reason, Reveal, check_reason, payloads, print_payloads, print_revealed, revealed
from broker.cli.trail.story import Told, lines_of
from broker.cli.trail.writing import refuse_to_replace, writing
from broker.errors import Refusal

_MOST_RULES = 10  # whose text is shown: a screen has no room for more


def show(
    call: Annotated[str, typer.Argument(help="The call's id.")],
    directory: Directory = HERE,
    *,
    proof: Annotated[
        Path | None,
        typer.Option(
            help="Write the proof of its last record here, as a .tlog-proof, and those of the others beside it."
        ),
    ] = None,
    records: Annotated[bool, typer.Option("--records", help="Show its records, field by field, instead.")] = False,
    reveal: Reveal = False,
    reason: Reason = None,
    force: Annotated[bool, typer.Option("--force", help="Replace proofs that are there already.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show the whole story of one call, and whether its records are in the log whose head is signed."""
    check_reason(reason, reveal=reveal, as_json=as_json)
    try:
        daemon = Daemon(directory)
        told, proofs = _ask(daemon, call)
        sealed, values = payloads(daemon, call), revealed(daemon, call, reason) if reveal else []
    except Refusal as refusal:
        fail(refusal, as_json=as_json)
    written = _write(proof, proofs, force=force, as_json=as_json) if proof else []
    if as_json:
        print_json({**_as_json(told, written), "payloads": sealed, "revealed": values})
        return
    if records:
        for record in told.records:
            print_whole(record)
    else:
        _print(call, told)
    print_payloads(one for one in sealed if not values or one["state"] != "recorded")
    print_revealed(values)
    for path in written:
        console.print(f"[green]written[/green]       {plain(path)}")


def _ask(daemon: Daemon, call: str) -> tuple[Told, list[dict[str, Any]]]:
    records = daemon.get(f"/v1/trail/calls/{quoted(call)}")
    proofs = daemon.get(f"/v1/trail/calls/{quoted(call)}/proofs")["proofs"]
    keys = [VerifierKey.parse(one["vkey"]) for one in daemon.get("/v1/trail/keys")]
    run = daemon.get(f"/v1/trail/calls/{quoted(call)}/run")
    costs = daemon.get(f"/v1/trail/calls/{quoted(call)}/costs")
    return Told(records, _rules(daemon, records), run, _proved(proofs, keys), costs), proofs


def _rules(daemon: Daemon, records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rules that decided, each with its text as it was then, if that was kept."""
    decided = next((record for record in records if record["kind"] == "decided"), None)
    rules = decided["policy"]["rules"][:_MOST_RULES] if decided else []
    return [{**rule, "text": daemon.get("/v1/documents/rules", **rule)["text"]} for rule in rules]


def _proved(proofs: list[dict[str, Any]], keys: list[VerifierKey]) -> str:
    """Check each proof here, and say what they prove."""
    reports = [verify_proof(one["proof"], keys) for one in proofs]
    for one, report in zip(proofs, reports, strict=True):
        if not report.holds:
            return f"record {one['seq']} does NOT hold: {report.problem}"
    return f"proved, each of them. {reports[-1].proved[-1]}"


def _write(proof: Path, proofs: list[dict[str, Any]], *, force: bool, as_json: bool) -> list[Path]:
    """Write a proof of each record: the last one's under the name that was given."""
    names = [proof.with_name(f"{proof.name.removesuffix('.tlog-proof')}.{one['kind']}.tlog-proof") for one in proofs]
    names[-1] = proof
    try:
        for path in names:
            refuse_to_replace(path, force=force, as_json=as_json)
        for path, one in zip(names, proofs, strict=True):
            with writing(path) as out:
                out.write(one["proof"].encode())
    except OSError as error:
        stop(f"The proof cannot be written: {error.strerror or error}.", as_json=as_json)
    return names


def _as_json(told: Told, written: list[Path]) -> dict[str, Any]:
    return {
        "records": list(told.records),
        "rules": list(told.rules),
        "run": list(told.run),
        "costs": dict(told.costs),
        "proof": told.proved,
        "written": [str(path) for path in written],
    }


def _print(call: str, told: Told) -> None:
    requested, _, finished = told.parts
    console.print(f"[bold]call {plain(call)}[/bold]  {plain(requested.get('time') or finished.get('time') or '')}")
    for heading, text in lines_of(told):
        console.print(f"  [dim]{heading:<13}[/dim] {plain(text)}")
