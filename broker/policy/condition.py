"""Conditions: CEL over arguments, agent, on_behalf_of and context; compiled when loaded, evaluated for one request."""

import functools
import re
from dataclasses import dataclass, field
from typing import Any

import cel

from broker.policy.request import AccessRequest
from broker.policy.shape import chosen, values_of
from broker.policy.words import Path, reads

_WHERE = re.compile(r"ERROR: <input>:(\d+):(\d+): (.*)")
_WHY = {
    "KeyError": "it reads a member that is not there; ask has(...) first",
    "TypeError": "it compares or combines values of types that do not go together",
    "OverflowError": "a number is too large",
    "ZeroDivisionError": "it divides by zero",
}


class CannotEvaluate(Exception):  # noqa: N818 - what it is: neither true nor false
    """An expression has no value for a request; the words hold nothing of the request's values."""


class Undetermined(CannotEvaluate):
    """What an expression reads is not known of a request that is only told of."""


@dataclass(frozen=True, slots=True)
class Condition:
    """A compiled condition, and what it reads."""

    text: str
    roots: frozenset[str]
    arguments: frozenset[Path]
    """Paths into the arguments: what no tool of the rule takes is a mistake."""
    members: frozenset[Path]
    _program: Any = field(repr=False, compare=False)
    _names: frozenset[str] = field(repr=False, compare=False)
    _reads: frozenset[Path] = field(repr=False, compare=False)

    def holds(self, request: AccessRequest) -> bool:
        """Tell whether it is true of a request; raise `CannotEvaluate` if it is neither true nor false."""
        if request.unknown and (self._reads & request.unknown):
            raise Undetermined("the trail does not hold what it reads")
        variables = {
            root: chosen(request.arguments, self._names) if root == "arguments" else values_of(root, request)
            for root in self.roots
        }
        try:
            result = self._program.execute(variables)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # noqa: BLE001 - also what the engine throws when it panics
            raise CannotEvaluate(_WHY.get(type(error).__name__, f"it fails ({type(error).__name__})")) from None
        if not isinstance(result, bool):
            raise CannotEvaluate("it is neither true nor false")
        return result


@functools.lru_cache(maxsize=8192)
def compile_condition(text: str) -> Condition:
    """Compile a condition; raise `ValueError`, with words for its author, if it is none."""
    found = reads(text)
    program = _program(text)
    for pattern in found.patterns:
        _check_pattern(pattern)
    names = frozenset(path[0] for path in found.arguments)
    read = found.members | ({("arguments",)} if names else set())
    return Condition(text, found.roots, found.arguments, found.members, program, names, read)


def _program(text: str) -> Any:
    try:
        return cel.compile(text)
    except ValueError as error:
        found = _WHERE.search(str(error))
        raise ValueError(f"is no CEL: {found[3]} (column {found[2]})" if found else "is no CEL") from None


def _check_pattern(literal: str) -> None:
    try:
        cel.compile(f"''.matches({literal})").execute({})
    except Exception:  # noqa: BLE001 - whatever the engine says of it
        raise ValueError(f"{literal} is no regular expression of RE2") from None
