"""What `aam connector add` asks before it writes a document: each connector says of itself what it needs to know."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["text", "number", "flag", "list", "mapping"]


@dataclass(frozen=True, slots=True)
class Question:
    """One thing that a Connector document needs to know.

    `place` is where the answer stands in `spec`, as `url` or `settings.api_version`. `usual` is what is written where
    nobody says otherwise (`{name}` stands for the connector's name), "" where nothing is; None demands an answer.
    """

    place: str
    words: str
    kind: Kind = "text"
    usual: str | None = None
    example: str = ""

    def read(self, text: str) -> Any:
        """Return what an answer means; raise `ValueError` with words for whoever gave it."""
        return _READ[self.kind](text)


USUAL_QUESTIONS = (
    Question("url", "The URL under which the service is called", example="https://api.example.com"),
    Question(
        "resources",
        "What policies call each resource, and what the service calls it",
        "mapping",
        example="tasks=tasks, people=users",
    ),
)


def spec_of(questions: Sequence[Question], answers: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the `spec` that these answers make, by place; what is usual stands where there is none.

    Raises `LookupError` with the questions that must be answered.
    """
    missing = [one for one in questions if one.place not in answers and one.usual is None]
    if missing:
        raise LookupError(*missing)
    usual = {one.place: one.read(one.usual.replace("{name}", name)) for one in questions if one.usual}
    places = [*(one.place for one in questions), *(place for place in answers)]
    spec: dict[str, Any] = {}
    for place in dict.fromkeys(places):
        if place in answers or place in usual:
            put(spec, place, answers.get(place, usual.get(place)))
    return spec


def put(spec: dict[str, Any], place: str, value: Any) -> None:
    """Put a value at a place, as `settings.api_version`; raise `ValueError` where something else stands in the way."""
    *above, last = place.split(".")
    within = spec
    for name in above:
        within = within.setdefault(name, {})
        if not isinstance(within, dict):
            raise ValueError(f"{place}: {name} is no mapping")
    within[last] = value


def _number(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        return float(text)


def _flag(text: str) -> bool:
    text = text.strip()
    if text.lower() in {"yes", "y", "true"}:
        return True
    if text.lower() in {"no", "n", "false"}:
        return False
    raise ValueError(f"yes or no is expected, not {text!r}")


def _list(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _mapping(text: str) -> dict[str, str]:
    """Read `name=value` pairs; a name alone stands for itself."""
    found: dict[str, str] = {}
    for pair in _list(text):
        name, _, value = (part.strip() for part in pair.partition("="))
        if not name or name in found:
            raise ValueError(f"each is expected once, as name=value, not {pair!r}")
        found[name] = value or name
    return found


_READ: Mapping[Kind, Callable[[str], Any]] = {
    "text": str,
    "number": _number,
    "flag": _flag,
    "list": _list,
    "mapping": _mapping,
}
