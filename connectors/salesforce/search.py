r"""Structured search: conditions on fields in, SOQL out, every value escaped and of the field's own type.

{"filters": [{"field": "Name", "operator": "contains", "value": "O'Neill"}], "fields": ["Id"], "limit": 10}
SELECT Id FROM Account WHERE Name LIKE '%O\'Neill%' LIMIT 11
"""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from simple_salesforce.format import format_soql

from broker.connector import errors
from connectors.salesforce.literals import date_literal, expected, literal
from connectors.salesforce.snapshot import NUMBER, SnapshotField

MOST_RECORDS = 2000
_LONGEST_QUERY = 14_000  # bytes as it is in the URL, which the service refuses over 16,384

OPERATORS = {
    "equals": "=",
    "not_equals": "!=",
    "less": "<",
    "less_or_equal": "<=",
    "greater": ">",
    "greater_or_equal": ">=",
    "in": "IN",
    "not_in": "NOT IN",
    "contains": "LIKE",
    "starts_with": "LIKE",
    "is_null": "=",
    "is_not_null": "!=",
}
_EQUALITY = frozenset({"equals", "not_equals"})
_ORDER = frozenset({"less", "less_or_equal", "greater", "greater_or_equal"})
_LISTS = frozenset({"in", "not_in"})
_PARTS = frozenset({"contains", "starts_with"})
_NULLS = frozenset({"is_null", "is_not_null"})

# Which operators the service has for a type, from the SOQL and SOSL Reference, Comparison Operators; the others have
# all of them, and a time has none here
_ALLOWED = {
    "id": _EQUALITY | _ORDER | _LISTS,
    "reference": _EQUALITY | _LISTS,
    "boolean": _EQUALITY,
    "multipicklist": _EQUALITY,
    "time": frozenset[str](),
    **dict.fromkeys((*NUMBER, "date", "datetime"), _EQUALITY | _ORDER | _LISTS),
}
_ANY_TEXT = _EQUALITY | _ORDER | _LISTS | _PARTS


def compile_soql(sobject: str, fields: Mapping[str, SnapshotField], arguments: Mapping[str, Any], limit: int) -> str:
    """Return the SOQL of a search; raise `InvalidArguments` for a condition that the service would not take."""
    return sized(f"{select(sobject, fields, arguments)}{ordered(fields, arguments)} LIMIT {limit:d}")


def select(
    sobject: str, fields: Mapping[str, SnapshotField], arguments: Mapping[str, Any], also: Sequence[str] = ()
) -> str:
    """Return the SOQL of a search without order and limit; the conditions in `also` must hold beside its own."""
    names = arguments.get("fields", fields)
    return f"SELECT {', '.join(names)} FROM {sobject}{where(fields, arguments, also)}"  # noqa: S608 - names are the schema's


def where(fields: Mapping[str, SnapshotField], arguments: Mapping[str, Any], also: Sequence[str] = ()) -> str:
    """Return the conditions of a search, with a space before them; nothing where there are none."""
    conditions = [_condition(fields, condition) for condition in arguments.get("filters", ())]
    joint = " OR " if arguments.get("match") == "any" else " AND "
    own = joint.join(conditions)
    if also:
        own = " AND ".join([*([f"({own})"] if own else []), *also])
    return f" WHERE {own}" if own else ""


def ordered(fields: Mapping[str, SnapshotField], arguments: Mapping[str, Any]) -> str:
    """Return the order of a search, with a space before it."""
    order = arguments.get("order_by")
    return " ORDER BY " + ", ".join(_ordering(fields, by) for by in order) if order else ""


def sized(query: str) -> str:
    """Return a query that the service can be asked in a URL."""
    if len(quote(query)) > _LONGEST_QUERY:
        raise errors.InvalidArguments("The search is too long; name fewer fields, or use fewer or shorter conditions.")
    return query


def _ordering(fields: Mapping[str, SnapshotField], by: Mapping[str, Any]) -> str:
    field = _known(fields, by["field"])
    if not field.sortable:
        sortable = [name for name, one in fields.items() if one.sortable]
        raise errors.InvalidArguments(f"{field.name} cannot be ordered by{_instead(field.name, sortable)}.")
    return f"{field.name} {'DESC' if by.get('descending') else 'ASC'} NULLS LAST"


def _known(fields: Mapping[str, SnapshotField], name: str) -> SnapshotField:
    if name not in fields:
        raise errors.AccessDenied(f"The agent's policies do not permit the field {name}.")
    return fields[name]


def _condition(fields: Mapping[str, SnapshotField], condition: Mapping[str, Any]) -> str:
    if condition.keys() in ({"any_of"}, {"none_of"}):
        ((how, several),) = condition.items()
        joined = " OR ".join(_comparison(fields, one) for one in several)
        return f"({joined})" if how == "any_of" else f"(NOT ({joined}))"
    return _comparison(fields, condition)


def _comparison(fields: Mapping[str, SnapshotField], comparison: Mapping[str, Any]) -> str:
    if not {"field", "operator"} <= comparison.keys() <= {"field", "operator", "value"}:
        raise errors.InvalidArguments(
            "A filter is one of {field, operator, value}, {any_of: [...]} and {none_of: [...]}, the lists being of the "
            "first kind."
        )
    field, operator = _known(fields, comparison["field"]), comparison["operator"]
    _check_operator(fields, field, operator)
    if operator in _NULLS:
        if "value" in comparison:
            raise errors.InvalidArguments(
                f"{operator!r} takes no value; leave 'value' out of the filter on {field.name}."
            )
        return f"{field.name} {OPERATORS[operator]} null"
    if "value" not in comparison:
        raise errors.InvalidArguments(f"{operator!r} on {field.name} needs a 'value': {expected(field)}.")
    value = comparison["value"]
    if operator in _LISTS:
        if not isinstance(value, list) or not value:
            raise errors.InvalidArguments(
                f"{operator!r} on {field.name} needs a list of values, each {expected(field)}."
            )
        return f"{field.name} {OPERATORS[operator]} ({','.join(literal(field, one) for one in value)})"
    if operator in _PARTS:
        if not isinstance(value, str) or not value:
            raise errors.InvalidArguments(f"{operator!r} on {field.name} needs a text.")
        pattern = format_soql("{:like}", value)
        return f"{field.name} LIKE '{'%' if operator == 'contains' else ''}{pattern}%'"
    return f"{field.name} {OPERATORS[operator]} {date_literal(field, value) or literal(field, value)}"


def _check_operator(fields: Mapping[str, SnapshotField], field: SnapshotField, operator: str) -> None:
    if not field.filterable or field.type == "time":
        filterable = [name for name, one in fields.items() if one.filterable]
        raise errors.InvalidArguments(f"{field.name} cannot be searched by{_instead(field.name, filterable)}.")
    allowed = _ALLOWED.get(field.type, _ANY_TEXT) | _NULLS
    if operator not in allowed:
        words = ", ".join(name for name in OPERATORS if name in allowed)
        raise errors.InvalidArguments(
            f"{field.name} is of type {field.type}, which has no {operator!r}; it has {words}."
        )


def _instead(name: str, names: list[str]) -> str:
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"; {close[0]} can" if close else ""
