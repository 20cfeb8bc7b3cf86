"""How a call was decided: from its records, and the documents as they were then."""

from pathlib import Path
from typing import Any

from broker.cli.bounds import bound_words
from broker.cli.daemon import Daemon, quoted
from broker.cli.output import console, fail, plain, print_json
from broker.errors import Refusal

COLOURS = {"permit": "green", "deny": "red", "needs_approval": "yellow"}
_MOST_RULES = 10  # whose text is shown

Record = dict[str, Any]


def explain_call(directory: Path, call: str, *, as_json: bool) -> None:
    """Print why a call was decided as it was."""
    try:
        daemon = Daemon(directory)
        records = {record["kind"]: record for record in daemon.get(f"/v1/trail/calls/{quoted(call)}")}
        policy = records.get("decided", {}).get("policy")
        rules = _with_texts(daemon, policy["rules"]) if policy else []
    except Refusal as refusal:
        fail(refusal, as_json=as_json)
    requested, outcome = records.get("requested"), records.get("finished", {}).get("outcome") or {}
    if as_json:
        print_json({"decision": policy, "rules": rules, "outcome": outcome, "requested": requested})
    elif policy is None:
        ended = outcome.get("code") or outcome.get("status")
        console.print(f"The call came to no decision: it ended as {plain(ended)}.")
    else:
        _print(policy, rules)
        _print_next(requested or {})


def _with_texts(daemon: Daemon, rules: list[Record]) -> list[Record]:
    return [{**rule, "text": daemon.get("/v1/documents/rules", **rule)["text"]} for rule in rules[:_MOST_RULES]]


def _print(policy: Record, rules: list[Record]) -> None:
    colour = COLOURS.get(policy["decision"], "red")
    console.print(f"[{colour}]{plain(policy['decision'])}[/{colour}] ({plain(policy['reason'])})")
    for rule in rules:
        where = f" ({rule['file']}:{rule['line']})" if rule.get("line") else ""
        console.print(f"  [dim]by[/dim]      {plain(rule['policy'])} {plain(rule['place'])}{plain(where)}")
        for line in (rule["text"] or "the text of this rule was not kept").splitlines():
            console.print(f"          {plain(line)}")
    for failed in policy.get("failed", ()):
        where = f"{failed['policy']} {failed['place']}"
        console.print(f"  [yellow]failed[/yellow]  {plain(where)}: {plain(failed['why'])}")
    for words in bound_words(policy):
        console.print(f"  [dim]bound[/dim]   {plain(words)}")


def _print_next(requested: Record) -> None:
    asked, agent = requested.get("action") or {}, (requested.get("identity") or {}).get("agent")
    if agent and asked.get("resource"):
        what = f"aam policy explain --as {agent} {asked['resource']} {asked['action']}"
        console.print(f"  [dim]What would change it now:[/dim] {plain(what)}")
