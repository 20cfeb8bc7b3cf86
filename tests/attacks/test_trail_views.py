"""Agents choose what their clients are called; whoever opens what is made of the trail must not run it."""

import csv
import html.parser
import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.audit.views import join
from broker.audit.views.ocsf import lines
from broker.audit.views.report import Month, MonthReport, render
from broker.audit.views.table import COLUMNS, harmless, rows
from tests.support.views import CREDENTIAL, call, event, placed

FORMULAS = (
    "=cmd|' /C calc'!A0",
    "+1+1",
    "-2+3",
    "@SUM(1)",
    "\t=1+1",
    "\r=1+1",
    "\n=1+1",
    " =1+1",
    "\u00a0=1+1",
    "\x00=1+1",
    "＝1+1",  # noqa: RUF001 - full width is the attack
    '","=1+1',
    ";=1+1",
    ';"=1+1',
    "a; =1+1",
    '";=1+1',
    'x"\r\n"=1+1',
)
MARKUP = (
    "<script>alert(1)</script>",
    "</td></table><script src=https://evil.example/x.js></script>",
    '"><img src=x onerror=alert(1)>',
    "'><svg/onload=alert(1)>",
    "</title><meta http-equiv=refresh content='0;url=https://evil.example'>",
    "</style><style>body{display:none}</style>",
    "</pre><iframe src=https://evil.example>",
    "<!--",
    "]]>",
    "&lt;script&gt;",
    "javascript:alert(1)",
    "\u202eesrever",
    "\x1b]0;owned\x07",
)
NOVEMBER = Month.parse("2026-11")


def cells(records: list[Any]) -> list[str]:
    """Return every cell below the header, as a spreadsheet reads them, in any locale."""
    text = b"".join(rows(join(records))).decode()
    found = []
    for separator in (",", ";", "\t"):
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
        next(reader)
        found += [cell for row in reader for cell in row]
    return found


def runs(cell: str) -> bool:
    """Tell whether a spreadsheet may take a cell for a formula."""
    return cell.lstrip().startswith(("=", "+", "-", "@", "＝", "＋", "－", "＠")) or cell[:1] in {"\t", "\r", "\n"}  # noqa: RUF001


@pytest.mark.parametrize("name", FORMULAS)
def test_no_name_becomes_a_formula_in_a_spreadsheet(name: str) -> None:
    """OWASP, CSV Injection: nor does a name get out of its cell, whatever separates cells where it is opened."""
    records = placed([*call(client=name, client_version=name, agent=name), event("grant_added", actor={"user": name})])

    found = cells(records)

    assert [cell for cell in found if runs(cell)] == []
    text = b"".join(rows(join(records))).decode()
    assert {len(row) for row in csv.reader(io.StringIO(text, newline=""), strict=True)} == {len(COLUMNS)}
    assert text.count("\r\n") == 3 == text.count("\n") == text.count("\r")


@given(st.text())
def test_no_text_at_all_becomes_a_formula_or_does_anything_to_a_terminal(text: str) -> None:
    """The law behind the examples; what is harmless stays as it is."""
    cell = harmless(text)

    assert not runs(cell)
    assert cell.isprintable()
    if text.isprintable() and not runs(text) and ";" not in text:
        assert cell == text


class Page(html.parser.HTMLParser):
    """What a browser makes of a page: its elements, attributes, and the text that is seen."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: dict[str, int] = {}
        self.attributes: set[tuple[str, str]] = set()
        self.seen = ""
        self.comments = 0
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Count an element and note its attributes."""
        self.elements[tag] = self.elements.get(tag, 0) + 1
        self.attributes |= {(tag, name) for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        """Note text."""
        self.seen += data

    def handle_comment(self, _data: str) -> None:
        """Count a comment."""
        self.comments += 1


def page(name: str) -> Page:
    """Return the report of a month in which everybody and everything is called so."""
    grant = {"id": name, "connector": name, "principal": name, "kind": name}
    stories = [
        *call(client=name, agent=name, owner=name, workload=name, action=name, source=name),
        *call("refused", effect="deny", agent=name, action=name, code=name),
        *call("outcome_unknown", agent=name, action=name),
        event("authentication_refused", origin={"source": name, "transport": name}, outcome={"code": name, "count": 1}),
        event(
            "grant_tested", actor={"user": name, "role": name}, grant=grant, credential={**CREDENTIAL, "grant": name}
        ),
        event(
            "documents_loaded",
            documents={"sha256": name},
            changed=[name],
            more={name if name.isascii() and name.isprintable() else "x": name},
        ),
        event(name, what=name),
    ]
    basis = {"log": name, "size": 1, "root": name, "last": name, "checkpoint": f"{name}\n\n— {name}\n", "keys": [name]}
    return Page(render(MonthReport(NOVEMBER, basis, made=NOVEMBER.until).read(placed(stories))))


@pytest.mark.parametrize("name", MARKUP)
def test_no_name_becomes_markup_in_the_report(name: str) -> None:
    """Whatever agents, clients and services are called, the page has the elements that it has."""
    hostile, tame = page(name), page("harmless")

    assert (hostile.elements, hostile.attributes, hostile.comments) == (tame.elements, tame.attributes, 0)
    assert not {"script", "img", "iframe", "svg", "link", "object", "form", "a"} & hostile.elements.keys()
    assert not any(
        attribute.startswith("on") or attribute in {"src", "href", "style"} for _, attribute in hostile.attributes
    )
    assert all(one.isprintable() or one == "\n" for one in hostile.seen)
    assert json.dumps(name)[1:-1].replace('\\"', '"')[-8:] in hostile.seen


@pytest.mark.parametrize("name", [*FORMULAS, *MARKUP])
def test_no_name_gets_out_of_its_line_of_events(name: str) -> None:
    """JSON Lines in ASCII: one event a line, and nothing that does anything to a terminal."""
    made = b"".join(lines(join(placed([*call(client=name, agent=name), event("started", version=name)]))))

    assert made.count(b"\n") == 2
    assert made.isascii()
    assert all(32 <= byte < 127 or byte == 10 for byte in made)
    assert [json.loads(line)["class_uid"] for line in made.splitlines()] == [6003, 6002]
