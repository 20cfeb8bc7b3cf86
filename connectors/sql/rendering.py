"""Statements as text: no text of anybody's stands in it, only parameters that are sent beside it."""

import re
from typing import Any

from sqlglot import exp
from sqlglot.errors import ErrorLevel, SqlglotError

from broker.connector import errors

_NUMBER = re.compile(r"\d{1,40}(\.\d{1,40})?([eE][+-]?\d{1,3})?|\.\d{1,40}")


class Rendering:
    """Makes one statement's text of trees, and gathers its parameters in the order of their numbers."""

    def __init__(self, dialect: str) -> None:
        self._dialect = dialect
        self._numbers: dict[tuple[str, str], int] = {}
        self.parameters: list[Any] = []

    def text(self, tree: exp.Expr) -> str:
        """Return a tree as text; raise `InvalidArguments` for what the dialect has no words for."""
        tree = tree.copy()
        for literal in list(tree.find_all(exp.Literal)):
            if not literal.is_string:
                if _NUMBER.fullmatch(literal.name) is None:
                    raise errors.InvalidArguments(f"{literal.name[:40]!r} is no number.")
            elif not isinstance(literal.parent, exp.Interval):
                place = self._place(literal)
                if literal is tree:
                    tree = place
                else:
                    literal.replace(place)
        try:
            return tree.sql(
                dialect=self._dialect, comments=False, identify=True, unsupported_level=ErrorLevel.IMMEDIATE
            )
        except SqlglotError:
            raise errors.InvalidArguments("This database has no words for a part of the query.") from None

    def _place(self, literal: exp.Literal) -> exp.Expr:
        """Return the parameter for a text: the same for the same text in the same place of equal expressions.

        So an expression that a query groups by is the one that it selects.
        """
        around = literal.parent.sql(dialect=self._dialect, comments=False) if literal.parent is not None else ""
        key = (literal.name, around)
        if key not in self._numbers:
            self.parameters.append(literal.name)
            self._numbers[key] = len(self.parameters)
        number = self._numbers[key]
        name = exp.Literal.number(number) if self._dialect == "postgres" else exp.var(f"p{number}")
        return exp.Parameter(this=name)


def quoted(name: str) -> str:
    """Return a name as an identifier."""
    return '"' + name.replace('"', '""') + '"'
