import base64
import gc
import hashlib
import html
import itertools
import re
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.audit import Record
from broker.audit.views import Gap, read_stream
from broker.audit.views.report import Month, MonthReport, render
from broker.audit.views.report.tally import Listing, Tally
from tests.support.views import NAMED, call, event, placed

NOVEMBER = Month.parse("2026-11")
IN, BEFORE, AFTER = "2026-11-10T09:00:00.000Z", "2026-10-31T23:59:59.999Z", "2026-12-01T00:00:00.000Z"
ACTOR = {"user": "jane", "uid": 1000, "role": "admin"}


def report(*records: Any, **basis: Any) -> MonthReport:
    """Return November's report of records."""
    return MonthReport(NOVEMBER, {"size": len(records), **basis}, made=AFTER).read(placed(records))


def section(page: str, title: str) -> str:
    """Return the text of one section of a page."""
    after = page.partition(f"<h2>{html.escape(title)}</h2>")[2]
    assert after, f"there is no section {title}"
    return html.unescape(re.sub(r"<[^>]+>", " ", after.partition("<h2>")[0]))


# --- The month


@pytest.mark.parametrize(
    ("text", "until"), [("2026-11", "2026-12-01T00:00:00.000Z"), ("2026-12", "2027-01-01T00:00:00.000Z")]
)
def test_a_month_ends_where_the_next_begins(text: str, until: str) -> None:
    """Every moment is of exactly one month."""
    month = Month.parse(text)

    assert (month.since, month.until) == (f"{text}-01T00:00:00.000Z", until)
    assert month.holds(month.since)
    assert not month.holds(month.until)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026",
        "2026-1",
        "2026-13",
        "2026-00",
        "26-11",
        "2026-11-01",
        "2026/11",
        "0000-01",
        "9999-12",
        "\u0662\u0660\u0662\u0666-11",
    ],
)
def test_what_is_no_month_is_refused(text: str) -> None:
    """It is not guessed what was meant."""
    with pytest.raises(ValueError, match=r"month|year"):
        Month.parse(text)


def test_only_what_was_asked_for_in_the_month_is_counted() -> None:
    """A call counts in the month in which it was requested, whenever it ended."""
    late = call(time="2026-11-30T23:59:59.999Z")
    late[2] = {**late[2], "time": AFTER}

    made = report(*call(time=BEFORE), *call(time=IN), *late, *call(time=AFTER), event("started", BEFORE))

    assert made.calls.total() == 2
    assert made.listing("life").number == 0


# --- What is counted


def test_calls_are_counted_by_agent_and_owner_and_each_has_one_end() -> None:
    """Issue 3, What a user can do 8: calls by agent and owner."""
    made = report(
        *call(),
        *call(),
        *call("refused", effect="deny", code="access_denied"),
        *call("refused", effect=None, code="unknown_tool"),
        *call("failed", code="upstream_failed"),
        *call("withheld", code="leak_blocked"),
        *call("outcome_unknown"),
        *call(None),
        *call(agent="other", owner="joe@example.com"),
    )

    counted = {key: (count.number, count.ways) for key, count in made.calls.shown()}
    number, ways = counted["analyst", "jane@example.com", "finance"]
    assert number == 8 == sum(ways.values()) - ways["permitted"]
    assert ways == {
        "completed": 2,
        "permitted": 6,
        "denied": 1,
        "refused": 1,
        "failed": 1,
        "withheld": 1,
        "unknown": 2,
    }
    assert counted["other", "joe@example.com", "finance"] == (1, {"completed": 1, "permitted": 1})
    assert made.unclear.number == 2


def test_denials_name_the_rule_and_what_was_asked_for() -> None:
    """Issue 3, What a user can do 8: denials, by policy, resource, action and code."""
    made = report(*call("refused", effect="deny", code="access_denied", action="purge"))

    (key, count) = next(made.denials.shown())
    assert key == ("analyst-notes tools[0].actions", "notes.notes", "purge", "access_denied", "analyst")
    assert count.number == 1


def test_credentials_say_how_often_and_when() -> None:
    """Issue 3, What a user can do 8: credentials used; an operator's test is a use, too."""
    tested = event(
        "grant_tested", "2026-11-20T00:00:00.000Z", connector="notes", actor=ACTOR, credential=_used(call()), outcome={}
    )

    made = report(*call(time="2026-11-05T00:00:00.000Z"), *call(), tested)

    ((key, count),) = made.credentials.shown()
    assert key[0] == "notes"
    assert (count.ways, count.first, count.last) == (
        {"calls": 2, "tests": 1},
        "2026-11-05T00:00:00.000Z",
        "2026-11-20T00:00:00.000Z",
    )


def _used(records: list[Record]) -> Any:
    return records[2]["credential"]


def test_documents_that_changed_while_the_broker_was_stopped_are_a_change() -> None:
    """Issue 3, What must be true: nobody sees a file change under a broker that does not run; its next start tells."""
    made = report(
        event("started", BEFORE, documents={"sha256": "a" * 64}),
        event("started", IN, documents={"sha256": "b" * 64}),
        event("documents_loaded", IN, documents={"sha256": "c" * 64}, changed=["policies.yaml"]),
        event("started", IN, documents={"sha256": "c" * 64}),
    )

    rows = [row for row in made.listing("documents").rows() if row]
    assert [row[2] for row in rows] == ["changed while stopped", "documents_loaded"]
    assert "policies.yaml" in rows[1][4]


@pytest.mark.parametrize(
    ("kind", "title"),
    [
        ("agent_suspended", "Agents suspended and resumed"),
        ("agents_resumed", "Agents suspended and resumed"),
        ("approval_granted", "Calls that people were asked to approve"),
        ("budget_raised", "Budgets: alerts, raises and overruns"),
        ("grant_revoked", "Credentials granted and revoked"),
        ("snapshot_approved", "Changes to policies and configuration"),
        ("trail_exported", "Access to the trail: exports"),
        ("trail_pruned", "Retention and personal data"),
        ("hold_added", "Retention and personal data"),
        ("checkpoint_shipped", "Signed heads and keys"),
        ("signing_key_rotated", "Signed heads and keys"),
        ("recording_resumed", "Availability: starts, stops and outages of recording"),
        ("clock_set_back", "Availability: starts, stops and outages of recording"),
        ("never_heard_of", "Other events"),
    ],
)
def test_every_event_has_its_section_and_its_actor(kind: str, title: str) -> None:
    """Issue 3, What must be true: everything an auditor asks about, with its actor; also what is new."""
    page = render(report(event(kind, actor=ACTOR, what="it-was")))

    assert kind in section(page, title)
    assert "jane (admin)" in section(page, title)
    assert "it-was" in section(page, title)


def test_refused_authentication_counts_what_its_records_count() -> None:
    """Repeats are recorded as counts; the report adds them up."""
    origin = {"transport": "sse", "source": "192.0.2.1"}
    said = [{"code": "proof_expired", "count": count} for count in (1, 499)]

    made = report(*(event("authentication_refused", origin=origin, outcome=outcome) for outcome in said))

    assert made.refused.total() == 500
    assert "500" in section(render(made), "Refused authentication")


# --- Completeness


def test_gaps_are_told_apart_from_other_months() -> None:
    """Issue 3, What a user can do 8: gaps and unfinished calls."""
    made = MonthReport(NOVEMBER, {"size": 100})
    made.read([Gap(0, 5, "filtered"), Gap(5, 9, "pruned"), *placed([*call()])[:0]])

    text = section(render(made), "Completeness: gaps and unfinished calls")
    assert "5 records of other months" in text
    assert re.search(r"5\s+8\s+pruned", text)
    assert made.gaps.number == 1
    assert made.whole


def test_records_that_are_missing_without_a_reason_are_an_alarm() -> None:
    """A page that hides that would be worth nothing."""
    lines = [b'{"seq":%d,"kind":"started","time":"2026-11-02T00:00:00.000Z"}' % number for number in (0, 7)]

    made = MonthReport(NOVEMBER, {"size": 8}).read(read_stream(lines))

    assert not made.whole
    assert "Records are missing and nothing says why" in section(
        render(made), "Completeness: gaps and unfinished calls"
    )


def test_a_call_without_its_beginning_is_counted_and_said() -> None:
    """It is nobody's, and is not left out."""
    made = report(call()[2])

    assert (made.partial, next(made.calls.shown())[0][0]) == (1, "not known")
    assert "Of 1 calls the beginning is not there" in render(made)


def test_the_page_names_the_head_that_it_rests_on() -> None:
    """Issue 3, What a user can do 8: the checkpoint it rests on."""
    note = "access.envisionai.dev/log/test\n3\nAAAA\n\n— access.envisionai.dev/log/test BBBB\n"

    page = render(report(*call(), root="ab" * 32, checkpoint=note, keys=["access.envisionai.dev/log/test+1234+CC"]))

    text = section(page, "The head that this report rests on")
    for part in ("ab" * 32, "— access.envisionai.dev/log/test BBBB", "+1234+CC"):
        assert part in text
    assert "not signed" not in text
    assert "not signed" in section(render(report(*call())), "The head that this report rests on")


def test_a_month_that_is_not_over_says_so() -> None:
    """What is filed must not pass for a whole month."""
    made = MonthReport(NOVEMBER, made="2026-11-24T00:00:00.000Z")

    assert "The month was not over" in render(made)
    assert "The month was not over" not in render(report())


# --- The page


def test_the_page_is_one_file_that_loads_and_runs_nothing() -> None:
    """Issue 3, What a user can do 8: one printable HTML page; its policy lets only its own style apply."""
    page = render(report(*call()))

    style = page.partition("<style>")[2].partition("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"default-src &#x27;none&#x27;; style-src &#x27;sha256-{digest}&#x27;" in page
    assert not re.search(r"<script|<link|<img|<iframe|@import|url\(|\bsrc=|\bhref=|\bstyle=|https?://", page)
    assert "@media print" in style
    assert page.startswith("<!DOCTYPE html>")


def test_the_page_says_what_it_does_not_show() -> None:
    """audit.md C9: threats to state plainly."""
    text = section(render(report()), "What this page shows, and what it does not")

    assert "It does not show that what the broker recorded is true" in text
    assert "aam trail verify" in text


def test_a_real_trail_makes_a_page(records: list[dict[str, Any]]) -> None:
    """What a broker writes has its places, and nothing falls under what nobody knows."""
    month = Month.parse(str(records[0]["time"])[:7])

    made = MonthReport(month).read(records)

    assert made.listing("others").number == 0
    assert made.calls.total() == len({record["call_id"] for record in records if "call_id" in record})
    assert "notes.notes" in section(render(made), "Denied and refused access")


@given(st.lists(NAMED, max_size=6))
def test_whatever_somebody_made_of_the_records_there_is_a_page(records: list[Any]) -> None:
    """As for the other views."""
    timed = [{**record, "time": IN} for record in records]

    assert render(MonthReport(NOVEMBER, made=IN).read(timed)).endswith("</html>\n")


# --- Constant memory


@given(st.lists(st.integers(0, 40)), st.integers(1, 10), st.integers(1, 5))
def test_a_tally_keeps_its_sum_whoever_chooses_the_keys(keys: list[int], most: int, shown: int) -> None:
    """Callers may choose what is counted; what is not shown by name is still counted."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("broker.audit.views.report.tally._MOST_KEYS", most)
        patch.setattr("broker.audit.views.report.tally._MOST_SHOWN", shown)
        tally = Tally()
        for key in keys:
            tally.add((str(key),), IN, "odd" if key % 2 else "even")

        listed = list(tally.shown())
        assert len(listed) <= min(most, shown)
        assert sum(count.number for _, count in listed) + tally.rest().number == len(keys) == tally.total()
        odd = sum(count.ways.get("odd", 0) for _, count in listed) + tally.rest().ways.get("odd", 0)
        assert odd == sum(key % 2 for key in keys)
        assert [count.number for _, count in listed] == sorted((c.number for _, c in listed), reverse=True)


@given(st.integers(0, 700))
def test_a_list_keeps_its_ends_and_says_how_many_are_between(number: int) -> None:
    """Nothing is left out silently."""
    listing = Listing()
    for one in range(number):
        listing.add(str(one))

    rows = list(listing.rows())
    kept = [row for row in rows if row is not None]
    assert len(kept) + listing.omitted == number == listing.number
    assert len(kept) <= 300
    assert kept[: len(kept)] == sorted(kept, key=lambda row: int(row[0]))
    assert (None in rows) == bool(listing.omitted)
    assert not number or (kept[0], kept[-1]) == (("0",), (str(number - 1),))


def test_a_flood_of_names_does_not_make_the_page_grow() -> None:
    """A month of calls under ever new names stays a page."""

    def flood(number: int) -> Iterator[Record]:
        return itertools.chain.from_iterable(
            [*call("outcome_unknown", agent=f"agent-{one}"), event(f"kind-{one}")] for one in range(number)
        )

    def made(number: int) -> tuple[int, int]:
        gc.collect()
        tracemalloc.start()
        page = render(MonthReport(NOVEMBER).read(flood(number)))
        taken = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return len(page), taken

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("broker.audit.views.report.tally._MOST_KEYS", 500)
        (short, few), (long, many) = made(1_000), made(4_000)

    assert long < 1.1 * short
    assert many < 2 * few
