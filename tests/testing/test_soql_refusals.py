import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.testing.salesforce.data import seeded_org
from broker.testing.salesforce.errors import ServiceError
from broker.testing.salesforce.query import select
from broker.testing.salesforce.statement import located

ORG = seeded_org()

REFUSALS: list[tuple[str, str]] = [
    ("SELECT Id FROM Account WHERE Name = 'a' AND Name = 'b' OR Name = 'c'", "MALFORMED_QUERY"),
    ("SELECT Id FROM Account WHERE Name = 'a' OR Name = 'b' AND Name = 'c'", "MALFORMED_QUERY"),
    ("SELECT Id FROM Account WHERE (Name = 'a' AND Name = 'b' OR Name = 'c')", "MALFORMED_QUERY"),
    ("SELECT Id FROM Account WHERE Name = 'a' AND NOT Name = 'b'", "MALFORMED_QUERY"),
    ("SELECT Id FROM Account WHERE Name = 'O'Brien'", "MALFORMED_QUERY"),
    ("SELECT Id FROM Account WHERE Name = 'open", "MALFORMED_QUERY"),
    ('SELECT Id FROM Account WHERE Name = "double"', "MALFORMED_QUERY"),
    ("SELECT Id FROM Account WHERE Name = 'a\\q'", "MALFORMED_QUERY"),
    ("SELECT Id FROM Account WHERE Name = '100\\%'", "MALFORMED_QUERY"),
    ("SELECT Id FROM Account WHERE Name = Industry", "MALFORMED_QUERY"),
    ("SELECT Id FROM Account WHERE Name = :name", "MALFORMED_QUERY"),
    ("SELECT Id FROM Account WHERE Name IS NULL", "MALFORMED_QUERY"),
    ("SELECT Id FROM Account WHERE Name IN ()", "MALFORMED_QUERY"),
    ("SELECT Id FROM Account WHERE Name IN 'a'", "MALFORMED_QUERY"),
    ("SELECT Id FROM Account WHERE", "MALFORMED_QUERY"),
    ("SELECT Id FROM Account LIMIT ten", "MALFORMED_QUERY"),
    ("SELECT Id FROM Account LIMIT -1", "MALFORMED_QUERY"),
    ("SELECT Id FROM Account LIMIT 1 ORDER BY Name", "MALFORMED_QUERY"),
    ("SELECT Id FROM Account; DELETE", "MALFORMED_QUERY"),
    ("SELECT Id FROM Account -- all of them", "MALFORMED_QUERY"),
    ("SELECT * FROM Account", "MALFORMED_QUERY"),
    ("SELECT Id, FROM Account", "MALFORMED_QUERY"),
    ("SELECT FROM Account", "MALFORMED_QUERY"),
    ("SELECT Id", "MALFORMED_QUERY"),
    ("UPDATE Account SET Name = 'x'", "MALFORMED_QUERY"),
    ("", "MALFORMED_QUERY"),
    ("SELECT Id FROM Opportunity WHERE CloseDate = 2024-02-30", "MALFORMED_QUERY"),
    ("SELECT Id FROM Account ORDER BY Description", "MALFORMED_QUERY"),
    ("SELECT Id FROM Nope", "INVALID_TYPE"),
    ("SELECT Id, (SELECT Id FROM Nothings) FROM Account", "INVALID_TYPE"),
    ("SELECT Id, (SELECT Nope FROM Contacts) FROM Account", "INVALID_FIELD"),
    ("SELECT Id, (SELECT Id, (SELECT Id FROM Cases) FROM Contacts) FROM Account", "MALFORMED_QUERY"),
    ("SELECT Id FROM Account WHERE Id IN (SELECT AccountId, Id FROM Contact)", "MALFORMED_QUERY"),
    ("SELECT Id FROM Account WHERE Name IN (SELECT Name FROM Contact)", "MALFORMED_QUERY"),
    ("SELECT Id FROM Account WHERE Name = TODAY", "INVALID_FIELD"),
    ("SELECT Id FROM Account WHERE CreatedDate = SOME_N_DAYS:3", "MALFORMED_QUERY"),
    ("SELECT Id FROM Account WHERE CreatedDate > LAST_N_YEARS:99999", "MALFORMED_QUERY"),
    ("SELECT Nope FROM Account", "INVALID_FIELD"),
    ("SELECT Id, id FROM Account", "INVALID_FIELD"),
    ("SELECT Nothing.Name FROM Contact", "INVALID_FIELD"),
    ("SELECT Account.Nope FROM Contact", "INVALID_FIELD"),
    ("SELECT Id FROM Account WHERE Nope = 1", "INVALID_FIELD"),
    ("SELECT Id FROM Account ORDER BY Nope", "INVALID_FIELD"),
    ("SELECT Id FROM Account WHERE Description = 'x'", "INVALID_FIELD"),
    ("SELECT Id FROM Account WHERE Description LIKE 'x'", "INVALID_FIELD"),
    ("SELECT Id FROM Account WHERE Name = 1", "INVALID_FIELD"),
    ("SELECT Id FROM Account WHERE Name LIKE 1", "INVALID_FIELD"),
    ("SELECT Id FROM Account WHERE Name = TRUE", "INVALID_FIELD"),
    ("SELECT Id FROM Account WHERE AnnualRevenue = '1'", "INVALID_FIELD"),
    ("SELECT Id FROM Account WHERE NumberOfEmployees IN (1, '2')", "INVALID_FIELD"),
    ("SELECT Id FROM Account WHERE IsDeleted = 'false'", "INVALID_FIELD"),
    ("SELECT Id FROM Account WHERE CreatedDate > 2024-01-01", "INVALID_FIELD"),
    ("SELECT Id FROM Opportunity WHERE CloseDate = '2024-01-01'", "INVALID_FIELD"),
    ("SELECT Id FROM Opportunity WHERE CloseDate > 2024-01-01T00:00:00Z", "INVALID_FIELD"),
    ("SELECT Id FROM Account WHERE Id = 'foo'", "INVALID_QUERY_FILTER_OPERATOR"),
    ("SELECT Id FROM Account WHERE Id LIKE '001%'", "INVALID_QUERY_FILTER_OPERATOR"),
    ("SELECT Id FROM Account WHERE AnnualRevenue LIKE '1%'", "INVALID_QUERY_FILTER_OPERATOR"),
    ("SELECT Id FROM Account WHERE IsDeleted > false", "INVALID_QUERY_FILTER_OPERATOR"),
    ("SELECT Id FROM Account OFFSET 2001", "NUMBER_OUTSIDE_VALID_RANGE"),
    ("SELECT Id FROM Account WHERE Name = 'a'\u00a0", "MALFORMED_QUERY"),
]

CUSTOM_FIELD = (
    "If you are attempting to use a custom field, be sure to append the '__c' after the custom field name. "
    "Please reference your WSDL or the describe call for the appropriate names."
)
CUSTOM_OBJECT = (
    "If you are attempting to use a custom object, be sure to append the '__c' after the entity name. "
    "Please reference your WSDL or the describe call for the appropriate names."
)
CUSTOM_RELATIONSHIP = (
    "If you are attempting to use a custom relationship, be sure to append the '__r' after the custom relationship "
    "name. Please reference your WSDL or the describe call for the appropriate names."
)
MESSAGES: list[tuple[str, str, str, str]] = [
    (
        "SELECT Nope FROM Account",
        "       ^",
        "Row:1:Column:8",
        f"No such column 'Nope' on entity 'Account'. {CUSTOM_FIELD}",
    ),
    (
        "SELECT Id FROM Nope__c",
        "               ^",
        "Row:1:Column:16",
        f"sObject type 'Nope__c' is not supported. {CUSTOM_OBJECT}",
    ),
    (
        "SELECT Id FROM Case WHERE IsClosed = 'no'",
        "                          ^",
        "Row:1:Column:27",
        "value of filter criterion for field 'IsClosed' must be of type boolean and should not be enclosed in quotes",
    ),
    (
        "SELECT Id FROM Account WHERE Phone = 39",
        "                             ^",
        "Row:1:Column:30",
        "value of filter criterion for field 'Phone' must be of type string and should be enclosed in quotes",
    ),
    (
        "SELECT Id FROM Account WHERE Description = ''",
        "                             ^",
        "Row:1:Column:30",
        "field 'Description' can not be filtered in a query call",
    ),
    (
        "SELECT Nothing.Name FROM Contact",
        "       ^",
        "Row:1:Column:8",
        f"Didn't understand relationship 'Nothing' in field path. {CUSTOM_RELATIONSHIP}",
    ),
]


@pytest.mark.parametrize(("query", "code"), REFUSALS)
def test_a_query_that_salesforce_refuses_is_refused_with_its_code(query: str, code: str) -> None:
    """A connector meets the refusals here that it will meet in an org."""
    with pytest.raises(ServiceError) as refusal:
        select(query, ORG)

    assert (refusal.value.status, refusal.value.code) == (400, code)


@pytest.mark.parametrize(("query", "caret", "place", "sentence"), MESSAGES)
def test_a_refusal_shows_the_place_as_salesforce_does(query: str, caret: str, place: str, sentence: str) -> None:
    """The service's own text is what must not reach an agent, so it has to look real."""
    with pytest.raises(ServiceError) as refusal:
        select(query, ORG)

    assert refusal.value.message == f"\n{query}\n{caret}\nERROR at {place}\n{sentence}"


@pytest.mark.parametrize(
    ("query", "word"),
    [
        ("SELECT Id FROM Account WHERE Name = 'a' AND Phone = 'b' OR Fax = 'c'", "OR"),
        ("SELECT Id FROM Account WHERE Name = 'a' AND NOT Phone = 'b'", "NOT"),
        ("SELECT Id FROM Account WHERE Name = 'O'Brien", "Brien"),
        ("SELECT Id FROM Account WHERE", "<EOF>"),
    ],
)
def test_a_syntax_error_names_the_token_it_stumbled_over(query: str, word: str) -> None:
    """Mixing AND and OR, the classic, is an unexpected OR."""
    with pytest.raises(ServiceError) as refusal:
        select(query, ORG)

    assert refusal.value.message.endswith(f"unexpected token: '{word}'")


def test_the_place_in_a_query_of_several_lines_is_counted_by_lines() -> None:
    """Row and column are those of the line, and only the line is shown."""
    message = located("SELECT Id\nFROM Account\nWHERE Nope = 1", 29, "No.")

    assert message == "\nWHERE Nope = 1\n      ^\nERROR at Row:3:Column:7\nNo."


def test_a_long_query_is_shown_around_the_place_only() -> None:
    """Whole words on both sides, and the caret still under the place."""
    query = ", ".join(f"Field{number}__c" for number in range(100))
    position = query.index("Field50__c")

    _, shown, caret, place, _ = located(query, position, "No.").split("\n")

    assert shown[caret.index("^") :].startswith("Field50__c, ")
    assert shown.startswith("Field")
    assert len(shown) < 100
    assert place == f"ERROR at Row:1:Column:{position + 1}"


def test_a_query_that_is_nested_too_deeply_is_too_complicated() -> None:
    """Depth is refused with the code that Salesforce has for it, before it exhausts the service."""
    query = "SELECT Id FROM Account WHERE " + "(" * 5000

    with pytest.raises(ServiceError) as refusal:
        select(query, ORG)

    assert refusal.value.code == "QUERY_TOO_COMPLICATED"


@settings(deadline=None)
@given(text=st.text(alphabet="SELECTIdFROMAccountWHERENameORDERBY'\\()=,<>!%0123-:TZ. \n\"\u00a0é", max_size=60))
def test_any_text_is_answered_or_refused(text: str) -> None:
    """No query crashes the service."""
    query = f"SELECT Id FROM Account WHERE Name = 'x' OR {text}"  # noqa: S608 - hostile on purpose
    status = 200

    try:
        select(query, ORG)
    except ServiceError as refusal:
        status = refusal.status

    assert status in {200, 400}
