from datetime import date, datetime, timedelta
from typing import Any

import pytest

from broker.testing.salesforce.data import seeded_org
from broker.testing.salesforce.objects import ACCOUNT, CASE, CONTACT, OBJECTS, OPPORTUNITY
from broker.testing.salesforce.schema import SObject

# SOAP API Developer Guide, DescribeSObjectResult: Field. What generators of tools read.
FIELD_KEYS = {
    *("aggregatable", "autoNumber", "byteLength", "calculated", "caseSensitive", "createable", "custom"),
    *("defaultValue", "defaultedOnCreate", "deprecatedAndHidden", "digits", "encrypted", "externalId", "filterable"),
    *("groupable", "idLookup", "inlineHelpText", "label", "length", "name", "nameField", "namePointing", "nillable"),
    *("permissionable", "picklistValues", "precision", "referenceTo", "relationshipName", "restrictedPicklist"),
    *("scale", "soapType", "sortable", "type", "unique", "updateable"),
}
OBJECT_KEYS = {
    *("activateable", "childRelationships", "createable", "custom", "deletable", "fields", "keyPrefix", "label"),
    *("labelPlural", "layoutable", "name", "queryable", "recordTypeInfos", "retrieveable", "searchable", "triggerable"),
    *("undeletable", "updateable", "urls"),
}
JSON_TYPES: dict[str, type] = {
    "boolean": bool,
    "int": int,
    "currency": float,
    "percent": float,
}

every_object = pytest.mark.parametrize("sobject", OBJECTS, ids=lambda sobject: sobject.name)


def field(sobject: SObject, name: str) -> dict[str, Any]:
    """Return one field of a describe answer."""
    described = sobject.describe("/services/data/v59.0")
    return next(entry for entry in described["fields"] if entry["name"] == name)


@every_object
def test_a_describe_answer_has_the_documented_keys(sobject: SObject) -> None:
    """A generator of tools that was written against Salesforce finds what it reads."""
    described = sobject.describe("/services/data/v59.0")

    assert described.keys() >= OBJECT_KEYS
    assert all(entry.keys() >= FIELD_KEYS for entry in described["fields"])
    assert described["urls"]["rowTemplate"] == f"/services/data/v59.0/sobjects/{sobject.name}/{{ID}}"


@pytest.mark.parametrize("sobject", [ACCOUNT, CONTACT, OPPORTUNITY, CASE], ids=lambda sobject: sobject.name)
def test_a_long_text_is_described_as_neither_filterable_nor_sortable(sobject: SObject) -> None:
    """The describe says before the query fails."""
    description = field(sobject, "Description")

    assert (description["type"], description["length"]) == ("textarea", 32000)
    assert [description[key] for key in ("filterable", "sortable", "groupable")] == [False, False, False]


def test_a_short_text_area_is_described_as_filterable() -> None:
    """A street is a text area too, and can be searched for."""
    street = field(ACCOUNT, "BillingStreet")

    assert (street["type"], street["filterable"], street["sortable"]) == ("textarea", True, True)


def test_a_picklist_lists_its_values_and_marks_the_default() -> None:
    """Each value has the four keys that clients make enumerations of."""
    values = field(CASE, "Status")["picklistValues"]

    assert {"active": True, "defaultValue": True, "label": "New", "validFor": None, "value": "New"} in values
    assert [value["value"] for value in values if value["defaultValue"]] == ["New"]


def test_a_reference_names_its_target_and_its_relationship() -> None:
    """A client can tell where a lookup leads."""
    account = field(CONTACT, "AccountId")

    assert (account["type"], account["referenceTo"], account["relationshipName"]) == (
        "reference",
        ["Account"],
        "Account",
    )


def test_money_has_precision_and_whole_numbers_have_digits() -> None:
    """Numbers are described as the real fields are."""
    amount = field(OPPORTUNITY, "Amount")
    employees = field(ACCOUNT, "NumberOfEmployees")

    assert (amount["type"], amount["precision"], amount["scale"]) == ("currency", 18, 2)
    assert (employees["type"], employees["digits"], employees["soapType"]) == ("int", 8, "xsd:int")


@every_object
def test_every_record_is_what_its_describe_promises(sobject: SObject) -> None:
    """Each field is there, of the described type, within its length, and null only where it may be."""
    for record in seeded_org().records(sobject):
        assert list(record) == [entry.name for entry in sobject.fields]
        for entry in sobject.fields:
            value = record[entry.name]
            assert value is not None or entry.nillable
            if value is not None:
                assert_promised(entry.type, entry.length, value)


def assert_promised(kind: str, length: int, value: Any) -> None:
    """Compare a value with what its field's type says of it."""
    if kind in JSON_TYPES:
        assert isinstance(value, JSON_TYPES[kind])
    elif kind == "date":
        assert date.fromisoformat(value).isoformat() == value
    elif kind == "datetime":
        assert datetime.fromisoformat(value).utcoffset() == timedelta()
    else:
        assert 0 < len(value) <= length
