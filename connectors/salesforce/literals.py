"""Values as SOQL writes them, each of its field's own type; words for what a field expects."""

import re
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from simple_salesforce.format import quote_soql_value

from broker.connector import errors
from connectors.salesforce.snapshot import SnapshotField

_LARGEST_NUMBER = 10**18  # the service's numbers have 18 digits at most
_ID = re.compile(r"[a-zA-Z0-9]{15}([a-zA-Z0-9]{3})?")
_DATE_LITERAL = re.compile(  # SOQL and SOSL Reference, Date Formats and Date Literals
    r"YESTERDAY|TODAY|TOMORROW|(LAST|NEXT)_90_DAYS|(LAST|THIS|NEXT)_(WEEK|MONTH|QUARTER|YEAR|FISCAL_QUARTER|FISCAL_YEAR)"
    r"|(LAST|NEXT)_N_(DAYS|WEEKS|MONTHS|QUARTERS|YEARS|FISCAL_QUARTERS|FISCAL_YEARS):[0-9]{1,4}"
)

_EXAMPLES = {
    "date": "a date as a text, like 2026-11-23, or TODAY, LAST_N_DAYS:30 and their like",
    "datetime": "a moment with its time zone as a text, like 2026-11-23T21:54:07Z, or TODAY and its like",
    "boolean": "true or false",
    "id": "an id of 15 or 18 characters",
    "reference": "an id of 15 or 18 characters",
    "int": "a whole number",
    "long": "a whole number",
    **dict.fromkeys(("double", "currency", "percent"), "a number"),
}


def date_literal(field: SnapshotField, value: Any) -> str | None:
    """Return a date literal, as TODAY or LAST_N_DAYS:30, if the value is one and the field has a date."""
    if field.type not in {"date", "datetime"} or not isinstance(value, str):
        return None
    return value.upper() if _DATE_LITERAL.fullmatch(value.upper()) else None


def literal(field: SnapshotField, value: Any) -> str:
    """Return a value as SOQL writes it, if it is what the field holds."""
    write = _WRITERS.get(field.type, _write_text)
    try:
        return write(value)
    except (ValueError, OverflowError):
        raise errors.InvalidArguments(f"The value for {field.name} ({field.type}) must be {expected(field)}.") from None


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


def expected(field: SnapshotField) -> str:
    """Say what a field's values are."""
    if field.picklist:
        return f"a text, one of: {', '.join(field.picklist[:20])}{', …' if len(field.picklist) > 20 else ''}"  # noqa: PLR2004 - as many as help
    return _EXAMPLES.get(field.type, "a text")
