"""What is wrong with a value, in words for whoever wrote it: pydantic's findings without its jargon."""

import difflib
from collections.abc import Iterable, Sequence
from typing import Any

_FEW = 8  # as many words as a line takes
_LONGEST_SHOWN = 60  # characters of what was given

_SENTENCES = {
    "string_type": "a text is expected, not {given}",
    "int_type": "a whole number is expected, not {given}",
    "int_from_float": "a whole number is expected, not {given}",
    "float_type": "a number is expected, not {given}",
    "finite_number": "a finite number is expected, not {given}",
    "bool_type": "true or false is expected, not {given}",
    "list_type": "a list is expected, not {given}",
    "tuple_type": "a list is expected, not {given}",
    "dict_type": "a mapping is expected, not {given}",
    "model_type": "a mapping is expected, not {given}",
    "model_attributes_type": "a mapping is expected, not {given}",
    "none_required": "nothing may be written here",
    "too_short": "at least {min_length} must be named; here are {actual_length}",
    "too_long": "at most {max_length} may be named; here are {actual_length}",
    "string_too_long": "may have {max_length} characters at most",
    "greater_than": "must be greater than {gt:.15g}, not {given}",
    "greater_than_equal": "must be {ge:.15g} or more, not {given}",
    "less_than": "must be less than {lt:.15g}, not {given}",
    "less_than_equal": "must be {le:.15g} or less, not {given}",
    "datetime_type": "a moment is expected, as 2027-01-31T00:00:00Z without quotes, not {given}",
}


def nearest(word: str, words: Iterable[str]) -> str:
    """Return "; did you mean …?" for the nearest right word, or the right words if none is near and they are few."""
    known = sorted(words)
    if close := closest(word, known):
        return f"; did you mean {close!r}?"
    return f"; there is {', '.join(known)}" if 0 < len(known) <= _FEW else ""


def closest(word: str, words: Iterable[str]) -> str | None:
    """Return the nearest right word, or None if none is near."""
    return next(iter(difflib.get_close_matches(word, sorted(words), n=1, cutoff=0.6)), None)


def sentence(details: Any, given: Any, examples: Sequence[str] = ()) -> str:
    """Say what one of pydantic's errors means. `examples` are values that would be right."""
    kind, context = details["type"], details.get("ctx", {})
    if kind in {"literal_error", "enum"}:
        return f"{_shown(given)} is not allowed here{nearest(str(given), _listed(context['expected']))}"
    if kind == "union_tag_invalid":
        tag = given.get(context["discriminator"].strip("'")) if isinstance(given, dict) else given
        right = nearest(str(tag), _listed(context["expected_tags"]))
        return f"{context['discriminator']} must not be {_shown(tag)}{right}"
    if kind == "union_tag_not_found":
        return f"{context['discriminator']} is missing"
    if kind == "string_pattern_mismatch":
        right = f"; for example: {', '.join(examples)}" if examples else f" {context['pattern']}"
        return f"{_shown(given)} does not have the form that is needed here{right}"
    if kind == "string_too_short":
        least = context["min_length"]
        return "must not be empty" if least == 1 else f"must have at least {least} characters"
    if kind in _SENTENCES:
        quoting = ": put it in quotes" if kind == "string_type" and _is_scalar(given) else ""
        return _SENTENCES[kind].format_map({**context, "given": _shown(given)}) + quoting
    return str(details["msg"]).removeprefix("Value error, ").replace("Input should be", "must be")


def _listed(expected: str) -> list[str]:
    return [word.strip(" '") for word in expected.replace(" or ", ",").split(",")]


def _is_scalar(value: Any) -> bool:
    return value is not None and not isinstance(value, str | list | dict)


def _shown(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "a mapping"
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + "…"
