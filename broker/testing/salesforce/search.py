"""SOSL text in, records out: `FIND {text} IN ALL FIELDS RETURNING Account(Id, Name WHERE ... LIMIT 5), Contact`.

Source: SOQL and SOSL Reference, SOSL Syntax, FIND, RETURNING. Every word must occur as a word in some text field of a
record, without case; `*` stands for the rest of a word and `?` for one character. Unlike the service, the index is
never behind, `AND`, `OR` and quotes have no meaning, and nothing is ranked.
"""

import re
from collections.abc import Iterator
from typing import Final

from broker.testing.salesforce.errors import ServiceError
from broker.testing.salesforce.objects import find_object
from broker.testing.salesforce.org import Org, Record
from broker.testing.salesforce.query import Selection, find
from broker.testing.salesforce.schema import TEXT_TYPES, SObject
from broker.testing.salesforce.soql import parse_returning

MOST_FOUND: Final = 2000
_SHORTEST: Final = 2  # characters of a search term, wildcards not counted
_SEARCH: Final = re.compile(
    r"\s*FIND\s*\{((?:[^\\{}]|\\.)*)\}\s*(?:IN\s+(ALL|NAME|EMAIL|PHONE|SIDEBAR)\s+FIELDS\s*)?RETURNING\s+(.*)\Z",
    re.IGNORECASE | re.DOTALL,
)
_WORD: Final = re.compile(r"(?:[\w*?]|\\.)+")


def search(text: str, org: Org) -> list[Selection]:
    """Answer a search, one selection for each object, or refuse it with MALFORMED_SEARCH."""
    match = _SEARCH.match(text)
    if match is None:
        raise ServiceError(400, "MALFORMED_SEARCH", f"No search term found. The search term must be in braces: {text}")
    words = [_pattern(word) for word in _words(match[1])]
    return [_found(org, words, name, asked) for name, asked in _returning(match[3])]


def _words(term: str) -> list[str]:
    words = [re.sub(r"\\(.)", r"\1", word) if "*" not in word else word for word in _WORD.findall(term)]
    if not words or max(len(word.replace("*", "").replace("?", "")) for word in words) < _SHORTEST:
        raise ServiceError(400, "MALFORMED_SEARCH", "search term must be longer than one character")
    return words


def _pattern(word: str) -> re.Pattern[str]:
    plain = "".join({"*": r"\w*", "?": r"\w"}.get(character, re.escape(character)) for character in word.casefold())
    return re.compile(rf"(?<!\w){plain}(?!\w)")


def _returning(text: str) -> Iterator[tuple[str, str | None]]:
    position = 0
    while position < len(text):
        match = re.compile(r"\s*(\w+)\s*").match(text, position)
        if match is None:
            raise ServiceError(400, "MALFORMED_SEARCH", f"unexpected token: '{text[position:]}'")
        position, asked = match.end(), None
        if text[position : position + 1] == "(":
            end = _closing(text, position)
            asked, position = text[position + 1 : end], end + 1
        yield match[1], asked
        rest = text[position:].lstrip()
        if rest and not rest.startswith(","):
            raise ServiceError(400, "MALFORMED_SEARCH", f"unexpected token: '{rest}'")
        position = len(text) - len(rest) + 1


def _closing(text: str, start: int) -> int:
    depth = 0
    for match in re.compile(r"'(?:[^'\\]|\\.)*'|[()]").finditer(text, start):
        depth += {"(": 1, ")": -1}.get(match[0], 0)
        if depth == 0:
            return match.start()
    raise ServiceError(400, "MALFORMED_SEARCH", "unexpected token: '<EOF>'")


def _found(org: Org, words: list[re.Pattern[str]], name: str, asked: str | None) -> Selection:
    sobject = find_object(name)
    if sobject is None:
        raise ServiceError(400, "INVALID_TYPE", f"sObject type '{name}' is not supported.")
    statement = parse_returning(asked if asked is not None else "Id")
    among = [record for record in org.records(sobject) if all(_holds(sobject, record, word) for word in words)]
    return find(statement, org, sobject, among=among[:MOST_FOUND])


def _holds(sobject: SObject, record: Record, word: re.Pattern[str]) -> bool:
    texts = (record[field.name] for field in sobject.fields if field.type in TEXT_TYPES)
    return any(word.search(text.casefold()) for text in texts if text)
