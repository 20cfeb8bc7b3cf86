"""CSV (RFC 4180), one row an entry: what an auditor opens in a spreadsheet.

No cell is a formula, whatever an agent's client calls itself, also where a spreadsheet takes ';' for the separator, as
many of Europe do.
"""

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from broker.audit.views.entries import Entry
from broker.audit.views.values import at, listed_at, number_at, text_at, thousandths, visible

# What spreadsheets take for the beginning of a formula, also in full width; OWASP, CSV Injection
_FORMULA = re.compile('(^ *|;[" ]*)(?=[-=+@＝＋－＠])')  # noqa: RUF001 - these are meant
_ELSEWHERE = frozenset({"id", "time", "kind", "seq", "v", "log", "prev_hash", "call_id"})  # of an event's facts

Column = Callable[[Entry], Any]


def rows(entries: Iterable[Entry]) -> Iterator[bytes]:
    """Yield the header and then a row for each entry, in UTF-8, with its end."""
    line = io.StringIO()
    writer = csv.writer(line, quoting=csv.QUOTE_ALL, lineterminator="\r\n")

    def row(cells: Iterable[Any]) -> bytes:
        line.seek(0)
        line.truncate()
        writer.writerow([harmless(cell) for cell in cells])
        return line.getvalue().encode()

    yield row(COLUMNS)
    for entry in entries:
        yield row([column(entry) for column in COLUMNS.values()])


def harmless(value: Any) -> str:
    """Return a cell that no spreadsheet takes for a formula, and no terminal for more than text."""
    if value is None or type(value) is int:
        return "" if value is None else str(value)
    return _FORMULA.sub(r"\1'", visible(value))  # no tab and no line's end is left that a cell could begin with


def _of(*path: str) -> Column:
    return lambda entry: entry.at(*path)


def _rules(entry: Entry) -> str:
    said = listed_at(entry.decided, "policy", "rules")
    return "; ".join(
        f"{text_at(rule, 'policy')} {text_at(rule, 'place')} sha256:{text_at(rule, 'sha256')}" for rule in said
    )


def _policies(entry: Entry) -> str:
    return "; ".join(map(visible, listed_at(entry.decided, "policy", "policies")))


def _documents(entry: Entry) -> Any:
    said = entry.at("documents")
    return at(said, "sha256") if type(said) is dict else said


def _reached(step: str) -> Column:
    return lambda entry: thousandths(number_at(entry.finished, "outcome", "steps_us", step))


def _scopes(entry: Entry) -> str | None:
    said = entry.at("credential", "scopes")
    return " ".join(map(visible, said)) if type(said) is list else said


def _credential(name: str) -> Column:
    """Return what was used, or else what an event that changes a grant speaks of."""
    return lambda entry: _first(entry.at("credential", name), entry.at("grant", "id" if name == "grant" else name))


def _connector(entry: Entry) -> Any:
    return _first(entry.at("action", "connector"), entry.at("connector"), entry.at("grant", "connector"))


def _first(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)


def _event(entry: Entry) -> Any:
    """Return all that an event says beside the columns that every record has."""
    return entry.event and {name: value for name, value in entry.event.items() if name not in _ELSEWHERE}


COLUMNS: dict[str, Column] = {
    "time": lambda entry: entry.time,
    "finished_time": lambda entry: text_at(entry.finished, "time"),
    "log": _of("log"),
    "seq_first": lambda entry: entry.first,
    "seq_last": lambda entry: entry.last,
    "kind": lambda entry: entry.kind,
    "call_id": lambda entry: entry.call_id,
    "run_id": _of("run_id"),
    "agent": lambda entry: _first(entry.at("identity", "agent"), text_at(entry.event, "agent")),
    "workload": _of("identity", "spiffe_id"),
    "method": _of("identity", "method"),
    "assurance": _of("identity", "assurance"),
    "proof": _of("identity", "proof"),
    "key_id": _of("identity", "key_id"),
    "issuer": _of("identity", "issuer"),
    "subject": _of("identity", "subject"),
    "owner": _of("identity", "owner"),
    "team": _of("identity", "team"),
    "environment": _of("identity", "environment"),
    "deployment": _of("identity", "deployment"),
    "on_behalf_of": _of("identity", "on_behalf_of"),
    "transport": _of("origin", "transport"),
    "source": _of("origin", "source"),
    "client": _of("origin", "client"),
    "client_version": _of("origin", "client_version"),
    "protocol": _of("origin", "protocol"),
    "tool": _of("action", "tool"),
    "connector": _connector,
    "resource": _of("action", "resource"),
    "action": _of("action", "action"),
    "arguments_bytes": _of("action", "arguments_bytes"),
    "arguments_hmac": _of("action", "arguments_hmac"),
    "decision": lambda entry: entry.decision,
    "reason": lambda entry: text_at(entry.decided, "policy", "reason"),
    "policies": _policies,
    "rules": _rules,
    "documents_sha256": _documents,
    "outcome": lambda entry: entry.status,
    "code": _of("outcome", "code"),
    "detail": _of("outcome", "detail"),
    "count": _of("outcome", "count"),
    "result_bytes": _of("outcome", "result_bytes"),
    "result_hmac": _of("outcome", "result_hmac"),
    "credential_grant": _credential("grant"),
    "credential_kind": _credential("kind"),
    "credential_principal": _credential("principal"),
    "credential_fingerprint": _of("credential", "fingerprint"),
    "credential_scopes": _scopes,
    "duration_ms": _reached("finished"),
    "decided_after_ms": _reached("decided"),
    "recorded_after_ms": _reached("recorded"),
    "executed_after_ms": _reached("executed"),
    "actor_user": _of("actor", "user"),
    "actor_uid": _of("actor", "uid"),
    "actor_role": _of("actor", "role"),
    "actor_service": _of("actor", "service"),
    "event": _event,
}
