"""The words of a condition: enough of CEL's syntax to tell, before any call, what an expression speaks of.

    arguments.amount <= 1000 && agent.team in ["finance", "audit"]

The engine compiles and evaluates; it does not say which members an expression reads, so this does.
"""

import difflib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from broker.policy.shape import ROOTS, SHAPES

Path = tuple[str, ...]
"""What is read of the arguments, as ("filters", "field")."""

_TOKEN = re.compile(
    r"""\s+|//[^\n]*
    |(?P<string>[bB]?[rR](?:\"{3}.*?\"{3}|'{3}.*?'{3}|"[^"\n]*"|'[^'\n]*')
        |[bB]?(?:\"{3}.*?\"{3}|'{3}.*?'{3}|"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'))
    |(?P<number>(?:0x[0-9a-fA-F]+|\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)u?)
    |(?P<name>[A-Za-z_][A-Za-z0-9_]*)
    |(?P<sign>&&|\|\||[=!<>]=|[-+*/%!<>?:.,(){}\[\]])""",
    re.VERBOSE | re.DOTALL,
)
_LITERALS = frozenset({"true", "false", "null", "in"})
_MACROS = frozenset({"all", "exists", "exists_one", "map", "filter"})
_FUNCTIONS = frozenset({"has", "size", "int", "uint", "double", "string", "timestamp", "duration"})
_METHODS = _MACROS | {
    "size",
    "startsWith",
    "endsWith",
    "contains",
    "matches",
    "getFullYear",
    "getMonth",
    "getDate",
    "getDayOfMonth",
    "getDayOfWeek",
    "getDayOfYear",
    "getHours",
    "getMinutes",
    "getSeconds",
}
_DEEPEST = 20  # brackets within each other
_PLAIN = re.compile(r"""(["'])([^"'\\]*)\1""")


@dataclass(frozen=True, slots=True)
class Reads:
    """What an expression reads: roots, paths into the arguments, and texts that it takes for regular expressions."""

    roots: frozenset[str]
    arguments: frozenset[Path]
    members: frozenset[Path]
    patterns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str


def reads(expression: str) -> Reads:
    """Return what an expression reads; raise `ValueError`, with words for its author, if it may not be read."""
    return _Reader(list(_tokens(expression))).read()


def _tokens(expression: str) -> Iterator[_Token]:
    position = 0
    while position < len(expression):
        found = _TOKEN.match(expression, position)
        if found is None:
            raise ValueError(f"{expression[position]!r} means nothing here")
        position = found.end()
        if found.lastgroup is not None:
            yield _Token(found.lastgroup, found[found.lastgroup])


class _Reader:
    """Goes through the tokens once; knows which variables macros have bound where it stands."""

    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens
        self._open: list[str | None] = []  # for each open bracket, the variable that its macro binds
        self._paths: set[Path] = set()
        self._patterns: list[str] = []

    def read(self) -> Reads:
        for place, token in enumerate(self._tokens):
            if token.text in ("(", "[", "{") and token.kind == "sign":
                self._begin(place)
            elif token.text in (")", "]", "}") and token.kind == "sign":
                self._end()
            elif token.kind == "name":
                self._name(place, token.text)
            elif token.text == "." and not self._follows_a_value(place):
                raise ValueError("'.' must follow what it reads from")
        return Reads(
            roots=frozenset(path[0] for path in self._paths),
            arguments=frozenset(path[1:] for path in self._paths if path[0] == "arguments"),
            members=frozenset(path for path in self._paths if path[0] != "arguments"),
            patterns=tuple(self._patterns),
        )

    def _begin(self, place: int) -> None:
        if len(self._open) >= _DEEPEST:
            raise ValueError(f"brackets are nested more than {_DEEPEST} deep")
        macro = self._at(place) == "(" and self._at(place - 1) in _MACROS and self._at(place - 2) == "."
        if not macro:
            self._open.append(None)
            return
        if any(self._open):
            raise ValueError(
                f"{self._at(place - 1)!r} stands inside another such loop: how long that takes, the caller would decide"
            )
        variable = self._at(place + 1)
        if variable in ROOTS:
            raise ValueError(f"{variable!r} has a meaning already; name the loop's variable otherwise")
        self._open.append(variable)

    def _end(self) -> None:
        if self._open:
            self._open.pop()

    def _name(self, place: int, name: str) -> None:
        before, after = self._at(place - 1), self._at(place + 1)
        if before == ".":
            if after == "(":
                self._call(place, name, _METHODS)
        elif after == "(":
            self._call(place, name, _FUNCTIONS)
        elif after == "{":
            raise ValueError(f"there is no type {name!r}")
        elif name in ROOTS:
            self._paths.add(self._path(place, name))
        elif name not in _LITERALS and name not in self._open:
            raise ValueError(f"there is no {name!r} here{nearest(name, ROOTS)}")

    def _call(self, place: int, name: str, known: frozenset[str]) -> None:
        if name not in known:
            raise ValueError(f"there is no function {name!r} here{nearest(name, known)}")
        if name == "matches" and self._kind(place + 2) == "string" and self._at(place + 3) == ")":
            self._patterns.append(self._at(place + 2))

    def _path(self, place: int, root: str) -> Path:
        names = list(self._members(place + 1))
        if not names:
            raise ValueError(f"name a member of {root!r}, as {root}.{min(SHAPES.get(root, {'name'}))}")
        if root in SHAPES and names[0] not in SHAPES[root]:
            raise ValueError(f"{root!r} has no {names[0]!r}{nearest(names[0], SHAPES[root])}")
        if root in SHAPES and len(names) > 1:
            raise ValueError(f"'{root}.{names[0]}' has no members")
        return root, *names

    def _members(self, place: int) -> Iterator[str]:
        while True:
            sign = self._at(place)
            if sign == "." and self._kind(place + 1) == "name" and self._at(place + 2) != "(":
                yield self._at(place + 1)
                place += 2
            elif sign == "[" and (plain := _PLAIN.fullmatch(self._at(place + 1))) and self._at(place + 2) == "]":
                yield plain[2]
                place += 3
            else:
                return

    def _follows_a_value(self, place: int) -> bool:
        return place > 0 and (
            self._kind(place - 1) in ("name", "string", "number") or self._at(place - 1) in (")", "]", "}")
        )

    def _at(self, place: int) -> str:
        return self._tokens[place].text if 0 <= place < len(self._tokens) else ""

    def _kind(self, place: int) -> str:
        return self._tokens[place].kind if 0 <= place < len(self._tokens) else ""


def nearest(word: str, words: Iterable[str]) -> str:
    """Return words that name the nearest right one, or all of them."""
    close = difflib.get_close_matches(word, sorted(words), n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else f"; there is {', '.join(sorted(words))}"
