r"""Structured search: conditions on fields in, SOQL out, every value escaped and of the field's own type.

{"filters": [{"field": "Name", "operator": "contains", "value": "O'Neill"}], "fields": ["Id"], "limit": 10}
SELECT Id FROM Account WHERE Name LIKE '%O\'Neill%' LIMIT 11
"""

import difflib
import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import quote

from simple_salesforce.format import format_soql, quote_soql_value

from broker.connector import errors
from connectors.salesforce.snapshot import NUMBER, SnapshotField

MOST_RECORDS = 2000
_LONGEST_QUERY = 14_000  # bytes as it is in the URL, which the service refuses over 16,384
_LARGEST_NUMBER = 10**18  # the service's numbers have 18 digits at most
_ID = re.compile(r"[a-zA-Z0-9]{15}([a-zA-Z0-9]{3})?")

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

_EXAMPLES = {
    "date": "a date as a text, like 2026-11-23",
    "datetime": "a moment with its time zone as a text, like 2026-11-23T21:54:07Z",
    "boolean": "true or false",
    "id": "an id of 15 or 18 characters",
    "reference": "an id of 15 or 18 characters",
    "int": "a whole number",
    "long": "a whole number",
    **dict.fromkeys(("double", "currency", "percent"), "a number"),
}


def compile_soql(sobject: str, fields: Mapping[str, SnapshotField], arguments: Mapping[str, Any], limit: int) -> str:
    """Return the SOQL of a search; raise `InvalidArguments` for a condition that the service would not take."""
    query = f"SELECT {', '.join(arguments.get('fields', fields))} FROM {sobject}"  # noqa: S608 - names are the schema's
    if conditions := [_condition(fields, condition) for condition in arguments.get("filters", ())]:
        joint = " OR " if arguments.get("match") == "any" else " AND "
        query += f" WHERE {joint.join(conditions)}"
    if order := arguments.get("order_by"):
        query += " ORDER BY " + ", ".join(_ordering(fields, by) for by in order)
    query += f" LIMIT {limit:d}"
    if len(quote(query)) > _LONGEST_QUERY:
        raise errors.InvalidArguments("The search is too long; name fewer fields, or use fewer or shorter conditions.")
    return query


def _ordering(fields: Mapping[str, SnapshotField], by: Mapping[str, Any]) -> str:
    field = fields[by["field"]]
    if not field.sortable:
        sortable = [name for name, one in fields.items() if one.sortable]
        raise errors.InvalidArguments(f"{field.name} cannot be ordered by{_instead(field.name, sortable)}.")
    return f"{field.name} {'DESC' if by.get('descending') else 'ASC'} NULLS LAST"


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
    field, operator = fields[comparison["field"]], comparison["operator"]
    _check_operator(fields, field, operator)
    if operator in _NULLS:
        if "value" in comparison:
            raise errors.InvalidArguments(
                f"{operator!r} takes no value; leave 'value' out of the filter on {field.name}."
            )
        return f"{field.name} {OPERATORS[operator]} null"
    if "value" not in comparison:
        raise errors.InvalidArguments(f"{operator!r} on {field.name} needs a 'value': {_expected(field)}.")
    value = comparison["value"]
    if operator in _LISTS:
        if not isinstance(value, list) or not value:
            raise errors.InvalidArguments(
                f"{operator!r} on {field.name} needs a list of values, each {_expected(field)}."
            )
        return f"{field.name} {OPERATORS[operator]} ({','.join(_literal(field, one) for one in value)})"
    if operator in _PARTS:
        if not isinstance(value, str) or not value:
            raise errors.InvalidArguments(f"{operator!r} on {field.name} needs a text.")
        pattern = format_soql("{:like}", value)
        return f"{field.name} LIKE '{'%' if operator == 'contains' else ''}{pattern}%'"
    return f"{field.name} {OPERATORS[operator]} {_literal(field, value)}"


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


def _literal(field: SnapshotField, value: Any) -> str:
    """Return a value as SOQL writes it, if it is what the field holds."""
    write = _WRITERS.get(field.type, _write_text)
    try:
        return write(value)
    except (ValueError, OverflowError):
        raise errors.InvalidArguments(
            f"The value for {field.name} ({field.type}) must be {_expected(field)}."
        ) from None


def _write_text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError
    return quote_soql_value(value)


def _write_id(value: Any) -> str:
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise ValueError
    return quote_soql_value(value)


def _write_boolean(value: Any) -> str:
    if not isinstance(value, bool):
        raise ValueError
    return "true" if value else "false"


def _write_number(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < _LARGEST_NUMBER:
        raise ValueError
    return format(Decimal(repr(value)), "f")  # SOQL's numbers have no exponent


def _write_whole_number(value: Any) -> str:
    if isinstance(value, float) and not value.is_integer():
        raise ValueError
    return _write_number(int(value) if isinstance(value, float) else value)


def _write_date(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError
    return date.fromisoformat(value).isoformat()


def _write_datetime(value: Any) -> str:
    moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    if moment is None or moment.tzinfo is None:
        raise ValueError
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


_WRITERS: dict[str, Callable[[Any], str]] = {
    "boolean": _write_boolean,
    "date": _write_date,
    "datetime": _write_datetime,
    "id": _write_id,
    "reference": _write_id,
    "int": _write_whole_number,
    "long": _write_whole_number,
    **dict.fromkeys(("double", "currency", "percent"), _write_number),
}


def _expected(field: SnapshotField) -> str:
    if field.picklist:
        return f"a text, one of: {', '.join(field.picklist[:20])}{', …' if len(field.picklist) > 20 else ''}"  # noqa: PLR2004 - as many as help
    return _EXAMPLES.get(field.type, "a text")


def _instead(name: str, names: list[str]) -> str:
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"; {close[0]} can" if close else ""
