"""The windows in which caps are counted: calendar minutes, days, weeks and months of a time zone.

A window begins with the first instant of its first day, whatever the clocks do there: days of 23 and 25 hours, nights
without a midnight, days that were left out. Nothing is ever reset: another window is another row.
"""

import datetime
import functools
import zoneinfo
from dataclasses import dataclass

from broker.policy.spending import Period

_DAY = datetime.timedelta(days=1)
_MINUTE = 60
_latest: dict[tuple[Period, str], "Window"] = {}
"""The window that was last asked for: windows part the time, so whatever moment is in it is in no other."""


@dataclass(frozen=True, slots=True)
class Window:
    """From `start` to just before `end`, in seconds since the epoch."""

    start: int
    end: int

    @property
    def resets_at(self) -> str:
        """When it ends, in UTC."""
        return datetime.datetime.fromtimestamp(self.end, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def window_of(period: Period, zone: str, now: float) -> Window:
    """Return the window that a moment is in."""
    if period == "minute":
        start = int(now) // _MINUTE * _MINUTE
        return Window(start, start + _MINUTE)
    window = _latest.get((period, zone))
    if window is None or not window.start <= now < window.end:
        window = _latest[period, zone] = _now(period, zone, now)
    return window


def _now(period: Period, zone: str, now: float) -> Window:
    return _calendar(period, zone, datetime.datetime.fromtimestamp(now, zoneinfo.ZoneInfo(zone)).date(), now)


def _calendar(period: Period, zone: str, today: datetime.date, now: float) -> Window:
    first = _first_day(period, today)
    window = _between(zone, first, _next(period, first))
    while now >= window.end:  # where clocks are put back over midnight, yesterday's date comes again
        first = _next(period, first)
        window = _between(zone, first, _next(period, first))
    return window


def _first_day(period: Period, day: datetime.date) -> datetime.date:
    if period == "week":
        return day - _DAY * day.weekday()
    return day.replace(day=1) if period == "month" else day


def _next(period: Period, first: datetime.date) -> datetime.date:
    if period == "month":
        return (first + _DAY * 31).replace(day=1)
    return first + (_DAY * 7 if period == "week" else _DAY)


@functools.lru_cache(maxsize=1024)
def _between(zone: str, first: datetime.date, after: datetime.date) -> Window:
    return Window(_first_instant(zone, first), _first_instant(zone, after))


def _first_instant(zone: str, day: datetime.date) -> int:
    """Return the first instant at which the date in a zone is this day or a later one."""
    midnight = datetime.datetime.combine(day, datetime.time())
    there = zoneinfo.ZoneInfo(zone)
    early, late = sorted(int(midnight.replace(tzinfo=there, fold=fold).timestamp()) for fold in (0, 1))
    if datetime.datetime.fromtimestamp(early, there).date() >= day:
        return early
    while late - early > 1:  # there is no midnight: the clocks are put forward over it, at some instant between these
        middle = (early + late) // 2
        reached = datetime.datetime.fromtimestamp(middle, there).date() >= day
        early, late = (early, middle) if reached else (middle, late)
    return late
