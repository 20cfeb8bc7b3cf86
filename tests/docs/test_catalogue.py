"""The public SPIFFE catalogue: each of its ids is held by a test, or said not to apply, in docs/modules/identity.md."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/modules/identity.md"
# arndt-s/spiffe-conformance-test-suite, docs/TEST_CATALOGUE.md of 2026: how many ids each group has
CATALOGUE = {"EP": 8, "WA": 4, "XS": 5, "XV": 15, "XF": 3, "JV": 25, "JB": 8, "JF": 4, "ID": 2, "HX": 9}
IDS = [f"{group}-{number}" for group, count in CATALOGUE.items() for number in range(1, count + 1)]


@cache
def rows() -> dict[str, str]:
    """Return what the page says of each id."""
    return dict(re.findall(r"^\| ([A-Z]{2}-\d+) \| (.+) \|$", PAGE.read_text(), re.MULTILINE))


@cache
def functions(path: Path) -> set[str]:
    """Return the names of a file's tests."""
    found = ast.walk(ast.parse(path.read_text()))
    return {node.name for node in found if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def ids_of(name: str) -> Iterator[str]:
    """Yield the ids that a test's name begins with: `test_xv_8_to_10_and_12_…`, `test_jb_3_and_xf_3_…`."""
    group, number, through = "", 0, False
    for word in name.removeprefix("test_").split("_"):
        if word.upper() in CATALOGUE:
            group = word.upper()
        elif group and word.isdigit():
            yield from (f"{group}-{one}" for one in range(number + 1 if through else int(word), int(word) + 1))
            number, through = int(word), False
        elif word == "to":
            through = True
        elif word != "and":
            return


def test_every_id_of_the_catalogue_has_one_row() -> None:
    """Issue 4, SPIFFE: the public catalogue's cases run under their ids."""
    listed = re.findall(r"^\| ([A-Z]{2}-\d+) \|", PAGE.read_text(), re.MULTILINE)

    assert listed == IDS


@pytest.mark.parametrize("name", IDS)
def test_an_id_is_held_by_tests_of_its_name_or_does_not_apply(name: str) -> None:
    """Issue 4, SPIFFE: a test that is renamed or taken away leaves a gap that shows here."""
    said = rows()[name]
    tests = re.findall(r"`([\w/]+\.py)` `(test_\w+)`", said)

    assert tests or re.match(r"Does not apply: \w{2}", said)
    for file, function in tests:
        assert function in functions(ROOT / "tests" / file)
        assert name in set(ids_of(function))


def test_every_test_that_names_an_id_is_in_the_table() -> None:
    """The table is whole: whoever looks an id up finds all that is tested of it."""
    said = rows()
    missing = [
        f"{name}: {path.name} {function}"
        for path in sorted((ROOT / "tests").rglob("test_*.py"))
        for function in functions(path)
        if function.startswith("test_")
        for name in ids_of(function)
        if name in IDS and f"`{path.relative_to(ROOT / 'tests')}` `{function}`" not in said[name]
    ]

    assert not missing
