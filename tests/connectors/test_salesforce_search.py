"""Search: every operator on every type of field, what does not fit, and that a value never becomes a query."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from broker.errors import InvalidArguments
from broker.testing.salesforce.soql import parse
from broker.testing.salesforce.statement import Comparison, Every
from connectors.salesforce.search import OPERATORS, compile_soql
from connectors.salesforce.snapshot import SnapshotField, SnapshotObject

Call = Callable[..., Any]
Found = Callable[..., list[Any]]

AWKWARD = (
    "O'Brien & Sons", 'The "Quoted" Company', "Back\\slash Industries", "C:\\new\\table\\users", "100% Organic Foods",
    "under_score Labs", "null", "Übergröße Æther GmbH", "株式会社サンプル", "Rocket 🚀 Works", "' OR Name != '",
    "<script>alert('Tyrell')</script>", "Smith, Smith; Smith",
)  # fmt: skip


def where(field: str, operator: str, *values: Any, **value: Any) -> dict[str, Any]:
    """Write a filter, with a value or without."""
    return {"field": field, "operator": operator, **({"value": values[0]} if values else value)}


@pytest.fixture
def found(call: Call) -> Found:
    """Return what a search finds of one field, in order."""

    def found(resource: str, field: str, *filters: dict[str, Any], **arguments: Any) -> list[Any]:
        answer = call(f"{resource}_search", filters=list(filters), fields=[field], limit=2000, **arguments)
        return sorted({record[field] for record in answer["records"]}, key=str)

    return found


@pytest.fixture
def everything(call: Call) -> Callable[[str], list[dict[str, Any]]]:
    """Return every record of a resource."""
    return lambda resource: list(call(f"{resource}_search", limit=2000)["records"])


# --- Every operator and type ------------------------------------------------------------------------------------------

CASES: list[tuple[str, str, str, tuple[Any, ...], Callable[[Any], bool]]] = [
    ("accounts", "Name", "equals", ("acme",), lambda value: value.casefold() == "acme"),
    ("accounts", "Name", "not_equals", ("Acme",), lambda value: value != "Acme"),
    ("accounts", "Name", "less", ("B",), lambda value: value.casefold() < "b"),
    ("accounts", "Name", "contains", ("foods",), lambda value: "foods" in value.casefold()),
    ("accounts", "Name", "starts_with", ("100",), lambda value: value.startswith("100")),
    ("accounts", "Name", "in", (["Acme", "null", "nobody"],), lambda value: value in {"Acme", "null"}),
    ("accounts", "Name", "not_in", (["Acme", "null"],), lambda value: value not in {"Acme", "null"}),
    ("accounts", "Industry", "equals", ("Banking",), lambda value: value == "Banking"),
    ("accounts", "Industry", "in", (["Banking", "Energy"],), lambda value: value in {"Banking", "Energy"}),
    ("accounts", "Industry", "contains", ("tech",), lambda value: "tech" in (value or "").casefold()),
    ("accounts", "AnnualRevenue", "greater", (5_000_000,), lambda value: value is not None and value > 5_000_000),
    ("accounts", "AnnualRevenue", "less_or_equal", (1e6,), lambda value: value is not None and value <= 1e6),
    ("accounts", "NumberOfEmployees", "greater_or_equal", (100.0,), lambda value: value is not None and value >= 100),
    ("accounts", "NumberOfEmployees", "in", ([-1, 3, 40.0],), lambda value: value in {3, 40}),
    ("accounts", "Website", "is_null", (), lambda value: value is None),
    ("accounts", "Website", "is_not_null", (), lambda value: value is not None),
    ("accounts", "IsDeleted", "equals", (False,), lambda value: value is False),
    ("accounts", "BillingStreet", "contains", ("\r\n",), lambda value: "\r\n" in (value or "")),
    ("accounts", "CreatedDate", "less", ("2023-06-01T00:00:00Z",), lambda value: value < "2023-06-01"),
    ("accounts", "CreatedDate", "less", ("2023-06-01T02:00:00+02:00",), lambda value: value < "2023-06-01"),
    ("contacts", "Email", "starts_with", ("person1",), lambda value: (value or "").startswith("person1")),
    ("contacts", "Birthdate", "less", ("1980-01-01",), lambda value: value is not None and value < "1980-01-01"),
    ("opportunities", "IsWon", "equals", (True,), lambda value: value is True),
    ("opportunities", "IsWon", "not_equals", (True,), lambda value: value is False),
    ("opportunities", "Probability", "greater", (50,), lambda value: value is not None and value > 50),
    ("opportunities", "CloseDate", "greater_or_equal", ("2024-01-01",), lambda value: value >= "2024-01-01"),
    ("opportunities", "Amount", "is_null", (), lambda value: value is None),
    ("cases", "Priority", "not_equals", ("High",), lambda value: value != "High"),
]  # fmt: skip


@pytest.mark.parametrize(("resource", "field", "operator", "value", "holds"), CASES)
def test_an_operator_finds_the_records_for_which_it_holds(
    found: Found,
    everything: Callable[[str], list[dict[str, Any]]],
    resource: str,
    field: str,
    operator: str,
    value: tuple[Any, ...],
    holds: Callable[[Any], bool],
) -> None:
    """Issue 2, Salesforce: search is structured (fields, filters, order, limit)."""
    expected = sorted({record[field] for record in everything(resource) if holds(record[field])}, key=str)

    assert found(resource, field, where(field, operator, *value)) == expected
    assert expected, "the case shows nothing"


@pytest.mark.parametrize("field", ["Id", "OwnerId", "CreatedById"])
def test_an_id_is_found_by_either_of_its_lengths(
    found: Found, everything: Callable[[str], list[dict[str, Any]]], field: str
) -> None:
    """An id of 15 characters names the same record as its 18."""
    whole = next(record[field] for record in everything("accounts") if record[field])

    assert found("accounts", field, where(field, "equals", whole)) == [whole]
    assert found("accounts", field, where(field, "in", [whole[:15]])) == [whole]


def test_filters_hold_together_unless_any_is_enough(found: Found) -> None:
    """'match' says which."""
    filters = (where("Name", "starts_with", "100"), where("Name", "contains", "%"))

    assert found("accounts", "Name", *filters) == ["100% Organic Foods"]
    assert found("accounts", "Name", *filters, match="any") == ["100% Organic Foods", "100x Organic Foods"]


def test_any_of_and_none_of_stand_within_the_others(found: Found) -> None:
    """One level of nesting says what people ask for: this, and one of these, and none of those."""
    filters = (
        {"any_of": [where("Name", "starts_with", "100"), where("Name", "equals", "Acme")]},
        {"none_of": [where("Name", "contains", "%"), where("Name", "contains", "_")]},
    )

    assert found("accounts", "Name", *filters) == ["100x Organic Foods", "Acme"]


# --- What does not fit ------------------------------------------------------------------------------------------------

WRONG: list[tuple[Any, str]] = [
    (where("Nmae", "equals", "x"), "nearest: Name"),
    (where("Name", "like", "x"), "'like' is not allowed here"),
    (where("Name", "equals"), "'equals' on Name needs a 'value': a text."),
    (where("Name", "equals", 5), "The value for Name (string) must be a text."),
    (where("Name", "equals", ["x"]), "The value for Name (string) must be a text."),
    (where("Name", "contains", 5), "'contains' on Name needs a text."),
    (where("Name", "contains", ""), "'contains' on Name needs a text."),
    (where("Name", "in", "x"), "'in' on Name needs a list of values, each a text."),
    (where("Name", "in", []), "'in' on Name needs a list of values, each a text."),
    (where("Name", "in", ["x", 5]), "The value for Name (string) must be a text."),
    (where("Name", "is_null", "x"), "'is_null' takes no value"),
    (where("Rating", "equals", 5), "one of: Hot, Warm, Cold"),
    (where("Description", "contains", "x"), "Description cannot be searched by."),
    (where("IsDeleted", "equals", "false"), "must be true or false"),
    (where("IsDeleted", "less", value=True), "IsDeleted is of type boolean, which has no 'less'; it has equals"),
    (where("IsDeleted", "in", [True]), "has no 'in'"),
    (where("AnnualRevenue", "equals", "1000"), "must be a number"),
    (where("AnnualRevenue", "equals", value=True), "must be a number"),
    (where("AnnualRevenue", "equals", 10**18), "must be a number"),
    (where("AnnualRevenue", "contains", "1"), "is of type currency, which has no 'contains'"),
    (where("NumberOfEmployees", "equals", 1.5), "must be a whole number"),
    (where("CreatedDate", "less", "2023-06-01"), "with its time zone as a text, like 2026-11-23T21:54:07Z"),
    (where("CreatedDate", "less", "2023-06-01T00:00:00"), "must be a moment with its time zone"),
    (where("CreatedDate", "less", "0001-01-01T00:00:00+14:00"), "must be a moment with its time zone"),
    (where("CreatedDate", "less", "some day"), "must be a moment with its time zone"),
    (where("CreatedDate", "in", ["TODAY"]), "must be a moment with its time zone"),
    (where("Id", "equals", "acme"), "must be an id of 15 or 18 characters"),
    (where("Id", "contains", "001"), "is of type id, which has no 'contains'"),
    (where("OwnerId", "less", "005000000000000"), "is of type reference, which has no 'less'"),
    ({"any_of": [where("Name", "equals", "x")], "none_of": [where("Name", "equals", "x")]}, "A filter is one of"),
    ({"any_of": [where("Name", "equals", "x")], **where("Name", "equals", "x")}, "A filter is one of"),
    ({"field": "Name"}, "A filter is one of"),
    ({}, "A filter is one of"),
    ({"any_of": []}, "filters/0/any_of"),
    ({"any_of": [{"any_of": [where("Name", "equals", "x")]}]}, "there is no 'any_of' here"),
    ("Name = 'x'", "filters/0"),
]  # fmt: skip


@pytest.mark.parametrize(("condition", "words"), WRONG)
def test_a_filter_that_does_not_fit_is_refused_with_what_would(org: Any, condition: Any, words: str) -> None:
    """Issue 2, Salesforce: the agent is told before the call has begun, and nothing reaches the service."""
    before = org.service.api_requests

    with pytest.raises(InvalidArguments) as refused:
        org.tools["accounts_search"].check({"filters": [condition]})

    assert words in refused.value.message
    assert org.service.api_requests == before


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_number_that_is_none_is_refused(org: Any, value: float) -> None:
    """Python's JSON has numbers that SOQL has not."""
    fields = SnapshotObject.model_validate(org.snapshot["objects"]["Account"]).leaving()

    with pytest.raises(InvalidArguments):
        compile_soql("Account", fields, {"filters": [where("AnnualRevenue", "equals", value)]}, 10)


def test_a_search_longer_than_a_url_may_be_is_refused(call: Call) -> None:
    """The service takes queries in the URL, where one character may need nine."""
    filters = [where("Name", "in", ["株式会社サンプル" * 10] * 20)] * 2

    with pytest.raises(InvalidArguments, match="too long"):
        call("accounts_search", filters=filters)


def test_the_longest_search_that_is_taken_is_answered(call: Call) -> None:
    """What the check lets through is short enough for the way it goes."""
    filters = [where("Name", "in", ["x" * 500] * 24)]

    assert call("accounts_search", filters=filters, fields=["Id"]) == {"records": [], "more": False, "total": 0}


@pytest.mark.parametrize("type_", ["multipicklist", "time", "encryptedstring", "combobox", "percent", "long", "id"])
@pytest.mark.parametrize("operator", OPERATORS)
def test_every_type_has_an_answer_for_every_operator(type_: str, operator: str) -> None:
    """A field type that no seeded object has is compiled or refused, never a crash."""
    fields = {"X": SnapshotField(name="X", label="X", type=type_, filterable=True, sortable=True)}
    found = []

    for value in ("x", "001000000000000", 5, 2.5, True, ["x"], [5], ["001000000000000"]):
        for condition in (where("X", operator, value), where("X", operator)):
            try:
                found.append(compile_soql("Thing", fields, {"filters": [condition]}, 10))
            except InvalidArguments as refused:
                found.append(refused.code)

    assert len(found) == 16


# --- A value never becomes a query ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", AWKWARD)
@pytest.mark.parametrize("operator", ["equals", "contains", "starts_with", "in"])
def test_an_awkward_value_finds_exactly_its_record(found: Found, name: str, operator: str) -> None:
    """lessons.md 4 (OpenAPI argument injection): quotes, backslashes, wildcards and other scripts are text."""
    value = [name] if operator == "in" else name

    assert found("accounts", "Name", where("Name", operator, value)) == [name]


_TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=40)
_SPITEFUL = st.text(st.sampled_from("'\"\\%_() ORANDNTLIKE=\n\r\t\b\f\0-;:,éu0027"), min_size=1, max_size=30)
_FIELDS = SnapshotObject.model_validate(
    {
        "label": "Account",
        "fields": [
            {"name": name, "label": name, "type": "string", "filterable": True, "sortable": True}
            for name in ("Name", "Phone")
        ],
    }
).leaving()


@settings(max_examples=300, deadline=None)
@given(_TEXT | _SPITEFUL, st.sampled_from(["equals", "not_equals", "less", "contains", "starts_with", "in", "not_in"]))
@example("\\", "contains")
@example("\\'", "equals")
@example("%' OR Name LIKE '", "contains")
def test_no_text_changes_the_shape_of_a_query(text: str, operator: str) -> None:
    """lessons.md 4: whatever a value is, the query is still two comparisons, one field and a limit."""
    value = [text] if operator in {"in", "not_in"} else text
    filters = [where("Name", operator, value), where("Phone", "equals", "1")]

    statement = parse(compile_soql("Account", _FIELDS, {"fields": ["Name"], "filters": filters}, 10))

    assert isinstance(statement.condition, Every)
    name, phone = statement.condition.conditions
    assert isinstance(name, Comparison)
    assert isinstance(phone, Comparison)
    assert (name.field.text, name.operator, len(name.values)) == ("Name", OPERATORS[operator], 1)
    assert (phone.field.text, phone.operator, [token.text for token in phone.values]) == ("Phone", "=", ["'1'"])
    assert [field.text for field in statement.fields] == ["Name"]
    assert statement.limit == 10


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(_TEXT | _SPITEFUL)
def test_any_text_finds_exactly_the_records_that_have_it(
    found: Found, everything: Callable[[str], list[dict[str, Any]]], text: str
) -> None:
    """Issue 2, Salesforce: every value escaped; nothing else is found, and nothing is refused."""
    names = _NAMES or {record["Name"] for record in everything("accounts")}
    _NAMES.update(names)

    equal = found("accounts", "Name", where("Name", "equals", text))
    containing = found("accounts", "Name", where("Name", "contains", text))

    assert equal == sorted(name for name in names if name.casefold() == text.casefold())
    assert containing == sorted(name for name in names if text.casefold() in name.casefold())


_NAMES: set[str] = set()
