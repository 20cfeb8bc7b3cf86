import datetime
import zoneinfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.budget.windows import window_of
from broker.policy.spending import Period

ZONES = ("Europe/Berlin", "America/Santiago", "Australia/Lord_Howe", "America/Havana", "Asia/Beirut", "Asia/Kathmandu")
HOUR = 3600


def at(text: str, zone: str = "UTC") -> float:
    """Return a moment as it is written in a zone."""
    return datetime.datetime.fromisoformat(text).replace(tzinfo=zoneinfo.ZoneInfo(zone)).timestamp()


def local(seconds: float, zone: str) -> str:
    """Return a moment as clocks show it."""
    return datetime.datetime.fromtimestamp(seconds, zoneinfo.ZoneInfo(zone)).isoformat()


@pytest.mark.parametrize(
    ("zone", "day", "start", "hours"),
    [
        ("Europe/Berlin", "2026-03-29", "2026-03-29T00:00:00+01:00", 23),
        ("Europe/Berlin", "2026-10-25", "2026-10-25T00:00:00+02:00", 25),
        # There is no midnight on this day: the clocks go from 24:00 to 1:00
        ("America/Santiago", "2026-09-06", "2026-09-06T01:00:00-03:00", 23),
        # The hour before midnight comes twice, so it is the day before that is long
        ("America/Santiago", "2026-04-04", "2026-04-04T00:00:00-03:00", 25),
        ("America/Santiago", "2026-04-05", "2026-04-05T00:00:00-04:00", 24),
        ("Australia/Lord_Howe", "2026-10-04", "2026-10-04T00:00:00+10:30", 23.5),
        ("Australia/Lord_Howe", "2026-04-05", "2026-04-05T00:00:00+11:00", 24.5),
        # Midnight comes twice: the day begins with the first
        ("America/Havana", "2026-11-01", "2026-11-01T00:00:00-04:00", 25),
    ],
)
def test_a_day_begins_with_its_first_instant_and_is_as_long_as_it_is(
    zone: str, day: str, start: str, hours: float
) -> None:
    """model-gateway.md §5.4: 23- and 25-hour days; zones that skip midnight take the first valid instant."""
    window = window_of("day", zone, at(f"{day}T12:00", zone))

    assert local(window.start, zone) == start
    assert window.end - window.start == hours * HOUR
    assert window_of("day", zone, window.start) == window
    assert window_of("day", zone, window.end - 1) == window
    assert window_of("day", zone, window.end).start == window.end


def test_weeks_begin_on_monday_and_months_on_the_first() -> None:
    """model-gateway.md §5.4: local midnight, Monday, the 1st."""
    now = at("2026-11-28T12:00", "Europe/Berlin")

    week, month = window_of("week", "Europe/Berlin", now), window_of("month", "Europe/Berlin", now)

    assert local(week.start, "Europe/Berlin") == "2026-11-23T00:00:00+01:00"
    assert (local(month.start, "UTC"), month.resets_at) == ("2026-10-31T23:00:00+00:00", "2026-11-30T23:00:00Z")


def test_a_day_that_was_left_out_belongs_to_no_window() -> None:
    """Samoa had no 30 December 2011: the day after the 29th is the 31st."""
    window = window_of("day", "Pacific/Apia", at("2011-12-29T12:00", "Pacific/Apia"))

    assert local(window.end, "Pacific/Apia") == "2011-12-31T00:00:00+14:00"
    assert window_of("day", "Pacific/Apia", window.end).start == window.end


def test_a_date_that_comes_again_begins_no_window_again() -> None:
    """St. John's once put its clocks back at 0:01, into the day before: what had begun goes on."""
    zone = "America/St_Johns"
    midnight = at("2006-10-29T00:00", zone)

    for minute in (0, 2, 30, 61, 90):
        assert window_of("day", zone, midnight + minute * 60).start == midnight


@given(
    zone=st.sampled_from(ZONES),
    period=st.sampled_from(["minute", "day", "week", "month"]),
    now=st.integers(int(at("2000-01-01T00:00")), int(at("2037-12-31T00:00"))),
)
def test_windows_follow_each_other_without_gap_or_overlap(zone: str, period: Period, now: int) -> None:
    """Every moment is in one window, and the one before ends where it begins."""
    window = window_of(period, zone, now)

    assert window.start <= now < window.end
    assert window_of(period, zone, window.end - 1) == window
    assert window_of(period, zone, window.end).start == window.end
    assert window_of(period, zone, window.start - 1).end == window.start
