"""Which calls and events match what is asked of them: one query for filters and holds; values go in as parameters.

What is asked is a mapping of `audit.NAMES`, and `call` for the id of one call. A record that was pruned, or that is no
JSON any more, says nothing, and so matches nothing that asks for something.
"""

import json
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

_ASKED = ("call", "since", "until", "agent", "owner", "team", "resource", "action", "decision", "code")
_HOLDS = "SELECT name, filter FROM holds WHERE released IS NULL"
_GIVEN = "SELECT '' AS name, ? AS filter"

# Each record's text, read once; of an event that is no call, `call` is NULL, and of a call `seq` is
_OF_CALLS = "SELECT call_id AS call, NULL AS seq, body FROM records WHERE call_id IN (SELECT value FROM json_each(?))"
_OF_EVENTS = "SELECT NULL AS call, seq, body FROM records WHERE seq IN (SELECT value FROM json_each(?))"

# What a call or an event says of itself; a part stands in one of a call's records, so max() finds it
_FACTS = """
    SELECT call, seq,
        coalesce(max(CASE WHEN json_extract(text, '$.kind') = 'requested' THEN json_extract(text, '$.time') END),
                 min(json_extract(text, '$.time'))) AS time,
        max(json_extract(text, '$.identity.agent')) AS agent,
        max(json_extract(text, '$.identity.spiffe_id')) AS workload,
        max(json_extract(text, '$.identity.owner')) AS owner,
        max(json_extract(text, '$.identity.team')) AS team,
        max(json_extract(text, '$.action.resource')) AS resource,
        max(json_extract(text, '$.action.action')) AS action,
        max(json_extract(text, '$.policy.decision')) AS decision,
        max(json_extract(text, '$.outcome.code')) AS code
    FROM (
        SELECT call, seq, CASE WHEN json_valid(CAST(body AS TEXT)) THEN CAST(body AS TEXT) END AS text FROM ({source})
    )
    GROUP BY call, seq
"""
_MATCHES = """
    (wanted.call IS NULL OR wanted.call = facts.call)
    AND (wanted.since IS NULL OR facts.time >= wanted.since)
    AND (wanted.until IS NULL OR facts.time < wanted.until)
    AND (wanted.agent IS NULL OR facts.call IS NOT NULL AND wanted.agent IN (facts.agent, facts.workload))
    AND (wanted.owner IS NULL OR facts.call IS NOT NULL AND wanted.owner = facts.owner)
    AND (wanted.team IS NULL OR facts.call IS NOT NULL AND wanted.team = facts.team)
    AND (wanted.resource IS NULL OR facts.call IS NOT NULL AND wanted.resource = facts.resource)
    AND (wanted.action IS NULL OR facts.call IS NOT NULL AND wanted.action = facts.action)
    AND (wanted.decision IS NULL OR facts.call IS NOT NULL AND wanted.decision = facts.decision)
    AND (wanted.code IS NULL OR facts.call IS NOT NULL AND wanted.code = facts.code)
"""


class Queries(Protocol):
    """A connection to read with, or a transaction, which sees what it has written itself."""

    def execute(self, statement: str, parameters: Any = ..., /) -> sqlite3.Cursor:
        """Run one statement."""
        ...


def _query(wanted: str, source: str) -> str:
    asked = ", ".join(f"json_extract(filter, '$.{name}') AS {name}" for name in _ASKED)
    return f"""
        WITH wanted AS MATERIALIZED (SELECT name, {asked} FROM ({wanted})),
             facts AS MATERIALIZED ({_FACTS.format(source=source)})
        SELECT coalesce(facts.call, facts.seq), wanted.name FROM facts JOIN wanted ON {_MATCHES} ORDER BY 1, 2
    """  # noqa: S608 - constants of this module


_CALLS_THAT_MATCH = _query(_GIVEN, _OF_CALLS)
_CALLS_HELD = _query(_HOLDS, _OF_CALLS)
_EVENTS_HELD = _query(_HOLDS, _OF_EVENTS)


def calls_that_match(connection: Queries, wanted: Mapping[str, str], calls: Sequence[str]) -> list[str]:
    """Return those of some calls that match what is asked, in the order of their ids."""
    rows = connection.execute(_CALLS_THAT_MATCH, (json.dumps(dict(wanted)), json.dumps(calls)))
    return [call for call, _ in rows]


def calls_held(connection: Queries, calls: Sequence[str]) -> list[tuple[str, str]]:
    """Return (call, name of an active hold) for each hold that some calls are under."""
    return connection.execute(_CALLS_HELD, (json.dumps(calls),)).fetchall()


def events_held(connection: Queries, seqs: Sequence[int]) -> set[int]:
    """Return which of some records that belong to no call are under an active hold."""
    return {seq for seq, _ in connection.execute(_EVENTS_HELD, (json.dumps(seqs),))}
