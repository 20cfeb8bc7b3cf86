import json
from hashlib import sha256

import pytest

from broker.testing.salesforce.data import seeded_org
from broker.testing.salesforce.ids import parse_id
from broker.testing.salesforce.objects import ACCOUNT, CASE, CONTACT, OBJECTS, OPPORTUNITY

DIGEST = "58271e2eb58ce9efa4e4314cbe150991b850c67044c8b74bdf41402078b32662"


def test_the_seeded_org_is_the_same_on_every_machine() -> None:
    """Demo texts, documentation and expectations may quote its records."""
    org = seeded_org()

    content = json.dumps({sobject.name: org.records(sobject) for sobject in OBJECTS}, sort_keys=True)

    assert sha256(content.encode()).hexdigest() == DIGEST


def test_each_object_has_enough_records_for_several_pages() -> None:
    """Paging, limits and sampling have something to work on."""
    org = seeded_org()

    counts = {sobject.name: len(org.records(sobject)) for sobject in OBJECTS}

    assert counts == {"Account": 120, "Case": 130, "Contact": 200, "Invoice__c": 40, "Opportunity": 150, "User": 3}


def test_every_id_is_well_formed_and_has_its_objects_prefix() -> None:
    """Ids are those of 001, 003, 005, 006, 500 and a00, with the suffix that their case demands."""
    org = seeded_org()

    for sobject in OBJECTS:
        identifiers = [record["Id"] for record in org.records(sobject)]
        assert all(parse_id(identifier) == identifier for identifier in identifiers)
        assert {identifier[:3] for identifier in identifiers} == {sobject.key_prefix}
        assert len(set(identifiers)) == len(identifiers)


def test_records_refer_to_records_that_exist() -> None:
    """Contacts, opportunities and cases are linked, and a few are not."""
    org = seeded_org()
    accounts = {record["Id"] for record in org.records(ACCOUNT)}
    contacts = {record["Id"] for record in org.records(CONTACT)}

    for sobject in (CONTACT, OPPORTUNITY, CASE):
        assert {record["AccountId"] for record in org.records(sobject)} <= accounts | {None}
        assert None in {record["AccountId"] for record in org.records(sobject)}
    assert {record["ContactId"] for record in org.records(CASE)} <= contacts | {None}


@pytest.mark.parametrize("awkward", ["'", '"', "\\", "%", "_", "株", "🚀", "<script>"])
def test_account_names_hold_what_breaks_careless_code(awkward: str) -> None:
    """Escaping that fails, fails in the tests."""
    names = [record["Name"] for record in seeded_org().records(ACCOUNT)]

    assert any(awkward in name for name in names)


def test_descriptions_have_several_lines_and_tabs() -> None:
    """Text that spans lines reaches whatever prints or signs it."""
    descriptions = [record["Description"] or "" for record in seeded_org().records(CASE)]

    assert any("\r\n\t" in description for description in descriptions)


def test_one_test_does_not_see_what_another_changed() -> None:
    """Each org is a copy of its own."""
    changed, untouched = seeded_org(), seeded_org()
    identifier = changed.records(ACCOUNT)[0]["Id"]

    changed.update(ACCOUNT, identifier, {"Name": "Changed"})

    assert untouched.find(ACCOUNT, identifier)["Name"] != "Changed"
