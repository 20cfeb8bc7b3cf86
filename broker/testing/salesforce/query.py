"""A statement checked against the schema and answered from an org.

Source: SOQL and SOSL Reference, WHERE, Comparison Operators, ORDER BY, LIMIT and OFFSET. Text is compared without
case. A null is equal to null and to the empty string, unequal to everything else, neither less nor greater than
anything, and false for a boolean field. Picklists are ordered as their values are listed, other text by its folded
characters. Refusals carry the codes and texts that clients quote from real orgs.
"""

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from broker.testing.salesforce.errors import ServiceError
from broker.testing.salesforce.ids import parse_id
from broker.testing.salesforce.literals import read_date, read_datetime, read_pattern, read_text
from broker.testing.salesforce.objects import find_object
from broker.testing.salesforce.org import Org, Record
from broker.testing.salesforce.schema import ID_TYPES, NUMBER_TYPES, TEXT_TYPES, Field, SObject
from broker.testing.salesforce.soql import parse
from broker.testing.salesforce.statement import Comparison, Condition, Every, Not, Ordering, Some, Statement, Token

GREATEST_OFFSET: Final = 2000
_APPEND_C: Final = (
    "If you are attempting to use a custom {what}, be sure to append the '__c' after the {place} name. Please "
    "reference your WSDL or the describe call for the appropriate names."
)
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


@dataclass(frozen=True, slots=True)
class Selection:
    """What a query found. Without fields it was `COUNT()`: `total` is the answer and there are no rows."""

    sobject: SObject
    fields: tuple[Field, ...]
    rows: tuple[Record, ...]
    total: int


def select(text: str, org: Org) -> Selection:
    """Answer a query, or refuse it with MALFORMED_QUERY, INVALID_TYPE, INVALID_FIELD or one of their kin."""
    statement = parse(text)
    sobject = _sobject(statement)
    fields = _selected(statement, sobject)
    matches = _predicate(statement, sobject, statement.condition) if statement.condition else _always
    orderings = [(_sortable(statement, sobject, ordering), ordering) for ordering in statement.order]
    if statement.offset > GREATEST_OFFSET:
        raise ServiceError(400, "NUMBER_OUTSIDE_VALID_RANGE", f"Maximum SOQL offset allowed is {GREATEST_OFFSET}")

    rows = [record for record in org.records(sobject) if matches(record)]
    for field, ordering in reversed(orderings):  # sorting is stable: the last key first
        rows = _sorted(rows, field, ordering)
    end = None if statement.limit is None else statement.offset + statement.limit
    rows = rows[statement.offset : end]
    return Selection(sobject, fields, tuple(rows) if fields else (), len(rows))


def _sobject(statement: Statement) -> SObject:
    sobject = find_object(statement.sobject.text)
    if sobject is None:
        hint = _APPEND_C.format(what="object", place="entity")
        sentence = f"sObject type '{statement.sobject.text}' is not supported. {hint}"
        raise statement.refuse("INVALID_TYPE", statement.sobject, sentence)
    return sobject


def _selected(statement: Statement, sobject: SObject) -> tuple[Field, ...]:
    fields: list[Field] = []
    for token in statement.fields:
        field = _field(statement, sobject, token)
        if field in fields:
            raise statement.refuse("INVALID_FIELD", token, f"duplicate field selected: {token.text}")
        fields.append(field)
    return tuple(fields)


def _field(statement: Statement, sobject: SObject, token: Token) -> Field:
    relationship, dot, _ = token.text.partition(".")
    if dot:
        sentence = (
            f"Didn't understand relationship '{relationship}' in field path. If you are attempting to use a custom "
            "relationship, be sure to append the '__r' after the custom relationship name. Please reference your "
            "WSDL or the describe call for the appropriate names."
        )
        raise statement.refuse("INVALID_FIELD", token, sentence)
    field = sobject.field(token.text)
    if field is None:
        hint = _APPEND_C.format(what="field", place="custom field")
        sentence = f"No such column '{token.text}' on entity '{sobject.name}'. {hint}"
        raise statement.refuse("INVALID_FIELD", token, sentence)
    return field


def _predicate(statement: Statement, sobject: SObject, condition: Condition) -> Predicate:
    match condition:
        case Comparison():
            return _comparison(statement, sobject, condition)
        case Not(inner):
            excluded = _predicate(statement, sobject, inner)
            return lambda record: not excluded(record)
        case Every(parts):
            every = [_predicate(statement, sobject, part) for part in parts]
            return lambda record: all(predicate(record) for predicate in every)
        case Some(parts):
            some = [_predicate(statement, sobject, part) for part in parts]
            return lambda record: any(predicate(record) for predicate in some)


def _comparison(statement: Statement, sobject: SObject, comparison: Comparison) -> Predicate:
    field = _field(statement, sobject, comparison.field)
    if field.long_text:
        sentence = f"field '{field.name}' can not be filtered in a query call"
        raise statement.refuse("INVALID_FIELD", comparison.field, sentence)
    if comparison.operator == "LIKE":
        return _likeness(statement, field, comparison)
    if comparison.operator in _ORDERED and field.type == "boolean":
        raise _invalid_operator(statement, field, comparison)

    values = [_literal(statement, field, comparison, token) for token in comparison.values]
    match comparison.operator:
        case "=" | "IN":
            return lambda record: _comparable(field, record[field.name]) in values
        case "!=" | "NOT IN":
            return lambda record: _comparable(field, record[field.name]) not in values
        case _:
            holds, (value,) = _ORDERED[comparison.operator], values
            return lambda record: (
                None not in (value, record[field.name]) and holds(_comparable(field, record[field.name]), value)
            )


def _likeness(statement: Statement, field: Field, comparison: Comparison) -> Predicate:
    if field.type not in TEXT_TYPES:
        raise _invalid_operator(statement, field, comparison)
    (token,) = comparison.values
    if token.kind != "string":
        raise _wrong_type(statement, field, comparison)
    try:
        pattern = read_pattern(token.text)
    except ValueError as error:
        raise ServiceError(400, "MALFORMED_QUERY", str(error)) from None
    return lambda record: pattern.fullmatch((record[field.name] or "").casefold()) is not None


def _literal(statement: Statement, field: Field, comparison: Comparison, token: Token) -> Any:
    if token.word() == "NULL":
        return _comparable(field, None)
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


def _comparable(field: Field, value: Any) -> Any:
    if field.type == "boolean":
        return bool(value)
    if value is None:
        return None
    if field.type == "date":
        return read_date(value)
    if field.type == "datetime":
        return read_datetime(value)
    return value.casefold() if field.type in TEXT_TYPES else value


def _sortable(statement: Statement, sobject: SObject, ordering: Ordering) -> Field:
    field = _field(statement, sobject, ordering.field)
    if field.long_text:
        sentence = f"field '{field.name}' can not be sorted in a query call"
        raise statement.refuse("MALFORMED_QUERY", ordering.field, sentence)
    return field


def _sorted(rows: list[Record], field: Field, ordering: Ordering) -> list[Record]:
    nulls = [record for record in rows if record[field.name] is None]
    others = [record for record in rows if record[field.name] is not None]
    others.sort(key=lambda record: _rank(field, record[field.name]), reverse=ordering.descending)
    return others + nulls if ordering.nulls_last else nulls + others


def _rank(field: Field, value: Any) -> Any:
    if field.type != "picklist":
        return _comparable(field, value)
    return field.picklist.index(value) if value in field.picklist else len(field.picklist)


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


def _always(_: Record) -> bool:
    return True
