"""Filters: what must be true of every record, written once and bound for each call.

Owner.Email = :on_behalf_of.email AND Status IN ('Open', 'New')
"""

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from broker.connector import Comparison
from broker.policy.condition import CannotEvaluate, Undetermined
from broker.policy.request import AccessRequest
from broker.policy.shape import SHAPES, values_of
from broker.policy.words import nearest

_TOKEN = re.compile(
    r"""\s+
    |(?P<text>'(?:[^']|'')*')
    |(?P<number>-?\d{1,15}(?![\w.]))
    |(?P<parameter>:[a-z_]+\.[a-z_]+)
    |(?P<word>[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*)
    |(?P<sign>[<>!]=|[=<>(),])""",
    re.VERBOSE,
)
_LONGEST = 1000  # characters of a value that a call brings
_MOST = 20  # comparisons, and members of a list that stands in the filter

Operator = Literal["=", "!=", "<", "<=", ">", ">=", "in"]
_OPERATORS: dict[str, Operator] = {"=": "=", "!=": "!=", "<": "<", "<=": "<=", ">": ">", ">=": ">=", "IN": "in"}


@dataclass(frozen=True, slots=True)
class Parameter:
    """A value that each call brings, as `:on_behalf_of.email`."""

    root: str
    name: str

    def of(self, request: AccessRequest) -> str | int | bool:
        """Return its value for a request; raise `CannotEvaluate` if there is none."""
        if (self.root, self.name) in request.unknown:
            raise Undetermined("the trail does not hold what its filter needs")
        value = values_of(self.root, request).get(self.name)
        if not isinstance(value, str | int | bool):
            raise CannotEvaluate(f"its filter needs {self.root}.{self.name}, which this call does not have")
        if isinstance(value, str) and (len(value) > _LONGEST or not _is_unicode(value)):
            raise CannotEvaluate(f"its filter needs {self.root}.{self.name}, which no service would take as it is")
        return value


@dataclass(frozen=True, slots=True)
class Term:
    """One comparison as it is written."""

    field: str
    operator: Operator
    value: "Parameter | str | int | bool | tuple[Parameter | str, ...]"


@dataclass(frozen=True, slots=True)
class Filter:
    """A conjunction of comparisons."""

    text: str
    terms: tuple[Term, ...]

    @property
    def fields(self) -> frozenset[str]:
        """The fields of records that it compares."""
        return frozenset(term.field for term in self.terms)

    @property
    def parameters(self) -> bool:
        """Whether it needs values that a call may not have."""
        values = [
            one for term in self.terms for one in (term.value if isinstance(term.value, tuple) else (term.value,))
        ]
        return any(isinstance(one, Parameter) for one in values)

    def bound(self, request: AccessRequest) -> tuple[Comparison, ...]:
        """Return the comparisons for one request; raise `CannotEvaluate` if it lacks the value of a parameter."""
        return tuple(Comparison(term.field, term.operator, _bound(term.value, request)) for term in self.terms)


def _is_unicode(text: str) -> bool:
    try:
        return bool(text.encode())
    except UnicodeEncodeError:
        return False


def _bound(value: Any, request: AccessRequest) -> Any:
    if isinstance(value, Parameter):
        return value.of(request)
    if isinstance(value, tuple):
        return [str(_bound(one, request)) for one in value]
    return value


@functools.lru_cache(maxsize=8192)
def parse_filter(text: str) -> Filter:
    """Parse a filter; raise `ValueError`, with words for its author, if it is none."""
    tokens = _Tokens(text)
    terms = [_term(tokens)]
    while tokens.left:
        tokens.take_word("AND")
        terms.append(_term(tokens))
    if len(terms) > _MOST:
        raise ValueError(f"has more than {_MOST} comparisons")
    return Filter(text, tuple(terms))


class _Tokens:
    """The tokens of a filter, taken one after the other."""

    def __init__(self, text: str) -> None:
        self._left = list(_split(text))

    @property
    def left(self) -> bool:
        """Whether there are more."""
        return bool(self._left)

    def next(self, *kinds: str, wanted: str) -> tuple[str, str]:
        """Take the next one, which must be of these kinds."""
        kind, text = self._left[0] if self._left else ("end", "its end")
        if kind not in kinds:
            raise ValueError(f"{wanted} is expected, not {text}")
        return self._left.pop(0)

    def take_word(self, word: str) -> None:
        """Take a keyword; `OR` and `NOT` have none, since what the service cannot be asked is not narrowed."""
        _, found = self.next("word", wanted=word)
        if found.upper() != word:
            raise ValueError(f"{word} is expected, not {found}")

    def is_next(self, text: str) -> bool:
        """Tell whether this sign comes next, and take it if so."""
        if self._left and self._left[0] == ("sign", text):
            self._left.pop(0)
            return True
        return False


def _split(text: str) -> Iterator[tuple[str, str]]:
    position = 0
    while position < len(text):
        found = _TOKEN.match(text, position)
        if found is None:
            raise ValueError(f"{text[position : position + 20]!r} means nothing here")
        position = found.end()
        if found.lastgroup is not None:
            yield found.lastgroup, found[found.lastgroup]


def _term(tokens: _Tokens) -> Term:
    _, field = tokens.next("word", wanted="a field")
    kind, sign = tokens.next("sign", "word", wanted="a comparison (=, !=, <, <=, >, >=, IN)")
    operator = _OPERATORS.get(sign if kind == "sign" else sign.upper())
    if operator is None:
        raise ValueError(f"a comparison (=, !=, <, <=, >, >=, IN) is expected, not {sign}")
    if operator != "in":
        return Term(field, operator, _value(tokens))
    if not tokens.is_next("("):
        raise ValueError("a list is expected after IN, as ('Open', 'New')")
    members = [_member(tokens)]
    while not tokens.is_next(")"):
        if not tokens.is_next(","):
            raise ValueError("',' or ')' is expected in the list after IN")
        members.append(_member(tokens))
    if len(members) > _MOST:
        raise ValueError(f"a list has more than {_MOST} members")
    return Term(field, "in", tuple(members))


def _member(tokens: _Tokens) -> Parameter | str:
    value = _value(tokens)
    if not isinstance(value, Parameter | str):
        raise ValueError("a list after IN holds texts and parameters only")
    return value


def _value(tokens: _Tokens) -> Parameter | str | int | bool:
    kind, text = tokens.next("text", "number", "parameter", "word", wanted="a value")
    if kind == "text":
        return text[1:-1].replace("''", "'")
    if kind == "number":
        return int(text)
    if kind == "parameter":
        return _parameter(text)
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    raise ValueError(f"a value is expected, not {text}; put texts in single quotes")


def _parameter(text: str) -> Parameter:
    root, name = text[1:].split(".")
    if root not in SHAPES:
        raise ValueError(f"there is no {text}{nearest(root, SHAPES)}")
    if name not in SHAPES[root] or (root, name) == ("context", "time"):
        raise ValueError(f"there is no {text}{nearest(name, SHAPES[root] - {'time'})}")
    return Parameter(root, name)
