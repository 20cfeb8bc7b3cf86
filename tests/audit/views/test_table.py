import csv
import io
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from broker.audit.views import join
from broker.audit.views.table import COLUMNS, rows
from tests.support.views import CREDENTIAL, LOGIN, NAMED, RULE, RUN, WORKLOAD, call, event, placed


def read(records: list[Any]) -> list[dict[str, str]]:
    """Return the rows of a table, as any other program reads CSV."""
    text = b"".join(rows(join(records))).decode()
    return list(csv.DictReader(io.StringIO(text, newline=""), strict=True))


def test_a_call_is_one_row_with_all_that_an_auditor_asks_for() -> None:
    """Issue 3, What a user can do 3: CSV; NIST AU-3 asks what, when, where, source, outcome and identity."""
    (row,) = read(placed(call()))

    assert (row["kind"], row["seq_first"], row["seq_last"], row["run_id"]) == ("call", "0", "2", RUN)
    assert (row["workload"], row["agent"], row["owner"]) == (WORKLOAD, "analyst", "jane@example.com")
    assert (row["decision"], row["outcome"], row["code"]) == ("permit", "released", "")
    assert row["rules"] == f"{RULE.policy} {RULE.place} sha256:{RULE.digest}"
    assert row["documents_sha256"] == "ef" * 32
    assert (row["credential_fingerprint"], row["credential_grant"]) == (CREDENTIAL["fingerprint"], CREDENTIAL["grant"])
    assert (row["credential_scopes"], row["source"], row["on_behalf_of"]) == ("notes", "192.0.2.7", "")
    assert (row["duration_ms"], row["decided_after_ms"], row["executed_after_ms"]) == ("95.017", "0.210", "90.005")


def test_a_row_says_how_identity_was_proved() -> None:
    """Issue 4: every record carries how identity was proved; so does every row."""
    (row,) = read(placed(call(identity=LOGIN)))

    proof = ("method", "assurance", "key_id", "issuer", "subject")
    assert [row[name] for name in proof] == ["oidc", "federated", "key-1", "https://login.example.com", "jane"]
    assert json.loads(row["on_behalf_of"])["method"] == "oidc-login"


def test_an_event_is_a_row_with_its_actor_and_all_that_it_says() -> None:
    """Issue 3, What must be true: everything an auditor asks about is there with its actor."""
    actor = {"user": "jane", "uid": 1000, "role": "admin"}
    grant = {"id": "g1", "connector": "notes", "principal": "p", "kind": "jwt-bearer"}

    (row,) = read(placed([event("grant_revoked", actor=actor, grant=grant)]))

    assert (row["kind"], row["actor_user"], row["actor_uid"], row["actor_role"]) == (
        "grant_revoked",
        "jane",
        "1000",
        "admin",
    )
    assert (row["connector"], row["credential_grant"], row["credential_principal"]) == ("notes", "g1", "p")
    assert '"principal": "p"' in row["event"]


def test_a_real_trail_has_a_row_for_each_of_its_entries(records: list[dict[str, Any]]) -> None:
    """What a broker writes, not only what a test thinks it writes."""
    table = read(records)

    calls = {record["call_id"] for record in records if "call_id" in record}
    assert [row["call_id"] for row in table if row["kind"] == "call"] == sorted(calls)
    assert len(table) == len(calls) + sum("call_id" not in record for record in records)
    assert {row["agent"] for row in table if row["kind"] == "call"} == {"analyst"}
    assert {"released", "refused", "failed"} <= {row["outcome"] for row in table}


def test_lines_end_as_the_standard_says_and_the_header_names_every_column() -> None:
    """RFC 4180 §2: CRLF, and every record has as many fields as the header."""
    text = b"".join(rows(join(placed(call()))))

    assert text.endswith(b"\r\n")
    assert text.count(b"\r\n") == 2 == text.count(b"\n")
    assert text.split(b"\r\n")[0].decode() == ",".join(f'"{name}"' for name in COLUMNS)


@given(st.lists(NAMED, max_size=6))
def test_whatever_somebody_made_of_the_records_there_is_a_table(records: list[Any]) -> None:
    """Whoever can write the store cannot keep the rest of it from being read."""
    table = read(records)

    assert len(table) <= len(records)
    assert all(None not in row and None not in row.values() for row in table)
