"""What a statement may touch, and what comes back of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Permitted:
    """The columns that a statement may read, by table, and the functions it may call: all names in lower case.

    A database that can be asked to watch a statement (SQLite) holds to it; of another it is the rewritten text and the
    account's own rights that do.
    """

    columns: Mapping[str, frozenset[str]]
    functions: frozenset[str] = frozenset()
    parts: frozenset[str] = frozenset()
    """The names of the statement's own WITH queries: what stands in another name's is a view's."""


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of a result, in the order of its columns."""

    rows: Sequence[Sequence[Any]]


Changed = Callable[[Rows, int], None]
"""Looks at what a change returned and how many rows it changed, before it is final; raises to have it undone."""
