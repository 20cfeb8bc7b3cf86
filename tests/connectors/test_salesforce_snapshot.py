"""The pinned snapshot: fetched from the service, told apart from what was pinned, and what tools are made of it."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from broker.errors import Refusal
from broker.testing.salesforce.faults import Answer
from connectors.salesforce import CONNECTOR
from connectors.salesforce.snapshot import Settings

Call = Callable[..., Any]
DATA = "/services/data/"
ALL_ACTIONS = {"read", "search", "describe", "related", "export", "create", "update", "upsert", "delete"}
WHOLE = {("salesforce.search", "find"), ("salesforce.query", "run"), ("salesforce.composite", "write")}


def describe(org: Any) -> Any:
    """Fetch what the service says of itself."""
    fetch = CONNECTOR.describe
    assert fetch is not None
    return org.ask(lambda session: fetch(session, org.document))


def probe(org: Any) -> Any:
    """Make the harmless call that shows whether a grant works."""
    return org.ask(lambda session: CONNECTOR.probe(session, org.document))


def test_the_starter_snapshot_is_what_the_service_says_of_itself(org: Any) -> None:
    """broker/starter: whoever starts with it against the Salesforce-shaped service finds nothing changed."""
    assert describe(org) == org.snapshot


def test_the_objects_that_the_document_maps_are_fetched(org: Any) -> None:
    """Each once, though two resources may be the same object."""
    org.document = org.document.model_copy(update={"resources": {"accounts": "Account", "customers": "Account"}})

    assert set(describe(org)["objects"]) == {"Account"}


def test_fields_of_types_without_one_value_are_left_out(org: Any) -> None:
    """Addresses, locations and files are not pinned, so they never leave."""
    fields = [
        {"name": name, "label": name, "type": type_, "filterable": True, "sortable": True, "picklistValues": None}
        for name, type_ in (("Id", "id"), ("BillingAddress", "address"), ("Place", "location"), ("Body", "base64"))
    ]
    org.document = org.document.model_copy(update={"resources": {"accounts": "Account"}})
    org.service.faults.add(Answer(path="/describe", status=200, body={"label": "Account", "fields": fields}))

    assert [field["name"] for field in describe(org)["objects"]["Account"]["fields"]] == ["Id"]


def test_values_of_picklists_that_are_not_active_are_left_out(org: Any) -> None:
    """An agent is shown what can be chosen now."""
    values = [{"value": "Hot", "active": True}, {"value": "Old", "active": False}]
    field = {"name": "Rating", "label": "Rating", "type": "picklist", "filterable": True, "sortable": True}
    body = {"label": "Account", "fields": [{**field, "picklistValues": values}]}
    org.document = org.document.model_copy(update={"resources": {"accounts": "Account"}})
    org.service.faults.add(Answer(path="/describe", status=200, body=body))

    assert describe(org)["objects"]["Account"]["fields"][0]["picklist"] == ["Hot"]


@pytest.mark.parametrize("name", ["query", "Account/../Contact", "__class__", "a b", "", "Account?x", "x" * 81])
def test_an_object_whose_name_is_none_is_not_asked_for(org: Any, name: str) -> None:
    """The name becomes a path and an attribute of a library; it must be neither of those by itself."""
    org.document = org.document.model_copy(update={"resources": {"accounts": name}})

    with pytest.raises(Refusal) as refused:
        describe(org)

    assert refused.value.code in {"upstream_not_found", "upstream_malformed"}


def test_an_object_that_the_service_does_not_have_is_named(org: Any) -> None:
    """Several are described by one command: its operator must know which to mend."""
    org.document = org.document.model_copy(update={"resources": {"accounts": "Account", "others": "Acount"}})

    with pytest.raises(Refusal, match="'Acount'") as refused:
        describe(org)

    assert refused.value.code == "upstream_not_found"
    assert str(refused.value.detail).startswith("HTTP 404")


@pytest.mark.parametrize(
    "body",
    [
        [],
        {"label": "Account"},
        {"label": "Account", "fields": [{}]},
        {"label": "Account", "fields": [{"name": "a'b", "label": "x", "type": "id", "filterable": 1, "sortable": 1}]},
        {"label": None, "fields": []},
    ],
)
def test_a_description_that_is_none_is_not_pinned(org: Any, body: Any) -> None:
    """What is pinned becomes SOQL and schemas."""
    org.service.faults.add(Answer(path="/describe", status=200, body=body))

    with pytest.raises(Refusal) as refused:
        describe(org)

    assert refused.value.code == "upstream_malformed"


def test_a_probe_says_how_many_requests_are_left(org: Any) -> None:
    """A harmless call, which every user with API access may make."""
    assert re.fullmatch(r"signed in; \d+ of 15000 API requests left today", probe(org))


@pytest.mark.parametrize(
    "body", [[], {}, {"DailyApiRequests": "x"}, {"DailyApiRequests": {"Max": "\x1b[2J", "Remaining": 1}}]
)
def test_a_probe_repeats_no_text_of_the_service(org: Any, body: Any) -> None:
    """Its answer is shown on an operator's terminal."""
    org.service.faults.add(Answer(path=DATA, status=200, body=body))

    assert probe(org) == "signed in"


# --- What tools are made of it ----------------------------------------------------------------------------------------


def test_every_action_of_every_mapped_object_is_in_the_catalogue(org: Any) -> None:
    """Issue 5, Salesforce whole: what an object does not offer has a name, so that policies can deny it."""
    found = {(tool.resource, tool.action): tool.tool.run is not None for tool in org.tools.values()}

    offered = {
        (f"salesforce.{resource}", action): action != "upsert"
        for resource in org.document.resources
        for action in ALL_ACTIONS
    }
    nothing_refers = {(f"salesforce.{resource}", "related"): False for resource in ("opportunities", "cases")}
    assert found == offered | nothing_refers | dict.fromkeys(WHOLE, True)


@pytest.mark.parametrize("snapshot", [None, {"service": "salesforce", "api_version": "59.0", "objects": {}}])
def test_an_object_that_is_not_pinned_has_its_names_and_nothing_that_works(org: Any, snapshot: Any) -> None:
    """broker/connector: the running broker fetches the snapshot, so the set must load before it is there."""
    org.snapshot = snapshot

    assert {tool.action for tool in org.tools.values()} == ALL_ACTIONS | {action for _, action in WHOLE}
    assert not [tool for tool in org.tools.values() if tool.tool.run]


def test_an_object_without_a_field_that_may_leave_has_nothing_that_works(org: Any) -> None:
    """There would be nothing to read."""
    org.document = org.document.model_copy(update={"resources": {"accounts": "Account"}})
    org.snapshot = {**org.snapshot, "objects": {"Account": {"label": "Account", "fields": []}}}

    assert not [tool for tool in org.tools.values() if tool.tool.run]


@pytest.mark.parametrize(
    "snapshot",
    [
        [],
        {},
        {"service": "hubspot", "api_version": "59.0", "objects": {}},
        {"service": "salesforce", "api_version": "59.0", "objects": {"Account": {}}},
        {"service": "salesforce", "api_version": "59.0", "objects": {"Acc'ount": {"label": "x", "fields": []}}},
        {"service": "salesforce", "api_version": "59.0", "objects": {}, "more": 1},
    ],
)
def test_what_is_no_snapshot_is_refused_with_the_place(org: Any, snapshot: Any) -> None:
    """architecture.md, The documents: tools change only when a person lets them, so a changed file is checked."""
    org.snapshot = snapshot

    with pytest.raises(ValueError, match="the snapshot is not one of Salesforce") as refused:
        _ = org.tools

    assert "pattern" not in str(refused.value)


def test_a_document_without_a_snapshots_name_is_refused(org: Any) -> None:
    """It is said what to write."""
    org.document = org.document.model_copy(update={"snapshot": None})

    with pytest.raises(ValueError, match="'snapshot' is missing"):
        _ = org.tools


def test_tools_can_be_told_to_a_model_in_few_words(org: Any) -> None:
    """lessons.md 19: clients spend 14-15% of the window on tool schemas; every list of fields stands once."""
    for name, tool in org.tools.items():
        resource = name.rsplit("_", 1)[0]
        pinned = org.snapshot["objects"].get(org.document.resources.get(resource), {"fields": []})["fields"]
        words = sum(len(value) + 4 for field in pinned for value in field["picklist"])
        fields = len(pinned)
        assert json.dumps(tool.tool.input_schema).count('"CreatedDate"') <= 1
        written = 60 * fields + words if tool.action in {"create", "update", "upsert"} else 0
        assert len(json.dumps(tool.tool.input_schema)) < 2200 + 30 * fields + written


def test_the_version_of_the_api_is_the_administrators(org: Any, call: Call) -> None:
    """A setting of the connector; calls are made under it."""
    org.document = org.document.model_copy(update={"settings": {"api_version": "59.0"}})
    call("accounts_search", limit=1, fields=["Id"])

    assert org.service.requests[-1].path.startswith("/services/data/v59.0/")
    assert Settings().api_version == "59.0"
