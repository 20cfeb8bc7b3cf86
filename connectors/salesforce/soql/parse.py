"""SOQL text in, a tree out; anything else is refused, saying where.

query      = SELECT (COUNT() | item {, item}) FROM name [WHERE condition] [ORDER BY key {, key}] [LIMIT n] [OFFSET n]
item       = path | (query)                        path = name {. name}, two names at most
condition  = [NOT] simple {AND [NOT] simple} | ... OR ...      simple = (condition) | path operator value
value      = text | number | date | datetime | date literal | null | true | false; a list or a query after IN
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NoReturn

from broker.connector import errors
from connectors.salesforce.soql.tree import Comparison, Condition, Joined, Not, Ordering, Query

_LONGEST = 10_000  # characters
_DEEPEST = 20
_MOST_VALUES = 200
_TOKEN = re.compile(
    r"""[ \t\r\n]*(?:
        (?P<text>'(?:[^'\\\x00-\x1f]|\\[nrtbfNRTBF"'\\%_]|\\u[0-9A-Fa-f]{4})*')
      | (?P<moment>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d))
      | (?P<date>\d{4}-\d\d-\d\d)
      | (?P<number>[+-]?\d{1,18}(?:\.\d{1,18})?)
      | (?P<span>[A-Za-z]+_[Nn]_[A-Za-z_]+:\d{1,4})
      | (?P<name>[A-Za-z][A-Za-z0-9_]*(?:\.[A-Za-z][A-Za-z0-9_]*)*)
      | (?P<sign><=|>=|!=|<>|[=<>(),])
      | (?P<end>\Z)
    )""",
    re.VERBOSE | re.ASCII,
)
_RESERVED = frozenset(
    {"AND", "ASC", "DESC", "EXCLUDES", "FIRST", "FROM", "GROUP", "HAVING", "IN", "INCLUDES", "LAST", "LIKE", "LIMIT"}
    | {"NOT", "NULL", "NULLS", "OR", "SELECT", "USING", "WHERE", "WITH", "TRUE", "FALSE", "ORDER", "OFFSET", "FOR"}
    | {"TYPEOF", "END", "UPDATE"}
)
_LITERAL_WORDS = re.compile(
    r"YESTERDAY|TODAY|TOMORROW|(LAST|NEXT)_90_DAYS|(LAST|THIS|NEXT)_(WEEK|MONTH|QUARTER|YEAR|FISCAL_QUARTER|FISCAL_YEAR)"
    r"|NULL|TRUE|FALSE"
)
_COMPARISONS = frozenset({"=", "!=", "<>", "<", "<=", ">", ">="})


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of the query: its kind, its text, and where it starts."""

    kind: str
    text: str
    position: int

    @property
    def word(self) -> str:
        """The keyword that it may be."""
        return self.text.upper() if self.kind == "name" else ""


def parse(text: str) -> Query:
    """Return the tree of a query; raise `InvalidArguments` if it is not in the part of SOQL that is let through."""
    if len(text) > _LONGEST:
        raise errors.InvalidArguments(f"The query has more than {_LONGEST} characters.")
    parser = _Parser(list(_tokens(text)))
    query = parser.query(0, subqueries=True)
    parser.end()
    return query


def _tokens(text: str) -> Iterator[Token]:
    position = 0
    while True:
        match = _TOKEN.match(text, position)
        if match is None:
            _refuse(text[position : position + 20].strip() or "a control character", position)
        kind = str(match.lastgroup)
        yield Token(kind, match[kind], match.start(kind))
        if kind == "end":
            return
        position = match.end()


def _refuse(found: str, position: int, wanted: str = "") -> NoReturn:
    hint = f"; {wanted} is expected" if wanted else ""
    raise errors.InvalidArguments(
        f"The query is not in the part of SOQL that is let through: {found!r} at character {position + 1}{hint}."
    )


class _Parser:
    def __init__(self, tokens: list[Token]) -> None:
        self._tokens = tokens
        self._at = 0

    def query(self, depth: int, *, subqueries: bool) -> Query:
        self._expect("SELECT")
        paths, inner = self._items(depth, subqueries=subqueries)
        self._expect("FROM")
        source = self._name()
        condition = self._condition(depth) if self._take("WHERE") else None
        order = self._order() if self._take("ORDER") else ()
        limit = self._integer() if self._take("LIMIT") else None
        offset = self._integer() if self._take("OFFSET") else None
        return Query(paths, inner, source, condition, order, limit, offset)

    def end(self) -> None:
        if self._next.kind != "end":
            self._unexpected("the end")

    def _items(self, depth: int, *, subqueries: bool) -> tuple[tuple[str, ...], tuple[Query, ...]]:
        if self._next.word == "COUNT":
            for text in ("COUNT", "(", ")"):
                self._expect(text)
            return (), ()
        paths: list[str] = []
        inner: list[Query] = []
        while True:
            if subqueries and self._take("("):
                inner.append(self.query(depth + 1, subqueries=False))
                self._expect(")")
            else:
                paths.append(self._path())
            if not self._take(","):
                return tuple(paths), tuple(inner)

    def _condition(self, depth: int) -> Condition:
        if depth > _DEEPEST:
            self._unexpected("less nesting")
        conditions = [self._part(depth)]
        joint = self._next.word
        while joint in {"AND", "OR"} and self._take(joint):
            conditions.append(self._part(depth))
        if self._next.word in {"AND", "OR"}:
            self._unexpected("parentheses around what AND and OR join")
        return conditions[0] if len(conditions) == 1 else Joined(joint, tuple(conditions))

    def _part(self, depth: int) -> Condition:
        if self._take("NOT"):
            return Not(self._simple(depth))
        return self._simple(depth)

    def _simple(self, depth: int) -> Condition:
        if not self._take("("):
            return self._comparison(depth)
        inner = self._condition(depth + 1)
        self._expect(")")
        return inner

    def _comparison(self, depth: int) -> Comparison:
        path, token = self._path(), self._advance()
        if token.text in _COMPARISONS and token.kind == "sign":
            return Comparison(path, "!=" if token.text == "<>" else token.text, (self._literal(),))
        if token.word == "LIKE":
            return Comparison(path, "LIKE", (self._literal(),))
        operator = token.word
        if operator == "NOT":
            self._expect("IN")
            operator = "NOT IN"
        if operator not in {"IN", "NOT IN"}:
            self._at -= 1
            self._unexpected("a comparison")
        self._expect("(")
        within = self.query(depth + 1, subqueries=False) if self._next.word == "SELECT" else None
        literals = () if within else self._literals()
        self._expect(")")
        return Comparison(path, operator, literals, within)

    def _literals(self) -> tuple[str, ...]:
        literals = [self._literal()]
        while self._take(","):
            literals.append(self._literal())
        if len(literals) > _MOST_VALUES:
            self._unexpected(f"{_MOST_VALUES} values at most")
        return tuple(literals)

    def _literal(self) -> str:
        token = self._advance()
        if token.kind in {"text", "moment", "date", "number"}:
            return token.text
        if token.kind == "span" or _LITERAL_WORDS.fullmatch(token.word):
            return token.text.upper()
        self._at -= 1
        return self._unexpected("a value")

    def _order(self) -> tuple[Ordering, ...]:
        self._expect("BY")
        keys = [self._ordering()]
        while self._take(","):
            keys.append(self._ordering())
        return tuple(keys)

    def _ordering(self) -> Ordering:
        path = self._path()
        how = "DESC" if self._take("DESC") else "ASC"
        if how != "DESC":
            self._take("ASC")
        if self._take("NULLS"):
            how += " NULLS FIRST" if self._take("FIRST") else " NULLS LAST"
            if how.endswith("LAST"):
                self._expect("LAST")
        return Ordering(path, how)

    def _integer(self) -> int:
        if self._next.kind != "number" or not self._next.text.isdigit():
            self._unexpected("a whole number")
        return int(self._advance().text)

    def _path(self) -> str:
        token = self._next
        if token.kind != "name" or token.word in _RESERVED or token.text.count(".") > 1:
            self._unexpected("a field, or one of a related record as Owner.Name")
        return self._advance().text

    def _name(self) -> str:
        token = self._next
        if token.kind != "name" or token.word in _RESERVED or "." in token.text:
            self._unexpected("an object")
        return self._advance().text

    @property
    def _next(self) -> Token:
        return self._tokens[self._at]

    def _advance(self) -> Token:
        token = self._next
        if token.kind != "end":
            self._at += 1
        return token

    def _take(self, text: str) -> bool:
        token = self._next
        if token.word != text and not (token.kind == "sign" and token.text == text):
            return False
        self._at += 1
        return True

    def _expect(self, text: str) -> None:
        if not self._take(text):
            self._unexpected(text)

    def _unexpected(self, wanted: str) -> NoReturn:
        _refuse(self._next.text or "the end", self._next.position, wanted)
