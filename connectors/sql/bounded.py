"""Parsing, within a number of steps.

sqlglot tries one reading after another, and a text can be made so that each word doubles them: sixteen joins without a
condition take it seconds. What is meant to be read takes little more than a step for each token.
"""

import functools
from typing import Any

from sqlglot import exp
from sqlglot.dialects.dialect import Dialect

from broker.connector import errors

_SPARE_STEPS, _STEPS_OF_A_TOKEN = 500, 3


def parsed(text: str, dialect: str) -> list[exp.Expr | None]:
    """Return the statements of a text; raise sqlglot's own errors, and `InvalidArguments` for what takes too long."""
    spoken = Dialect.get_or_raise(dialect)
    tokens = spoken.tokenize(text)
    parser = _parser(dialect)(dialect=spoken)
    parser.left = _SPARE_STEPS + _STEPS_OF_A_TOKEN * len(tokens)
    found: list[exp.Expr | None] = parser.parse(tokens, text)
    return found


@functools.cache
def _parser(dialect: str) -> Any:
    class Bounded(Dialect.get_or_raise(dialect).parser_class):  # type: ignore[misc] # each dialect has its own
        """The dialect's parser, which counts how often it goes on or back."""

        left = 0

        def _advance(self, *positional: Any, **named: Any) -> None:
            self.left -= 1
            if self.left < 0:
                raise errors.InvalidArguments("The query takes too long to be understood; write it more plainly.")
            super()._advance(*positional, **named)

    return Bounded
