import ast
import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from broker.audit import canonical, leaf_hash
from broker.audit.views import join
from broker.audit.views.ocsf import is_known, lines, ocsf
from tests.support.notes import TOKEN
from tests.support.ocsf import mistakes
from tests.support.views import LOGIN, NAMED, RUN, call, event, placed

BROKER = Path(__file__).parents[3] / "broker"
CALLS = {"requested", "decided", "finished"}
COMING = (
    "agent_suspended",
    "agent_resumed",
    "agents_suspended",
    "agents_resumed",
    "approval_granted",
    "approval_denied",
    "approval_expired",
    "approval_withdrawn",
    "approval_shown",
    "approval_announced",
    "checkpoint_shipped",
    "signing_key_rotated",
    "trail_pruned",
    "agent_registered",
    "agent_retired",
    "agent_removed",
    "documents_rollback",
    "rollback_failed",
    "token_issued",
    "hold_added",
    "hold_released",
)


def events(records: list[Any]) -> list[dict[str, Any]]:
    """Return records as OCSF events, as another program reads them."""
    return [json.loads(line) for line in lines(join(records))]


def one(*records: Any) -> dict[str, Any]:
    """Return the one event of records."""
    (made,) = events(placed(records))
    return made


# --- The judge --------------------------------------------------------------------------------------------------------


def test_every_entry_of_a_real_trail_is_a_valid_event(records: list[dict[str, Any]]) -> None:
    """Issue 3, What must be true: OCSF output validates with `ocsf-json-schema`."""
    made = events(records)

    assert {entry["metadata"]["event_code"]: mistakes(entry) for entry in made if mistakes(entry)} == {}
    assert {entry["class_uid"] for entry in made} == {3002, 3004, 6002, 6003, 6005}
    assert {entry["metadata"]["version"] for entry in made} == {"1.8.0"}


@pytest.mark.parametrize("status", ["released", "refused", "failed", "withheld", "cancelled", "outcome_unknown", None])
@pytest.mark.parametrize("effect", ["permit", "deny", None])
@pytest.mark.parametrize("traceparent", [None, f"00-{RUN}-00f067aa0ba902b7-01"])
def test_however_a_call_ends_its_event_is_valid(
    status: str | None, effect: str | None, traceparent: str | None
) -> None:
    """The profile `trace` is there where the call is part of a run, and only there."""
    made = one(*call(status, effect=effect, traceparent=traceparent))

    assert mistakes(made) == []
    assert made["metadata"]["profiles"] == ["security_control", *(["trace"] if traceparent else [])]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda made: made.pop("actor"),
        lambda made: made.update(actor={}),
        lambda made: made.pop("src_endpoint"),
        lambda made: made["metadata"].pop("product"),
        lambda made: made["metadata"].update(profiles=[]),
        lambda made: made.update(class_uid=3002, type_uid=300202, category_uid=3),
        lambda made: made.update(activity_id=5, type_uid=600305),
        lambda made: made.update(type_uid=600399),
        lambda made: made.update(agent="analyst"),
        lambda made: made["api"].update(agent="analyst"),
        lambda made: made["api"].pop("operation"),
        lambda made: made.update(status_code=None),
        lambda made: made.update(time="2026-11-10T09:00:00.000Z"),
        lambda made: made["policy"].update(version=7),
    ],
)
def test_the_check_can_fail(spoil: Callable[[dict[str, Any]], Any]) -> None:
    """Issue 3, What must be true: bad ones fail."""
    made = one(*call())
    assert mistakes(made) == []
    spoiled = copy.deepcopy(made)

    spoil(spoiled)

    assert mistakes(spoiled)


@given(st.lists(NAMED, max_size=6))
@example([{"kind": "requested", "call_id": ""}])
@example([{"kind": "requested", "call_id": "a", "action": {"resource": "", "connector": "", "action": ""}}])
@example([{"kind": "requested", "call_id": "a", "run_id": "", "identity": {"on_behalf_of": {"sub": ""}}}])
@example([{"kind": "grant_added", "actor": {"user": "", "role": ""}}])
def test_whatever_somebody_made_of_the_records_the_events_are_valid(records: list[Any]) -> None:
    """A store that somebody has written to does not send the SIEM what it cannot read."""
    assert [mistakes(made) for made in events(records)] == [[]] * len(events(records))


# --- What is said -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("action", "activity"),
    [("create", 1), ("read", 2), ("search", 2), ("export", 2), ("update", 3), ("delete", 4), ("conjure", 99)],
)
def test_an_action_is_the_activity_that_it_is(action: str, activity: int) -> None:
    """audit.md C7: 1 Create, 2 Read, 3 Update, 4 Delete; the operation keeps the exact word."""
    made = one(*call(action=action))

    assert (made["activity_id"], made["api"]["operation"]) == (activity, action)


@pytest.mark.parametrize(
    ("status", "effect", "control", "status_id"),
    [
        ("released", "permit", ("Allowed", "Allowed"), 1),
        ("refused", "deny", ("Denied", "Blocked"), 2),
        ("refused", "permit", ("Denied", "Rejected"), 2),
        ("refused", None, ("Denied", "Rejected"), 2),
        ("failed", "permit", ("Allowed", "Allowed"), 2),
        ("withheld", "permit", ("Allowed", "Withheld"), 2),
        ("cancelled", "permit", ("Allowed", "Allowed"), 99),
        ("outcome_unknown", "permit", ("Allowed", "Allowed"), 0),
        (None, "permit", ("Allowed", "Allowed"), 0),
    ],
)
def test_the_decision_and_the_end_are_told_apart(
    status: str | None, effect: str | None, control: tuple[str, str], status_id: int
) -> None:
    """audit.md C7, `security_control`; what is not known to have succeeded is never a success."""
    made = one(*call(status, effect=effect))

    assert (made["action"], made["disposition"]) == control
    assert made["status_id"] == status_id


def test_an_event_says_who_and_which_policy_and_finds_its_leaves() -> None:
    """audit.md C7: under 1.8 agent and integrity are unmapped; with the leaf hash a proof can be asked for."""
    records = placed(call())
    (made,) = events(records)

    assert made["actor"] == {"app_uid": records[0]["identity"]["spiffe_id"], "app_name": "analyst"}
    assert made["unmapped"]["agent"]["owner"] == "jane@example.com"
    assert (made["policy"]["name"], made["policy"]["version"]) == ("analyst-notes", "ab" * 32)
    assert made["trace"] == {"uid": RUN}
    leaves = [place["leaf_hash"] for place in made["unmapped"]["integrity"]["records"]]
    assert leaves == [leaf_hash(canonical(record)).hex() for record in records]
    assert [place["seq"] for place in made["unmapped"]["integrity"]["records"]] == [0, 1, 2]


def test_an_event_says_who_vouched_and_on_whose_behalf() -> None:
    """Issue 4: the issuer is the actor's identity provider, the person who delegated its user."""
    (made,) = events(placed(call(identity=LOGIN)))

    assert mistakes(made) == []
    assert made["actor"]["idp"]["issuer"] == "https://login.example.com"
    assert made["actor"]["user"] == {"uid": "jane", "domain": "https://login.example.com"}
    assert (made["unmapped"]["agent"]["method"], made["unmapped"]["agent"]["assurance"]) == ("oidc", "federated")


def test_a_call_whose_beginning_is_not_there_still_has_an_actor() -> None:
    """A gap makes an event poorer, not invalid."""
    made = one(call()[2])

    assert mistakes(made) == []
    assert made["actor"] == {"app_name": "unknown"}
    assert made["status_id"] == 1


def test_a_change_names_its_actor_and_a_refused_change_is_a_failure() -> None:
    """audit.md C7: policy and registry edits are Entity Management."""
    actor = {"user": "jane", "uid": 1000, "role": "admin"}
    added = one(event("grant_added", actor=actor, grant={"id": "g1", "connector": "notes"}))
    refused = one(event("documents_refused", in_force="ab", count=1, mistakes=[]))

    assert (added["class_uid"], added["activity_id"], added["actor"]["user"]["name"]) == (3004, 1, "jane")
    assert (added["entity"]["name"], added["entity"]["uid"]) == ("notes", "g1")
    assert (added["status_id"], refused["status_id"]) == (1, 2)


def test_no_event_holds_a_secret(records: list[dict[str, Any]]) -> None:
    """Project rule: no SaaS error text and no credential leaves by a log, a trail or what is made of it."""
    text = json.dumps(events(records))

    assert "upstream_failed" in text
    for secret in (TOKEN, "Revenue grew", "BEGIN PRIVATE KEY"):
        assert secret not in text


# --- Every kind -------------------------------------------------------------------------------------------------------


MAKING = {
    *("note", "_note", "event", "_event", "calling", "in_force", "_add"),
    *("set_status", "_set_status", "_end", "_record"),
}
"""The functions of the broker that are given a kind."""


def kinds_in_the_code() -> Iterator[str]:
    """Every kind of record that the broker's code names: what is given to those that make records, and their own."""
    for path in BROKER.rglob("*.py"):
        if {"audit", "cli"} & set(path.relative_to(BROKER).parts):  # they read records
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                function = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                if function in MAKING:
                    yield from (word for one in node.args for word in _words(one))
            if isinstance(node, ast.Dict):
                pairs = zip(node.keys, node.values, strict=True)
                yield from (
                    word for key, value in pairs if key is not None and _word(key) == "kind" for word in _words(value)
                )


def _words(node: ast.AST) -> Iterator[str]:
    """Yield the words that an expression may be, of which one is a kind."""
    for one in (node.body, node.orelse) if isinstance(node, ast.IfExp) else (node,):
        if word := _word(one):
            yield word


def _word(node: ast.AST) -> str:
    """Return a word that can be a kind."""
    said = node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""
    return said if said.replace("_", "").isalpha() and said.islower() and said != "reauthorization_needed" else ""


def test_every_kind_in_the_code_has_a_class_of_its_own() -> None:
    """A new kind of record must be given its place here, too."""
    found = set(kinds_in_the_code()) - {"", "revoked", "call"}  # a grant's status, an entry's kind

    assert {"started", "grant_added", "snapshot_fetched", "authentication_refused", "grant_ended"} | CALLS <= found
    assert {kind for kind in found - CALLS if not is_known(kind)} == set()


@pytest.mark.parametrize("kind", COMING)
def test_kinds_that_other_rooms_write_have_theirs(kind: str) -> None:
    """Suspending, shipping, pruning, rotating."""
    assert is_known(kind)
    assert mistakes(one(event(kind, agent="analyst", actor={"user": "jane", "uid": 0, "role": "admin"}))) == []


@pytest.mark.parametrize("kind", ["eaten", "moon_eaten", "trail_eaten", "", "_", "grant_", "checkpoint_lost_again"])
def test_a_kind_that_nobody_knows_is_still_an_event(kind: str) -> None:
    """A newer broker's trail is read, and what is new in it is not left out."""
    made = one(event(kind, what="ever"))

    assert not is_known(kind)
    assert mistakes(made) == []
    assert made["unmapped"]["event"] == {"what": "ever"}


def test_an_event_is_the_same_whoever_asks() -> None:
    """A pure function of its records."""
    entry = next(join(placed(call())))

    assert ocsf(entry) == ocsf(entry)
