"""Finding tools by words: the same words find the same tools in the same order, and nothing is remembered."""

import functools
import math
import re
from collections.abc import Iterable, Mapping, Sequence

from broker.catalog.tools import CatalogTool

_WORD = re.compile(r"[a-z0-9]+")
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")  # readFile is read and file
_NAMED, _DESCRIBED, _BEGUN = 3.0, 1.0, 0.5  # what a word counts: in a name, in a description; as its beginning only
_SHORTEST_BEGINNING = 3  # letters
_MOST_WORDS = 30


def found(tools: Sequence[CatalogTool], query: str, most: int) -> tuple[list[CatalogTool], bool]:
    """Return the tools that fit the words best, and whether there are more; all in their order where no word is given.

    A word counts the more, the fewer tools have it; a tool that has none of them is not found.
    """
    wanted = list(dict.fromkeys(_words(query)))[:_MOST_WORDS]
    if not wanted:
        return list(tools[:most]), len(tools) > most
    weights = {word: [_weight(word, _of(tool)) for tool in tools] for word in wanted}
    rare = {word: math.log(1 + len(tools) / (1 + sum(one > 0 for one in found))) for word, found in weights.items()}
    scores = [sum(rare[word] * weights[word][place] for word in wanted) for place in range(len(tools))]
    ranked = sorted(
        (-score, tool.name, place) for place, (score, tool) in enumerate(zip(scores, tools, strict=True)) if score
    )
    return [tools[place] for _, _, place in ranked[:most]], len(ranked) > most


def _weight(word: str, known: Mapping[str, float]) -> float:
    """Return what a word counts for a tool: the most that it does as itself, or as the beginning of another."""
    exact = known.get(word, 0.0)
    if exact == _NAMED or len(word) < _SHORTEST_BEGINNING:
        return exact
    return max(exact, _BEGUN * max((weight for one, weight in known.items() if one.startswith(word)), default=0.0))


@functools.lru_cache(maxsize=16384)
def _of(tool: CatalogTool) -> Mapping[str, float]:
    described = dict.fromkeys(_singular(_words(tool.tool.description)), _DESCRIBED)
    return described | dict.fromkeys(_singular(_words(f"{tool.name} {tool.resource} {tool.action}")), _NAMED)


def _words(text: str) -> list[str]:
    return _WORD.findall(_HUMP.sub(" ", text).lower())


def _singular(words: Iterable[str]) -> list[str]:
    """Return the words, and those that end in 's' without it: an account is looked for among accounts."""
    return [one for word in words for one in ((word, word[:-1]) if len(word) > 3 and word.endswith("s") else (word,))]  # noqa: PLR2004
