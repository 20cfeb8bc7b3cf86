"""Tool names, and arguments that do not match: told in words that a model can act on."""

from collections.abc import Mapping
from typing import Any

import pytest

from broker.catalog import Catalog, CatalogTool, catalog_tool
from broker.connector import Session, Tool, ToolCall, errors
from broker.errors import InvalidArguments

FIELDS = ["Id", "Name", "BillingCity", "AnnualRevenue", *(f"Custom{number}__c" for number in range(40))]
SCHEMA = {
    "type": "object",
    "properties": {
        "id": {"type": "string", "pattern": "^[a-z0-9]{3}$"},
        "fields": {"type": "array", "items": {"$ref": "#/$defs/field"}, "maxItems": 3},
        "match": {"enum": ["all", "any"]},
        "filters": {"type": "array", "items": {"$ref": "#/$defs/filter"}},
        "limit": {"type": "integer", "minimum": 1, "maximum": 10},
    },
    "required": ["id"],
    "additionalProperties": False,
    "$defs": {
        "field": {"enum": FIELDS},
        "filter": {
            "type": "object",
            "properties": {"field": {"$ref": "#/$defs/field"}, "operator": {}},
            "additionalProperties": False,
        },
    },
}


async def run(_call: ToolCall, _session: Session) -> Any:
    """Do nothing."""


def tool(schema: Mapping[str, Any] = SCHEMA, resource: str = "accounts", action: str = "read") -> CatalogTool:
    """Put a tool into the catalogue."""
    return catalog_tool("salesforce", Tool(resource, action, "A tool.", schema, {}, reads_only=True, run=run))


def refusal(arguments: Mapping[str, Any]) -> InvalidArguments:
    """Return how arguments are refused."""
    with pytest.raises(InvalidArguments) as refused:
        tool().check(arguments)
    return refused.value


def test_arguments_that_match_are_taken() -> None:
    """A check returns, or raises."""
    tool().check({"id": "a1b", "fields": ["Name"], "limit": 10, "filters": [{"field": "Id", "operator": 1}]})


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, 'arguments: "id" is a required property'),
        ({"id": 5}, 'id: 5 is not of type "string"'),
        ({"id": "a1b", "limit": 11}, "limit: 11 is greater than the maximum of 10"),
        ({"id": "a1b", "fields": ["name"]}, "fields/0: 'name' is not allowed here; nearest: Name"),
        ({"id": "a1b", "fields": ["Nmae"]}, "fields/0: 'Nmae' is not allowed here; nearest: Name"),
        ({"id": "a1b", "fields": ["billing_city"]}, "nearest: BillingCity"),
        ({"id": "a1b", "fields": [{"Name": 1}]}, "fields/0: {'Name': 1} is not allowed here"),
        ({"id": "a1b", "match": "some"}, "match: 'some' is not allowed here; allowed: all, any"),
        ({"id": "a1b", "filter": []}, "arguments: there is no 'filter' here; nearest: filters"),
        ({"id": "a1b", "filters": [{"feild": "Id"}]}, "filters/0: there is no 'feild' here; nearest: field"),
        ({"id": "a1b", "where": "1=1"}, "there is no 'where' here; allowed: id, fields, match, filters, limit"),
    ],
)
def test_arguments_that_do_not_match_are_refused_with_place_and_nearest_word(
    arguments: Mapping[str, Any], words: str
) -> None:
    """architecture.md, Names and answers on the wire: a refusal is something that an agent can act on."""
    refused = refusal(arguments)

    assert refused.code == "invalid_arguments"
    assert words in refused.message


def test_a_refusal_stays_short_whatever_was_sent() -> None:
    """The arguments may be large; an agent pays for every word that it is answered."""
    refused = refusal({"id": "x" * 100_000, "fields": ["y" * 100_000] * 50, "match": "z" * 100_000, "w" * 100_000: 1})

    assert len(refused.message) < 2000


def test_several_mistakes_are_told_at_once() -> None:
    """One round is cheaper than five."""
    refused = refusal({"limit": 0, "match": "some", "where": ""})

    assert all(word in refused.message for word in ("limit", "match", "where", "id"))


def test_a_tools_own_check_sees_arguments_that_match_only() -> None:
    """broker/connector: it says what the schema cannot, before the call has begun."""
    seen = []

    def check(arguments: Mapping[str, Any]) -> None:
        seen.append(arguments)
        raise errors.InvalidArguments("Not these two together.")

    checked = catalog_tool(
        "salesforce", Tool("accounts", "read", "", SCHEMA, {}, reads_only=True, run=run, check=check)
    )
    for arguments in ({"id": 5}, {"id": "a1b"}):
        with pytest.raises(InvalidArguments):
            checked.check(arguments)

    assert seen == [{"id": "a1b"}]


@pytest.mark.parametrize("name", ["x" * 60, "Öffentlich", "Accounts", "a b", "a.b", "a-b", "", "a\n"])
def test_a_tool_whose_name_cannot_be_served_or_named_is_refused(name: str) -> None:
    """architecture.md, Names and answers on the wire: `[a-zA-Z0-9_-]`, at most 64; and policies must reach it."""
    for place in ("resource", "action"):
        with pytest.raises(ValueError, match=r"cannot be named in a policy|is longer than 64"):
            tool(**{place: name})  # type: ignore[arg-type]


@pytest.mark.parametrize("schema", [{"type": "nothing"}, {"$ref": "https://example.com/schema.json"}, {"pattern": "("}])
def test_a_schema_that_cannot_be_served_is_refused(schema: Mapping[str, Any]) -> None:
    """architecture.md, The documents: checking needs no network, so a schema is whole in itself."""
    with pytest.raises(ValueError, match="is no JSON Schema"):
        tool(schema)


def test_the_catalogue_is_in_order_and_knows_what_each_resource_offers() -> None:
    """architecture.md, Names and answers on the wire: lists are deterministic."""
    catalog = Catalog([tool(action="search"), tool(resource="contacts"), tool()])

    assert [one.name for one in catalog] == [
        "salesforce_accounts_read", "salesforce_accounts_search", "salesforce_contacts_read"
    ]  # fmt: skip
    assert catalog.actions("salesforce.accounts") == {"read", "search"}
    assert catalog.actions("salesforce.orders") == frozenset()
    assert catalog.find("salesforce_accounts_read") is not None
    assert catalog.find("salesforce_accounts_write") is None
