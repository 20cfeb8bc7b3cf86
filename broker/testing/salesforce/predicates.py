"""The conditions of a query, as tests of records.

Source: SOQL and SOSL Reference, WHERE, Comparison Operators. Text is compared without case. A null is equal to null
and to the empty string, unequal to everything else, neither less nor greater than anything, and false for a boolean
field.
"""

import operator
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from types import MappingProxyType
from typing import Any, Final

from broker.testing.salesforce.columns import column
from broker.testing.salesforce.dates import DATE_LITERALS, span
from broker.testing.salesforce.errors import ServiceError
from broker.testing.salesforce.ids import parse_id
from broker.testing.salesforce.literals import read_date, read_datetime, read_pattern, read_text
from broker.testing.salesforce.objects import find_object
from broker.testing.salesforce.org import Org, Record
from broker.testing.salesforce.schema import ID_TYPES, NUMBER_TYPES, TEXT_TYPES, Field, SObject
from broker.testing.salesforce.statement import Comparison, Condition, Every, Not, Some, Statement, Token

_LITERAL_KINDS: Final[Mapping[str, str]] = MappingProxyType(
    dict.fromkeys(TEXT_TYPES | ID_TYPES, "string")
    | dict.fromkeys(NUMBER_TYPES, "number")
    | {"boolean": "name", "date": "date", "datetime": "datetime"},
)
_SPOKEN_TYPES: Final[Mapping[str, str]] = MappingProxyType(
    dict.fromkeys(NUMBER_TYPES, "double") | {"int": "int", "datetime": "dateTime"},
)
_ORDERED: Final[Mapping[str, Callable[[Any, Any], bool]]] = MappingProxyType(
    {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge},
)

Predicate = Callable[[Record], bool]
Test = Callable[[Any], bool]


def predicate(statement: Statement, org: Org, sobject: SObject, condition: Condition | None) -> Predicate:
    """Return what tells whether a record meets a condition; no condition is met by every record."""
    match condition:
        case None:
            return lambda _: True
        case Comparison():
            return _comparison(statement, org, sobject, condition)
        case Not(inner):
            excluded = predicate(statement, org, sobject, inner)
            return lambda record: not excluded(record)
        case Every(parts):
            every = [predicate(statement, org, sobject, part) for part in parts]
            return lambda record: all(part(record) for part in every)
        case Some(parts):
            some = [predicate(statement, org, sobject, part) for part in parts]
            return lambda record: any(part(record) for part in some)


def _comparison(statement: Statement, org: Org, sobject: SObject, comparison: Comparison) -> Predicate:
    named = column(statement, sobject, comparison.field)
    holds = _test(statement, org, named.field, comparison)
    return lambda record: holds(named.value(org, record))


def _test(statement: Statement, org: Org, field: Field, comparison: Comparison) -> Test:
    if field.long_text:
        sentence = f"field '{field.name}' can not be filtered in a query call"
        raise statement.refuse("INVALID_FIELD", comparison.field, sentence)
    if comparison.within is not None:
        return _semi_join(statement, org, field, comparison, comparison.within)
    if comparison.operator == "LIKE":
        return _likeness(statement, field, comparison)
    if comparison.operator in _ORDERED and field.type == "boolean":
        raise _invalid_operator(statement, field, comparison)
    if any(token.kind == "span" or token.word() in DATE_LITERALS for token in comparison.values):
        return _in_span(statement, field, comparison)

    values = [_literal(statement, field, comparison, token) for token in comparison.values]
    match comparison.operator:
        case "=" | "IN":
            return lambda value: comparable(field, value) in values
        case "!=" | "NOT IN":
            return lambda value: comparable(field, value) not in values
        case _:
            holds, (limit,) = _ORDERED[comparison.operator], values
            return lambda value: None not in (limit, value) and holds(comparable(field, value), limit)


def _semi_join(statement: Statement, org: Org, field: Field, comparison: Comparison, within: Statement) -> Test:
    inner = find_object(within.sobject.text)
    if field.type not in ID_TYPES or inner is None or len(within.fields) != 1 or within.order or within.limit:
        sentence = "The inner and outer selects of a semi join query must be of ids, without order and limit"
        raise statement.refuse("MALFORMED_QUERY", comparison.field, sentence)
    (token,) = within.fields
    if not isinstance(token, Token):
        raise statement.refuse("MALFORMED_QUERY", comparison.field, "unexpected token: '('")
    named = column(within, inner, token)
    matches = predicate(within, org, inner, within.condition)
    found = {named.value(org, record) for record in org.records(inner) if matches(record)}
    return lambda value: (value in found) == (comparison.operator == "IN")


def _in_span(statement: Statement, field: Field, comparison: Comparison) -> Test:
    (token, *others) = comparison.values
    if others or field.type not in {"date", "datetime"}:
        raise _wrong_type(statement, field, comparison)
    try:
        start, end = span(token.text, datetime.now(UTC).date())
    except (ValueError, OverflowError) as error:
        raise ServiceError(400, "MALFORMED_QUERY", str(error)) from None
    tests: Mapping[str, Callable[[date], bool]] = {
        "=": lambda day: start <= day < end,
        "!=": lambda day: not start <= day < end,
        "<": lambda day: day < start,
        "<=": lambda day: day < end,
        ">": lambda day: day >= end,
        ">=": lambda day: day >= start,
    }
    holds = tests[comparison.operator]
    return lambda value: value is not None and holds(_day(field, value))


def _day(field: Field, value: str) -> date:
    return read_date(value) if field.type == "date" else read_datetime(value).astimezone(UTC).date()


def _likeness(statement: Statement, field: Field, comparison: Comparison) -> Test:
    if field.type not in TEXT_TYPES:
        raise _invalid_operator(statement, field, comparison)
    (token,) = comparison.values
    if token.kind != "string":
        raise _wrong_type(statement, field, comparison)
    try:
        pattern = read_pattern(token.text)
    except ValueError as error:
        raise ServiceError(400, "MALFORMED_QUERY", str(error)) from None
    return lambda value: pattern.fullmatch((value or "").casefold()) is not None


def _literal(statement: Statement, field: Field, comparison: Comparison, token: Token) -> Any:
    if token.word() == "NULL":
        return comparable(field, None)
    if token.kind != _LITERAL_KINDS[field.type]:
        raise _wrong_type(statement, field, comparison)
    try:
        match token.kind:
            case "string":
                return _identifier_or_text(statement, field, comparison, read_text(token.text))
            case "number":
                return float(token.text)
            case "date":
                return read_date(token.text)
            case "datetime":
                return read_datetime(token.text)
            case _:
                return token.word() == "TRUE"
    except ValueError as error:
        raise ServiceError(400, "MALFORMED_QUERY", str(error)) from None


def _identifier_or_text(statement: Statement, field: Field, comparison: Comparison, text: str) -> str | None:
    if field.type not in ID_TYPES or not text:
        return text.casefold() or None
    identifier = parse_id(text)
    if identifier is None:
        raise statement.refuse("INVALID_QUERY_FILTER_OPERATOR", comparison.field, f"invalid ID field: {text}")
    return identifier


def comparable(field: Field, value: Any) -> Any:
    """Return a stored value in the form in which it is compared."""
    if field.type == "boolean":
        return bool(value)
    if value is None:
        return None
    if field.type == "date":
        return read_date(value)
    if field.type == "datetime":
        return read_datetime(value)
    return value.casefold() if field.type in TEXT_TYPES else value


def _wrong_type(statement: Statement, field: Field, comparison: Comparison) -> ServiceError:
    quotes = "should" if _LITERAL_KINDS[field.type] == "string" else "should not"
    spoken = "string" if quotes == "should" else _SPOKEN_TYPES.get(field.type, field.type)
    sentence = (
        f"value of filter criterion for field '{field.name}' must be of type {spoken} and {quotes} be enclosed in "
        "quotes"
    )
    return statement.refuse("INVALID_FIELD", comparison.field, sentence)


def _invalid_operator(statement: Statement, field: Field, comparison: Comparison) -> ServiceError:
    sentence = f"invalid operator on {field.type} field"
    return statement.refuse("INVALID_QUERY_FILTER_OPERATOR", comparison.field, sentence)
