"""SOQL text in, a statement out.

    SELECT Id, Name FROM Account
    WHERE (Industry = 'Banking' OR Rating IN ('Hot', 'Warm')) AND AnnualRevenue >= 1000000
    ORDER BY Name DESC NULLS LAST LIMIT 20 OFFSET 40

Source: SOQL and SOSL Reference. Fields, fields of related records (`Owner.Email`), one level of subqueries,
semi-joins, date literals and `COUNT()`; no functions, grouping, bind variables or TYPEOF. As in the service, AND and
OR do not mix without parentheses, and NOT stands first in its parentheses (`... AND (NOT Name = 'x')`). Field and
object names are only read here, not known.
"""

import re
from collections.abc import Iterator
from string import whitespace as ascii_whitespace
from typing import Final

from broker.testing.salesforce.dates import DATE_LITERALS
from broker.testing.salesforce.errors import ServiceError
from broker.testing.salesforce.statement import (
    Comparison,
    Condition,
    Every,
    Not,
    Ordering,
    Some,
    Statement,
    Token,
    located,
)

# Words that can never be a name (SOQL and SOSL Reference, Reserved Keywords), and those that are values.
_RESERVED: Final = frozenset(
    {
        *("AND", "ASC", "DESC", "EXCLUDES", "FIRST", "FROM", "GROUP", "HAVING", "IN", "INCLUDES", "LAST", "LIKE"),
        *("LIMIT", "NOT", "NULL", "NULLS", "OR", "SELECT", "USING", "WHERE", "WITH", "TRUE", "FALSE"),
    },
)
_TOKEN: Final = re.compile(
    r"""\s*(?:
        (?P<string>'(?:[^'\\]|\\.)*')
      | (?P<datetime>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d))
      | (?P<date>\d{4}-\d\d-\d\d)
      | (?P<number>[+-]?\d+(?:\.\d+)?)
      | (?P<span>[A-Za-z]+_N_[A-Za-z]+:\d+)
      | (?P<name>[A-Za-z]\w*(?:\.\w+)*)
      | (?P<symbol><=|>=|!=|<>|[=<>(),:])
      | (?P<end>\Z)
    )""",
    re.VERBOSE | re.DOTALL | re.ASCII,
)
_COMPARISONS: Final = frozenset({"=", "!=", "<>", "<", "<=", ">", ">="})


def parse(text: str) -> Statement:
    """Read a query; what is no SOQL raises MALFORMED_QUERY, what is nested too deeply QUERY_TOO_COMPLICATED."""
    try:
        return _Parser(text).statement()
    except RecursionError:
        message = "Query is either selecting too many fields or the filter conditions are too complicated."
        raise ServiceError(400, "QUERY_TOO_COMPLICATED", message) from None


def parse_returning(text: str) -> Statement:
    """Read what one RETURNING of a SOSL search says of its object: fields, conditions, order and limit."""
    parser = _Parser(text)
    statement = parser.conditions()
    parser.finish()
    return statement


def _tokens(text: str) -> Iterator[Token]:
    position = 0
    while True:
        match = _TOKEN.match(text, position)
        if match is None:
            raise _unreadable(text, position)
        kind = str(match.lastgroup)
        yield Token(kind, match[kind], match.start(kind))
        if kind == "end":
            return
        position = match.end()


def _unreadable(text: str, position: int) -> ServiceError:
    position += len(text[position:]) - len(text[position:].lstrip(ascii_whitespace))
    row = text.count("\n", 0, position) + 1
    column = position - text.rfind("\n", 0, position) - 1
    character = text[position]
    sentence = f"line {row}:{column} no viable alternative at character '{character}'"
    if character == "'":
        sentence = f"line {row}:{column} mismatched character '<EOF>' expecting '''"
    return ServiceError(400, "MALFORMED_QUERY", sentence)


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = list(_tokens(text))
        self._next = 0

    def statement(self) -> Statement:
        statement = self._query(subqueries=True)
        self.finish()
        return statement

    def finish(self) -> None:
        if self._peek().kind != "end":
            raise self._unexpected(self._peek())

    def conditions(self) -> Statement:
        """Read what stands in the parentheses of a RETURNING: `Id, Name WHERE ... ORDER BY ... LIMIT n`."""
        fields = self._fields(subqueries=False)
        return self._rest(fields, Token("name", "", 0))

    def _query(self, *, subqueries: bool) -> Statement:
        self._expect("SELECT")
        fields = self._fields(subqueries=subqueries)
        self._expect("FROM")
        return self._rest(fields, self._name())

    def _rest(self, fields: tuple[Token | Statement, ...], sobject: Token) -> Statement:
        condition = self._condition() if self._take("WHERE") else None
        order = self._order() if self._take("ORDER") else ()
        limit = self._integer() if self._take("LIMIT") else None
        offset = self._integer() if self._take("OFFSET") else 0
        return Statement(self._text, fields, sobject, condition, order, limit, offset)

    def _fields(self, *, subqueries: bool) -> tuple[Token | Statement, ...]:
        if self._peek().word() == "COUNT":
            self._advance()
            self._expect("(")
            self._expect(")")
            return ()
        fields = [self._field(subqueries=subqueries)]
        while self._take(","):
            fields.append(self._field(subqueries=subqueries))
        return tuple(fields)

    def _field(self, *, subqueries: bool) -> Token | Statement:
        if not subqueries or not self._take("("):
            return self._name()
        inner = self._query(subqueries=False)
        self._expect(")")
        return inner

    def _condition(self) -> Condition:
        if self._take("NOT"):
            return Not(self._simple_condition())
        first = self._simple_condition()
        joint = self._peek().word()
        if joint not in {"AND", "OR"}:
            return first
        conditions = [first]
        while self._take(joint):
            conditions.append(self._simple_condition())
        return Every(tuple(conditions)) if joint == "AND" else Some(tuple(conditions))

    def _simple_condition(self) -> Condition:
        if self._take("("):
            inner = self._condition()
            self._expect(")")
            return inner
        return self._comparison()

    def _comparison(self) -> Comparison:
        field = self._name()
        operator = self._advance()
        if operator.text in _COMPARISONS:
            return Comparison(field, "!=" if operator.text == "<>" else operator.text, (self._value(),))
        match operator.word():
            case "LIKE":
                return Comparison(field, "LIKE", (self._value(),))
            case "IN":
                return self._membership(field, "IN")
            case "NOT":
                self._expect("IN")
                return self._membership(field, "NOT IN")
        raise self._unexpected(operator)

    def _membership(self, field: Token, operator: str) -> Comparison:
        if self._tokens[self._next + 1].word() != "SELECT":
            return Comparison(field, operator, self._values())
        self._expect("(")
        within = self._query(subqueries=False)
        self._expect(")")
        return Comparison(field, operator, (), within)

    def _values(self) -> tuple[Token, ...]:
        self._expect("(")
        values = [self._value()]
        while self._take(","):
            values.append(self._value())
        self._expect(")")
        return tuple(values)

    def _value(self) -> Token:
        token = self._advance()
        if token.kind in {"string", "number", "date", "datetime", "span"}:
            return token
        if token.word() in {"NULL", "TRUE", "FALSE", *DATE_LITERALS}:
            return token
        # Another field, or a name an Apex programmer would bind: the API knows neither.
        if token.text == ":" or (token.kind == "name" and token.word() not in _RESERVED):
            raise self._malformed(token, "Bind variables only allowed in Apex code")
        raise self._unexpected(token)

    def _order(self) -> tuple[Ordering, ...]:
        self._expect("BY")
        orderings = [self._ordering()]
        while self._take(","):
            orderings.append(self._ordering())
        return tuple(orderings)

    def _ordering(self) -> Ordering:
        field = self._name()
        descending = self._take("DESC")
        if not descending:
            self._take("ASC")
        nulls_last = False
        if self._take("NULLS"):
            nulls_last = self._take("LAST")
            if not nulls_last:
                self._expect("FIRST")
        return Ordering(field, descending, nulls_last)

    def _integer(self) -> int:
        token = self._advance()
        if token.kind != "number" or not token.text.isdigit():
            raise self._unexpected(token)
        return int(token.text)

    def _name(self) -> Token:
        token = self._advance()
        if token.kind != "name" or token.word() in _RESERVED:
            raise self._unexpected(token)
        return token

    def _peek(self) -> Token:
        return self._tokens[self._next]

    def _advance(self) -> Token:
        token = self._peek()
        if token.kind != "end":
            self._next += 1
        return token

    def _take(self, text: str) -> bool:
        token = self._peek()
        if token.word() != text and (token.kind != "symbol" or token.text != text):
            return False
        self._next += 1
        return True

    def _expect(self, text: str) -> None:
        if not self._take(text):
            raise self._unexpected(self._peek())

    def _unexpected(self, token: Token) -> ServiceError:
        return self._malformed(token, f"unexpected token: '{token.text or '<EOF>'}'")

    def _malformed(self, at: Token, sentence: str) -> ServiceError:
        return ServiceError(400, "MALFORMED_QUERY", located(self._text, at.position, sentence))
