"""Writing: created once, changed only from the state that was seen, upserted, deleted, several at once."""

from typing import Any

import pytest

from broker.connector import Comparison, Scope
from broker.errors import AccessDenied, InvalidArguments, Refusal, UpstreamInterrupted, UpstreamNotFound
from broker.testing.salesforce import Answer, Drop, Lose
from broker.testing.salesforce.objects import ACCOUNT, CONTACT, INVOICE

INVOICE_VALUES = {"Name": "INV-9", "Status__c": "Draft", "Amount__c": 12.5}
JANES = Scope(filters=(Comparison("Owner.Email", "=", "jane@example.com"),))


def an_account(org: Any, **values: Any) -> dict[str, Any]:
    """Put an account into the org; return it."""
    identifier = org.service.org.create(ACCOUNT, {"Name": "Fresh", **values})
    return dict(org.service.org.find(ACCOUNT, identifier))


def owned_by(org: Any, email: str) -> dict[str, Any]:
    """Return an account of somebody's."""
    user = next(one["Id"] for one in org.service.org._records["User"].values() if one["Email"] == email)
    return an_account(org, OwnerId=user)


def keyed(org: Any) -> Any:
    """Let the broker's key be written where it is pinned."""
    settings = {"idempotency_fields": {"Invoice__c": "Broker_Key__c"}}
    org.document = org.document.model_copy(update={"settings": settings})
    return org


def writes(org: Any) -> int:
    """Count the requests that would change something."""
    count: int = org.service.writes
    return count


def refusal(org: Any, name: str, **arguments: Any) -> str:
    """Return the code with which a call is refused."""
    with pytest.raises(Refusal) as refused:
        org.call(name, **arguments)
    return str(refused.value.code)


# --- Schemas ---------------------------------------------------------------------------------------------------------


def test_what_a_new_record_needs_is_in_the_schema(writable: Any) -> None:
    """Issue 5: required fields and picklists in the input schema, from the pinned snapshot."""
    schema = writable.tools["opportunities_create"].tool.input_schema["properties"]["values"]

    assert schema["required"] == ["Name", "StageName", "CloseDate"]
    assert "Closed Won" in schema["properties"]["StageName"]["enum"]
    assert {"Id", "IsDeleted", "CreatedDate", "IsClosed"}.isdisjoint(schema["properties"])


def test_a_record_that_lacks_what_is_needed_is_refused_before_the_call(writable: Any) -> None:
    """The service is not asked."""
    before = writable.service.api_requests

    assert refusal(writable, "opportunities_create", values={"Name": "x"}) == "invalid_arguments"
    assert writable.service.api_requests == before


@pytest.mark.parametrize(
    "values",
    [
        {"Nope": 1},
        {"Id": "001000000000000AAA"},
        {"Industry": "Magic"},
        {"Name": None},
        {"Name": "x" * 256},
        {"AnnualRevenue": "much"},
        {"ParentId": "not an id"},
        {},
    ],
)
def test_values_that_do_not_fit_their_fields_are_refused(writable: Any, values: dict[str, Any]) -> None:
    """Types, lengths, picklists, ids, and what nobody may write."""
    account = an_account(writable)

    assert refusal(writable, "accounts_update", id=account["Id"], values=values) == "invalid_arguments"


# --- Create ----------------------------------------------------------------------------------------------------------


def test_a_record_is_created(writable: Any) -> None:
    """Its id is answered, so that it can be used."""
    answer = writable.call("contacts_create", values={"LastName": "Hopper", "Email": "grace@example.com"})

    assert answer["created"] is True
    assert writable.service.org.find(CONTACT, answer["id"])["Email"] == "grace@example.com"


def test_a_create_that_is_repeated_after_a_cut_makes_one_record(writable: Any) -> None:
    """Issue 5, Show: a write retried after a cut. The service did it, the answer was lost, the same call finds it."""
    keyed(writable).key = "k" * 64
    writable.service.faults.add(Lose(path="/sobjects/Invoice__c", method="PATCH"))

    with pytest.raises(UpstreamInterrupted, match="will not be created twice"):
        writable.call("invoices_create", values=INVOICE_VALUES)
    before = writes(writable)
    again = writable.call("invoices_create", values=INVOICE_VALUES)

    assert again["created"] is False
    assert writes(writable) == before
    made = [one for one in writable.service.org.records(INVOICE) if one["Broker_Key__c"] == "k" * 64]
    assert [one["Id"] for one in made] == [again["id"]]


def test_a_create_that_never_arrived_is_made_by_its_repetition(writable: Any) -> None:
    """The other end of the same cut."""
    keyed(writable).key = "n" * 64
    writable.service.faults.add(Drop(path="/sobjects/Invoice__c", method="PATCH"))

    assert refusal(writable, "invoices_create", values=INVOICE_VALUES) == "upstream_interrupted"
    assert writable.call("invoices_create", values=INVOICE_VALUES)["created"] is True


def test_another_call_creates_another_record(writable: Any) -> None:
    """The key is of agent, tool and arguments: other arguments, another record."""
    keyed(writable)
    made = []
    for key in ("a" * 64, "b" * 64):
        writable.key = key
        made.append(writable.call("invoices_create", values=INVOICE_VALUES))

    assert [one["created"] for one in made] == [True, True]
    assert made[0]["id"] != made[1]["id"]


def test_where_the_service_cannot_tell_it_is_said(writable: Any) -> None:
    """Issue 5: and says so where it cannot."""
    writable.service.faults.add(Lose(path="/sobjects/Account", method="POST"))

    with pytest.raises(UpstreamInterrupted, match="cannot tell a repeated create; search"):
        writable.call("accounts_create", values={"Name": "Twice"})
    assert "creates a second one" in writable.tools["accounts_create"].tool.description


@pytest.mark.parametrize("field", ["Nope__c", "Number__c", "Name"])
def test_a_key_that_cannot_hold_one_is_refused_at_load(writable: Any, field: str) -> None:
    """It must be pinned as an external id that can be written, and be long enough."""
    settings = {"idempotency_fields": {"Invoice__c": field}}
    writable.document = writable.document.model_copy(update={"settings": settings})

    with pytest.raises(ValueError, match="idempotency_fields"):
        _ = writable.tools


def test_the_brokers_key_is_no_field_that_an_agent_writes(writable: Any) -> None:
    """It would make one call look like another."""
    keyed(writable)

    schema = writable.tools["invoices_create"].tool.input_schema["properties"]["values"]["properties"]
    assert "Broker_Key__c" not in schema


# --- Update ----------------------------------------------------------------------------------------------------------


def test_a_record_is_changed(writable: Any) -> None:
    """And nothing but what was named."""
    account = an_account(writable)

    answer = writable.call("accounts_update", id=account["Id"], values={"Phone": "1", "Industry": "Banking"})

    after = writable.service.org.find(ACCOUNT, account["Id"])
    assert answer == {"id": account["Id"], "changed": True}
    assert (after["Phone"], after["Industry"], after["Name"]) == ("1", "Banking", "Fresh")


def test_a_change_that_is_there_already_is_not_made_again(writable: Any) -> None:
    """A retry after an unknown outcome: the service is read, and not written."""
    account = an_account(writable)
    writable.service.faults.add(Lose(path="/sobjects/Account", method="PATCH"))
    values = {"AnnualRevenue": 7, "Phone": "2", "Website": ""}

    assert refusal(writable, "accounts_update", id=account["Id"], values=values) == "upstream_interrupted"
    before = writes(writable)
    again = writable.call("accounts_update", id=account["Id"], values=values)

    assert again == {"id": account["Id"], "changed": False}
    assert writes(writable) == before


def test_a_record_that_was_changed_since_it_was_read_is_not_written(writable: Any) -> None:
    """`unchanged_since` is compared to the millisecond, before anything is sent."""
    account = an_account(writable)
    seen = "2020-01-01T00:00:00.000+0000"

    code = refusal(writable, "accounts_update", id=account["Id"], values={"Phone": "3"}, unchanged_since=seen)

    assert code == "upstream_changed"
    assert writable.service.org.find(ACCOUNT, account["Id"])["Phone"] is None


def test_a_record_that_changes_between_reading_and_writing_is_not_written(writable: Any) -> None:
    """The condition that the service checks: its 412 is our code."""
    account = an_account(writable)
    writable.service.faults.add(Answer(path="/sobjects/Account", method="PATCH", status=412, body=""))

    assert refusal(writable, "accounts_update", id=account["Id"], values={"Phone": "4"}) == "upstream_changed"


def test_every_change_is_conditional(writable: Any) -> None:
    """If-Unmodified-Since is the moment at which the record was read as changed last; the service compares it."""
    account = an_account(writable)
    writable.service.org._records["Account"][account["Id"]]["LastModifiedDate"] = "2999-01-01T00:00:00.000+0000"

    page = {
        "totalSize": 1,
        "done": True,
        "records": [{"Id": account["Id"], "LastModifiedDate": "2024-01-01T00:00:00.000+0000", "Phone": None}],
    }
    writable.service.faults.add(Answer(path="/query", status=200, body=page))

    assert refusal(writable, "accounts_update", id=account["Id"], values={"Phone": "5"}) == "upstream_changed"


@pytest.mark.parametrize("moment", ["yesterday", "2024-01-01T00:00:00", ""])
def test_a_moment_that_is_none_is_refused(writable: Any, moment: str) -> None:
    """It must have a time zone."""
    account = an_account(writable)

    with pytest.raises(InvalidArguments, match="unchanged_since"):
        writable.call("accounts_update", id=account["Id"], values={"Phone": "1"}, unchanged_since=moment)


def test_a_record_that_is_not_there_is_not_found(writable: Any) -> None:
    """For every write of one."""
    nobody = "001000000000000AAA"

    assert refusal(writable, "accounts_update", id=nobody, values={"Phone": "1"}) == "upstream_not_found"
    assert refusal(writable, "accounts_delete", id=nobody) == "upstream_not_found"


# --- Upsert and delete -----------------------------------------------------------------------------------------------


def test_an_upsert_creates_then_changes_then_leaves(writable: Any) -> None:
    """By an external id, which may hold what a path does not."""
    arguments = {"field": "Number__c", "value": "A/B c%", "values": INVOICE_VALUES}

    first = writable.call("invoices_upsert", **arguments)
    second = writable.call("invoices_upsert", **{**arguments, "values": {"Amount__c": 99}})
    third = writable.call("invoices_upsert", **{**arguments, "values": {"Amount__c": 99}})

    assert [(one["created"], one["changed"]) for one in (first, second, third)] == [
        (True, True),
        (False, True),
        (False, False),
    ]
    assert first["id"] == second["id"] == third["id"]
    assert writable.service.org.find(INVOICE, first["id"])["Number__c"] == "A/B c%"


def test_an_upsert_that_would_create_needs_what_a_record_needs(writable: Any) -> None:
    """Refused in our words, before it is sent."""
    before = writes(writable)

    code = refusal(writable, "invoices_upsert", field="Number__c", value="NEW", values={"Amount__c": 1})

    assert (code, writes(writable)) == ("invalid_arguments", before)


@pytest.mark.parametrize("value", [".", "..", "a/../b", "../../sobjects/Account"])
def test_an_external_id_climbs_no_path(writable: Any, value: str) -> None:
    """It stands in an address."""
    before = writable.service.api_requests

    assert refusal(writable, "invoices_upsert", field="Number__c", value=value, values=INVOICE_VALUES) == (
        "invalid_arguments"
    )
    assert writable.service.api_requests == before


def test_a_record_is_deleted(writable: Any) -> None:
    """Once; then it is not found."""
    account = an_account(writable)

    assert writable.call("accounts_delete", id=account["Id"]) == {"id": account["Id"], "deleted": True}
    assert refusal(writable, "accounts_delete", id=account["Id"]) == "upstream_not_found"


# --- Within a scope --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("action", ["update", "delete"])
def test_a_record_outside_the_filter_is_as_if_it_were_not_there(writable: Any, action: str) -> None:
    """Issue 4: a write reads first."""
    mine, others = owned_by(writable, "jane@example.com"), owned_by(writable, "omar@example.com")
    writable.scope = JANES
    values = {"values": {"Phone": "1"}} if action == "update" else {}

    with pytest.raises(UpstreamNotFound):
        writable.call(f"accounts_{action}", id=others["Id"], **values)
    writable.call(f"accounts_{action}", id=mine["Id"], **values)

    assert writable.service.org.find(ACCOUNT, others["Id"]) == others


def test_a_new_record_must_be_shown_to_be_within_the_filter(writable: Any) -> None:
    """What cannot be told before it is written is refused."""
    writable.scope = Scope(filters=(Comparison("Industry", "in", ["Banking", "Retail"]),))

    made = writable.call("accounts_create", values={"Name": "Bank", "Industry": "Banking"})

    assert made["created"] is True
    assert refusal(writable, "accounts_create", values={"Name": "x"}) == "access_denied"
    assert refusal(writable, "accounts_create", values={"Name": "x", "Industry": "Energy"}) == "access_denied"
    writable.scope = JANES
    assert refusal(writable, "accounts_create", values={"Name": "x"}) == "access_denied"


def test_a_record_is_not_moved_out_of_the_filter_nor_given_away(writable: Any) -> None:
    """`OwnerId` leads to `Owner.Email`."""
    mine = owned_by(writable, "jane@example.com")
    writable.scope = JANES

    code = refusal(writable, "accounts_update", id=mine["Id"], values={"OwnerId": mine["OwnerId"]})

    assert code == "access_denied"


def test_an_upsert_does_not_reach_a_record_outside_the_filter(writable: Any) -> None:
    """Nor does it tell that there is one."""
    writable.call("invoices_upsert", field="Number__c", value="HIDDEN", values={**INVOICE_VALUES, "Status__c": "Paid"})
    writable.scope = Scope(filters=(Comparison("Status__c", "=", "Draft"),))

    code = refusal(
        writable, "invoices_upsert", field="Number__c", value="HIDDEN", values={**INVOICE_VALUES, "Amount__c": 0}
    )

    assert code == "upstream_not_found"


def test_only_fields_within_the_scope_are_written(writable: Any) -> None:
    """The fields of a rule hold for what is written too."""
    account = an_account(writable)
    writable.scope = Scope(fields=frozenset({"Id", "Phone"}))

    writable.call("accounts_update", id=account["Id"], values={"Phone": "1"})

    with pytest.raises(AccessDenied, match="Website"):
        writable.call("accounts_update", id=account["Id"], values={"Phone": "1", "Website": "x"})


# --- Several at once -------------------------------------------------------------------------------------------------


def test_several_writes_are_made_in_one_request(writable: Any) -> None:
    """A later one uses the id of what an earlier one creates."""
    account = an_account(writable)
    before = writes(writable)

    answer = writable.call(
        "composite_write",
        operations=[
            {"operation": "create", "resource": "accounts", "name": "acme", "values": {"Name": "New"}},
            {"operation": "create", "resource": "contacts", "values": {"LastName": "L", "AccountId": "@{acme.id}"}},
            {"operation": "update", "resource": "accounts", "id": account["Id"], "values": {"Phone": "7"}},
            {"operation": "upsert", "resource": "invoices", "field": "Number__c", "value": "C-1",
             "values": INVOICE_VALUES},
        ],
    )  # fmt: skip

    assert [one["status"] for one in answer["results"]] == ["created", "created", "changed", "created"]
    contact = writable.service.org.find(CONTACT, answer["results"][1]["id"])
    assert contact["AccountId"] == answer["results"][0]["id"]
    assert writes(writable) == before + 1


def test_one_failure_undoes_all(writable: Any) -> None:
    """All or none, and which one it was."""
    before = len(writable.service.org.records(ACCOUNT))
    made = writable.call("invoices_create", values=INVOICE_VALUES)["id"]
    number = writable.service.org.create(INVOICE, {**INVOICE_VALUES, "Number__c": "TAKEN"})
    assert number

    code = refusal(
        writable,
        "composite_write",
        operations=[
            {"operation": "create", "resource": "accounts", "values": {"Name": "Undone"}},
            {"operation": "update", "resource": "invoices", "id": made, "values": {"Number__c": "TAKEN"}},
        ],
    )

    assert (code, len(writable.service.org.records(ACCOUNT))) == ("upstream_rejected", before)


def test_unless_all_are_asked_for_each_has_its_own_outcome(writable: Any) -> None:
    """In our codes and words."""
    taken = writable.service.org.create(INVOICE, {**INVOICE_VALUES, "Number__c": "TAKEN-2"})
    other = writable.service.org.create(INVOICE, INVOICE_VALUES)
    assert taken

    answer = writable.call(
        "composite_write",
        all_or_none=False,
        operations=[
            {"operation": "update", "resource": "invoices", "id": other, "values": {"Number__c": "TAKEN-2"}},
            {"operation": "create", "resource": "accounts", "values": {"Name": "Stays"}},
        ],
    )

    first, second = answer["results"]
    assert (first["status"], first["code"], second["status"]) == ("refused", "upstream_rejected", "created")


def test_a_composite_that_is_repeated_creates_nothing_twice(writable: Any) -> None:
    """Each create has a key of its own; what refers to it finds it."""
    keyed(writable).key = "c" * 64
    operations = [
        {"operation": "create", "resource": "invoices", "values": INVOICE_VALUES},
        {"operation": "create", "resource": "invoices", "values": INVOICE_VALUES},
    ]
    writable.service.faults.add(Lose(path="/composite"))
    before = len(writable.service.org.records(INVOICE))

    assert refusal(writable, "composite_write", operations=operations) == "upstream_interrupted"
    answer = writable.call("composite_write", operations=operations)

    assert [one["status"] for one in answer["results"]] == ["unchanged", "unchanged"]
    assert len(writable.service.org.records(INVOICE)) == before + 2


@pytest.mark.parametrize(
    "operation",
    [
        {"operation": "create", "resource": "accounts"},
        {"operation": "create", "resource": "accounts", "id": "001000000000000AAA", "values": {"Name": "x"}},
        {"operation": "delete", "resource": "accounts", "id": "001000000000000AAA", "values": {"Name": "x"}},
        {"operation": "update", "resource": "accounts", "id": "001000000000000AAA", "values": {"Nope": "x"}},
        {"operation": "upsert", "resource": "accounts", "field": "Name", "value": "x", "values": {"Phone": "x"}},
        {"operation": "create", "resource": "contacts", "values": {"LastName": "x", "AccountId": "@{nobody.id}"}},
    ],
)
def test_an_operation_that_is_none_is_refused_with_its_number(writable: Any, operation: dict[str, Any]) -> None:
    """Nothing is sent."""
    before = writable.service.api_requests
    first = {"operation": "create", "resource": "accounts", "values": {"Name": "x"}}

    with pytest.raises(InvalidArguments, match="Operation 2"):
        writable.call("composite_write", operations=[first, operation])
    assert writable.service.api_requests == before
