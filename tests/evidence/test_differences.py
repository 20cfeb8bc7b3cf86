import json

from hypothesis import given
from hypothesis import strategies as st

from broker.evidence.differences import changed_agents, changed_documents, changed_files, difference, fitting

FILES = st.dictionaries(st.text(max_size=5), st.none() | st.sampled_from(["1", "2"]))
DOCUMENTS = st.dictionaries(st.tuples(st.sampled_from(["Agent", "Broker"]), st.text(max_size=3)), st.sampled_from("12"))
AGENTS = st.dictionaries(st.text(max_size=3), st.sampled_from(["active", "suspended", "retired"]))


@given(FILES, FILES)
def test_the_difference_of_files_leads_from_one_set_to_the_other(
    before: dict[str, str | None], after: dict[str, str | None]
) -> None:
    """A record's difference is all that there is to say: whoever has the one set has the other."""
    made = dict(before)
    for one in changed_files(before, after):
        assert before.get(one["name"]) == one["before"]
        made[one["name"]] = one["after"]

    assert {name: made[name] for name in made if made[name]} == {name: after[name] for name in after if after[name]}


@given(DOCUMENTS, DOCUMENTS)
def test_the_difference_of_documents_is_empty_only_if_they_say_the_same(
    before: dict[tuple[str, str], str], after: dict[tuple[str, str], str]
) -> None:
    """Every document that differs is named once, with the right word."""
    found = {(one["kind"], one["name"]): one["change"] for one in changed_documents(before, after)}

    assert {key for key, change in found.items() if change == "added"} == after.keys() - before.keys()
    assert {key for key, change in found.items() if change == "removed"} == before.keys() - after.keys()
    assert (not found) == (before == after)


@given(AGENTS, AGENTS)
def test_an_agent_has_an_event_exactly_if_its_status_is_another(before: dict[str, str], after: dict[str, str]) -> None:
    """Nobody is suspended without a record, and no record says what did not happen."""
    sets = [
        [{"name": "n", "workload": one, "owner": "o", "team": "t", "status": status} for one, status in agents.items()]
        for agents in (before, after)
    ]

    events = changed_agents(*sets)

    assert {one["workload"] for one in events} == {
        one for one in before.keys() | after.keys() if before.get(one) != after.get(one)
    }
    assert all((one["kind"] == "agent_suspended") <= (one["status"]["after"] == "suspended") for one in events)


def test_the_difference_of_any_two_sets_has_its_place_in_a_record() -> None:
    """audit/record.py: a record has 65,535 bytes at most, however much is otherwise; how much is always said."""
    files = {f"{'ü' * 50}{number}.yaml": "0" * 64 for number in range(5000)}
    documents = {("AgentPolicy", f"policy-{number}"): "0" for number in range(5000)}

    found = difference(({}, {}), (files, documents))

    assert len(json.dumps(found)) < 25_000
    assert found["files"]["count"] == found["documents"]["count"] == 5000
    assert 0 < len(found["files"]["listed"]) < 5000
    assert fitting(["a" * 10, "b"], 13) == ["a" * 10]
