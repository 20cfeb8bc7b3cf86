"""Date literals: words of SOQL that stand for a span of days, as of now.

Source: SOQL and SOSL Reference, Date Formats and Date Literals. Days are UTC's here, where the service takes the time
zone of the user; weeks begin on Sunday, as in the locale en_US. Fiscal periods are not offered.
"""

from datetime import date, timedelta
from typing import Final

_MONTHS: Final = 12
_QUARTER: Final = 3

DATE_LITERALS: Final = frozenset(
    {"YESTERDAY", "TODAY", "TOMORROW", "LAST_90_DAYS", "NEXT_90_DAYS"}
    | {f"{which}_{unit}" for which in ("LAST", "THIS", "NEXT") for unit in ("WEEK", "MONTH", "QUARTER", "YEAR")}
)
_UNITS: Final = frozenset({"DAYS", "WEEKS", "MONTHS", "QUARTERS", "YEARS"})


def span(literal: str, today: date) -> tuple[date, date]:
    """Return the first day of a literal's span, and the day after its last; raise `ValueError` for no literal."""
    word, _, count = literal.upper().partition(":")
    if not count:
        return _fixed(word, today)
    which, _, unit = word.partition("_N_")
    if which not in {"LAST", "NEXT"} or unit not in _UNITS:
        raise ValueError(f"Invalid date literal: {literal}")
    number = int(count)
    unit = unit.removesuffix("S")
    start = _start(unit, today)
    if unit == "DAY":  # LAST_N_DAYS:n goes on to the end of today, the other units end before the current one
        first, last = (-number, 1) if which == "LAST" else (1, number + 1)
    else:
        first, last = (-number, 0) if which == "LAST" else (1, number + 1)
    return _shift(unit, start, first), _shift(unit, start, last)


def _fixed(word: str, today: date) -> tuple[date, date]:
    days = {"YESTERDAY": -1, "TODAY": 0, "TOMORROW": 1}
    if word in days:
        start = today + timedelta(days[word])
        return start, start + timedelta(1)
    if word in {"LAST_90_DAYS", "NEXT_90_DAYS"}:
        return span(f"{word[:4]}_N_DAYS:90", today)
    which, _, unit = word.partition("_")
    start = _shift(unit, _start(unit, today), {"LAST": -1, "THIS": 0, "NEXT": 1}[which])
    return start, _shift(unit, start, 1)


def _start(unit: str, today: date) -> date:
    match unit:
        case "WEEK":
            return today - timedelta((today.weekday() + 1) % 7)
        case "MONTH":
            return today.replace(day=1)
        case "QUARTER":
            return date(today.year, (today.month - 1) // _QUARTER * _QUARTER + 1, 1)
        case "YEAR":
            return date(today.year, 1, 1)
    return today


def _shift(unit: str, start: date, by: int) -> date:
    match unit:
        case "DAY":
            return start + timedelta(by)
        case "WEEK":
            return start + timedelta(7 * by)
        case _:
            months = start.month - 1 + by * {"MONTH": 1, "QUARTER": _QUARTER, "YEAR": _MONTHS}[unit]
            return date(start.year + months // _MONTHS, months % _MONTHS + 1, 1)
