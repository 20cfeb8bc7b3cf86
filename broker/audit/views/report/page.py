"""The report as one printable page of HTML."""

from collections.abc import Iterator

from broker.audit.views.report import markup
from broker.audit.views.report.month import MonthReport
from broker.audit.views.values import listed_at, number_at, text_at

_ENDS = ("permitted", "denied", "refused", "completed", "failed", "withheld", "cancelled", "unknown")
_EVENT = ("Time", "Record", "What", "By", "Said")
_LISTS = (
    (
        "Changes to policies and configuration",
        "documents",
        "No document was changed.",
        "A file that changes on disk has no actor here; the history of the documents names one.",
    ),
    ("Agents suspended and resumed", "agents", "No agent was suspended or resumed.", None),
    ("Calls that people were asked to approve", "approvals", "Nobody was asked to approve a call.", None),
    ("Budgets: alerts, raises and overruns", "budgets", "No budget was raised, overrun or nearly spent.", None),
    ("Credentials granted and revoked", "grants", "No grant was added, revoked or ended.", None),
)
_LATER_LISTS = (
    ("Access to the trail: exports", "exports", "The trail was not exported.", None),
    ("Retention and personal data", "pruning", "Nothing was pruned, held, shown or erased.", None),
    ("Signed heads and keys", "checkpoints", "No head was shipped and no key was changed.", None),
    ("Availability: starts, stops and outages of recording", "life", "The broker neither started nor stopped.", None),
    ("Other events", "others", "There are no others.", None),
)
_SHOWS = (
    "It shows what the broker recorded in this month: each call with its agent, its decision and its end, and each "
    "event with the operator who caused it, where one did. A call is counted in the month in which it was requested."
)
_RESTS = (
    "It is a reading of the records, made by the program that printed it, and it is not itself protected: whoever "
    "holds this file could have changed it. The records are the evidence. 'aam trail verify' checks that they are "
    "unchanged, complete and in order up to a head; compare that head with the one named here."
)
_SHOWS_NOT = (
    "It does not show that what the broker recorded is true, that nothing was done around the broker, or what an agent "
    "did with what it read. Whoever controls the broker's host and key could have recorded something else from the "
    "start; a head that was kept elsewhere at the time limits that to what came after it."
)


def render(report: MonthReport) -> str:
    """Return the page: one file of HTML that needs nothing else and runs nothing."""
    return markup.document(f"Access report {report.month.name}", _body(report))


def _body(report: MonthReport) -> Iterator[str]:
    yield f"<h1>Access report {markup.text(report.month.name)}</h1>"
    yield from _scope(report)
    yield from _completeness(report)
    yield from _access(report)
    yield from _listings(report, _LISTS)
    yield from _credentials(report)
    yield from _refused(report)
    yield from _listings(report, _LATER_LISTS)
    yield markup.heading("What this page shows, and what it does not")
    yield from map(markup.sentence, (_SHOWS, _RESTS, _SHOWS_NOT))


def _scope(report: MonthReport) -> Iterator[str]:
    month, basis = report.month, report.basis
    yield markup.facts(
        [
            ("Period", f"{month.since} up to, and not with, {month.until} (UTC)"),
            ("Made", report.made or "not said"),
            ("Log", text_at(basis, "log") or "not said"),
        ]
    )
    if report.made and report.made < month.until:
        yield markup.sentence(f"The month was not over: what came after {report.made} is not in here.", alarm=True)
    yield markup.heading("The head that this report rests on")
    yield markup.facts(
        [
            ("Records", text_at(basis, "size") or "not said"),
            ("Root (RFC 6962, SHA-256)", text_at(basis, "root") or "not said"),
            ("Last record", text_at(basis, "last") or "not said"),
            *(("Key of the log", key) for key in listed_at(basis, "keys")),
        ]
    )
    note = text_at(basis, "checkpoint")
    if note:
        yield markup.sentence("The head as the broker signed it (C2SP checkpoint):")
        yield markup.verbatim(note)
    else:
        yield markup.sentence("The head is not signed. Compare the root with one that is held elsewhere.", alarm=True)


def _completeness(report: MonthReport) -> Iterator[str]:
    yield markup.heading("Completeness: gaps and unfinished calls")
    if number_at(report.basis, "size") is None:
        yield markup.sentence(
            "The export did not say how many records the log has: that all were read is not known.", alarm=True
        )
    if not report.whole:
        yield markup.sentence(
            "Records are missing and nothing says why. Verify the trail before you rely on this page.", alarm=True
        )
    filtered = report.absent.get("filtered", 0)
    if filtered:
        yield markup.sentence(f"{filtered:,} records of other months were left out by the broker.", note=True)
    yield markup.listing(("From record", "To record", "Why"), report.gaps, "No record is missing or pruned.")
    if report.partial:
        yield markup.sentence(
            f"Of {report.partial:,} calls the beginning is not there; they are counted under 'not known'.", alarm=True
        )
    yield markup.sentence("Calls whose end is not known, or was not yet recorded:")
    columns = ("Time", "Record", "Call", "End", "Agent", "Resource", "Action")
    yield markup.listing(columns, report.unclear, "There are none: how each call ended is on record.")


def _access(report: MonthReport) -> Iterator[str]:
    yield markup.heading("Access by agent and owner")
    yield markup.sentence(
        "Permitted is the policies' decision. Each call has one end: it was denied by policy, refused before a policy "
        "could let it through, completed, failed, withheld, cancelled before anything was sent, or its end is unknown.",
        note=True,
    )
    yield markup.tally(("Agent", "Owner", "Team"), report.calls, _ENDS, "No agent made a call.")
    yield markup.heading("Denied and refused access")
    columns = ("Policy and rule", "Resource", "Action", "Code", "Agent")
    yield markup.tally(columns, report.denials, (), "Nothing was denied.")
    yield markup.heading("Documents in force when calls were made")
    yield markup.tally(("SHA-256 of the set",), report.in_force, (), "No agent made a call.")


def _credentials(report: MonthReport) -> Iterator[str]:
    yield markup.heading("Credentials used")
    columns = ("Connector", "Grant", "Kind", "Principal", "Fingerprint")
    yield markup.tally(columns, report.credentials, ("calls", "tests"), "No credential was used.", count=False)


def _refused(report: MonthReport) -> Iterator[str]:
    yield markup.heading("Refused authentication")
    columns = ("Code", "Transport", "Source", "Workload")
    yield markup.tally(columns, report.refused, (), "No authentication was refused.")


def _listings(report: MonthReport, listed: tuple[tuple[str, str, str, str | None], ...]) -> Iterator[str]:
    for title, section, none, remark in listed:
        yield markup.heading(title)
        if remark:
            yield markup.sentence(remark, note=True)
        yield markup.listing(_EVENT, report.listing(section), none)
