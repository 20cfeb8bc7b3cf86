"""HTML that cannot be broken out of: every text is escaped, nothing is fetched, nothing runs."""

import base64
import hashlib
import html
from collections.abc import Iterable, Sequence

from broker.audit.views.report.tally import Count, Key, Listing, Tally
from broker.audit.views.values import visible

_STYLE = """
:root { color-scheme: light; }
body { font: 14px/1.45 system-ui, sans-serif; color: #1a1a1a; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.7rem; margin: 0; } h2 { font-size: 1.15rem; margin: 2rem 0 .4rem; border-bottom: 2px solid #1a1a1a; }
p { margin: .4rem 0; } .note { color: #555; } .alarm { border-left: 4px solid #b00020; padding: .3rem .7rem; }
table { border-collapse: collapse; width: 100%; margin: .5rem 0; }
th, td { text-align: left; vertical-align: top; padding: .25rem .5rem; border-bottom: 1px solid #ccc;
  overflow-wrap: anywhere; }
th { font-size: .8rem; background: #f2f2f2; } td.number, th.number { text-align: right; white-space: nowrap; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem; margin: .5rem 0; } dt { font-weight: 600; }
dd { margin: 0; overflow-wrap: anywhere; }
pre { background: #f6f6f6; padding: .6rem; white-space: pre-wrap; overflow-wrap: anywhere; }
code, pre, .mono { font-family: ui-monospace, monospace; font-size: .85em; }
@page { size: A4; margin: 16mm 14mm; }
@media print { body { font-size: 10px; max-width: none; margin: 0; padding: 0; } h2 { break-after: avoid; }
  tr, pre, dl { break-inside: avoid; } thead { display: table-header-group; } th { background: none; } }
"""
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
# Whatever got past the escaping could still neither run, nor load, nor send, nor look like ours
_POLICY = f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; form-action 'none'"


def text(value: object) -> str:
    """Return a text that came from elsewhere as it may stand in the page, in content and in attributes."""
    return html.escape(visible(value), quote=True)


def document(title: str, body: Iterable[str]) -> str:
    """Return the whole page."""
    return "\n".join(
        (
            "<!DOCTYPE html>",
            '<html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{text(_POLICY)}">',
            '<meta name="viewport" content="width=device-width"><meta name="referrer" content="no-referrer">',
            f"<title>{text(title)}</title><style>{_STYLE}</style></head><body>",
            *body,
            "</body></html>\n",
        )
    )


def heading(words: str) -> str:
    """Return the heading of a section."""
    return f"<h2>{text(words)}</h2>"


def sentence(words: str, *, alarm: bool = False, note: bool = False) -> str:
    """Return a sentence."""
    kind = ' class="alarm"' if alarm else ' class="note"' if note else ""
    return f"<p{kind}>{text(words)}</p>"


def facts(pairs: Iterable[tuple[str, object]]) -> str:
    """Return names and what stands for them."""
    return "<dl>" + "".join(f"<dt>{text(name)}</dt><dd>{text(value)}</dd>" for name, value in pairs) + "</dl>"


def verbatim(words: str) -> str:
    """Return text whose lines matter; every other character is seen as what it is."""
    return "<pre>" + "\n".join(text(line) for line in words.split("\n")) + "</pre>"


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], none: str) -> str:
    """Return a table, or the sentence that says that there is nothing; whole numbers stand to the right."""
    filled = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    if not filled:
        return sentence(none, note=True)
    head = "".join(f"<th>{text(column)}</th>" for column in columns)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{filled}</tbody></table>"


def listing(columns: Sequence[str], listed: Listing, none: str) -> str:
    """Return the rows of a list, and say where some are left out."""
    left_out = (f"{listed.omitted} more", *[""] * (len(columns) - 1))
    return table(columns, (left_out if row is None else row for row in listed.rows()), none)


def tally(columns: Sequence[str], counted: Tally, ways: Sequence[str], none: str, *, count: bool = True) -> str:
    """Return what was counted, most often first; everything beyond the first few hundred in one row."""

    def cells(key: Key, one: Count) -> tuple[object, ...]:
        numbers = (one.number,) if count else ()
        return *key, *numbers, *(one.ways.get(way, 0) for way in ways), one.first, one.last

    rows = [cells(key, one) for key, one in counted.shown()]
    if (rest := counted.rest()).number:
        others = ("all others", *[""] * (len(rows[0]) - len(cells((), rest)) - 1))
        rows.append(cells(others, rest))
    return table((*columns, *(("Number",) if count else ()), *map(str.capitalize, ways), "First", "Last"), rows, none)


def _cell(value: object) -> str:
    return f'<td class="number">{value:,}</td>' if type(value) is int else f"<td>{text(value)}</td>"
