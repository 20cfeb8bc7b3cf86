"""A statement checked against the schema and answered from an org.

Source: SOQL and SOSL Reference, SELECT, ORDER BY, LIMIT and OFFSET, Relationship Queries. Picklists are ordered as
their values are listed, other text by its folded characters. Refusals carry the codes and texts that clients quote
from real orgs.
"""

from dataclasses import dataclass
from typing import Any, Final

from broker.testing.salesforce.columns import APPEND_C, Column, column
from broker.testing.salesforce.errors import ServiceError
from broker.testing.salesforce.objects import children_of, find_object
from broker.testing.salesforce.org import Org, Record
from broker.testing.salesforce.predicates import comparable, predicate
from broker.testing.salesforce.schema import Child, Field, SObject
from broker.testing.salesforce.soql import parse
from broker.testing.salesforce.statement import Ordering, Statement

GREATEST_OFFSET: Final = 2000


@dataclass(frozen=True, slots=True)
class Related:
    """A subquery: under which name, by which field the records refer to the outer one, and what is asked of them."""

    child: Child
    statement: Statement
    sobject: SObject


@dataclass(frozen=True, slots=True)
class Selection:
    """What a query found. Without fields it was `COUNT()`: `total` is the answer and there are no rows."""

    org: Org
    sobject: SObject
    columns: tuple[Column, ...]
    related: tuple[Related, ...]
    rows: tuple[Record, ...]
    total: int


def select(text: str, org: Org) -> Selection:
    """Answer a query, or refuse it with MALFORMED_QUERY, INVALID_TYPE, INVALID_FIELD or one of their kin."""
    statement = parse(text)
    sobject = find_object(statement.sobject.text)
    if sobject is None:
        hint = APPEND_C.format(what="object", suffix="__c", place="entity")
        sentence = f"sObject type '{statement.sobject.text}' is not supported. {hint}"
        raise statement.refuse("INVALID_TYPE", statement.sobject, sentence)
    return find(statement, org, sobject)


def find(statement: Statement, org: Org, sobject: SObject, *, among: list[Record] | None = None) -> Selection:
    """Answer a statement about one object; `among` narrows it to some of its records."""
    columns, related = _selected(statement, sobject)
    matches = predicate(statement, org, sobject, statement.condition)
    orderings = [(_sortable(statement, sobject, ordering), ordering) for ordering in statement.order]
    if statement.offset > GREATEST_OFFSET:
        raise ServiceError(400, "NUMBER_OUTSIDE_VALID_RANGE", f"Maximum SOQL offset allowed is {GREATEST_OFFSET}")

    rows = [record for record in (org.records(sobject) if among is None else among) if matches(record)]
    for key, ordering in reversed(orderings):  # sorting is stable: the last key first
        rows = _sorted(org, rows, key, ordering)
    end = None if statement.limit is None else statement.offset + statement.limit
    rows = rows[statement.offset : end]
    return Selection(org, sobject, columns, related, tuple(rows) if statement.fields else (), len(rows))


def children(selection: Selection, one: Related, record: Record) -> Selection:
    """Answer a subquery for one record."""
    refer = [other for other in selection.org.records(one.sobject) if other[one.child.field] == record["Id"]]
    return find(one.statement, selection.org, one.sobject, among=refer)


def _selected(statement: Statement, sobject: SObject) -> tuple[tuple[Column, ...], tuple[Related, ...]]:
    columns: list[Column] = []
    related: list[Related] = []
    for token in statement.fields:
        if isinstance(token, Statement):
            related.append(_related(sobject, token))
            continue
        named = column(statement, sobject, token)
        if named in columns:
            raise statement.refuse("INVALID_FIELD", token, f"duplicate field selected: {token.text}")
        columns.append(named)
    return tuple(columns), tuple(related)


def _related(sobject: SObject, inner: Statement) -> Related:
    wanted = inner.sobject.text.casefold()
    child = next((one for one in children_of(sobject) if one.relationship.casefold() == wanted), None)
    target = None if child is None else find_object(child.sobject)
    if child is None or target is None:
        hint = APPEND_C.format(what="relationship", suffix="__r", place="custom relationship")
        sentence = f"Didn't understand relationship '{inner.sobject.text}' in FROM part of query call. {hint}"
        raise inner.refuse("INVALID_TYPE", inner.sobject, sentence)
    _selected(inner, target)  # refused here, whether or not there are rows
    return Related(child, inner, target)


def _sortable(statement: Statement, sobject: SObject, ordering: Ordering) -> Column:
    named = column(statement, sobject, ordering.field)
    if named.field.long_text:
        sentence = f"field '{named.field.name}' can not be sorted in a query call"
        raise statement.refuse("MALFORMED_QUERY", ordering.field, sentence)
    return named


def _sorted(org: Org, rows: list[Record], key: Column, ordering: Ordering) -> list[Record]:
    nulls = [record for record in rows if key.value(org, record) is None]
    others = [record for record in rows if key.value(org, record) is not None]
    others.sort(key=lambda record: _rank(key.field, key.value(org, record)), reverse=ordering.descending)
    return others + nulls if ordering.nulls_last else nulls + others


def _rank(field: Field, value: Any) -> Any:
    if field.type != "picklist":
        return comparable(field, value)
    return field.picklist.index(value) if value in field.picklist else len(field.picklist)
