"""Which resource an operation belongs to, by what the document maps: paths, tags, operationIds, single operations.

issues: /repos/{owner}/{repo}/issues      # this path and all below it; the longest that fits counts
teams: "tag:teams"                        # what has the tag
search: "operation:search/*, GET /rate_limit"
"""

import fnmatch
import re
from collections.abc import Mapping
from dataclasses import dataclass

from connectors.openapi.description import Described
from connectors.openapi.naming import resource_word, segments
from connectors.openapi.settings import Settings

_ONE = re.compile(r"(GET|PUT|POST|DELETE|PATCH) (/\S*)")
_VERSION = re.compile(r"v\d+([a-z]\w*)?|\d+(\.\d+)*|apis?|rest|latest")


@dataclass(frozen=True, slots=True)
class _Selector:
    resource: str
    kind: str
    value: str
    parts: tuple[str, ...] = ()

    def weight(self, described: Described) -> int:
        """Return how closely it fits an operation; 0 where it does not."""
        if self.kind == "one":
            return 4000 if described.title == self.value else 0
        if self.kind == "operation":
            return 3000 if described.name and fnmatch.fnmatchcase(described.name, self.value) else 0
        if self.kind == "path":
            parts = segments(described.path)
            return 1000 + len(self.parts) if tuple(parts[: len(self.parts)]) == self.parts else 0
        return 2000 if self.value in described.tags else 0


class Selection:
    """Finds the resource of each operation. Raises `ValueError` for what selects nothing that there could be."""

    def __init__(self, resources: Mapping[str, str], settings: Settings) -> None:
        self._selectors = [
            _selector(resource, one) for resource, several in resources.items() for one in _split(several)
        ]
        self._others = settings.others
        self._taken = frozenset(resources)

    def resource(self, described: Described) -> str | None:
        """Return the resource of an operation, or None for one that is left out; of equals, the first counts."""
        best, weight = None, 0
        for selector in self._selectors:
            if (found := selector.weight(described)) > weight:
                best, weight = selector.resource, found
        return best or self._other(described)

    def _other(self, described: Described) -> str | None:
        if self._others == "left-out":
            return None
        if self._others == "by-tag" and described.tags:
            word = resource_word(described.tags[0])
        else:
            fixed = [one for one in segments(described.path) if one != "{}" and not _VERSION.fullmatch(one)]
            word = resource_word(fixed[0]) if fixed else "root"
        return f"{word[:25]}_other" if word in self._taken else word


def _split(text: str) -> list[str]:
    return [one.strip() for one in text.split(",") if one.strip()]


def _selector(resource: str, text: str) -> _Selector:
    kind, _, value = text.partition(":")
    if text.startswith("/"):
        return _Selector(resource, "path", text, tuple(segments(text)))
    if _ONE.fullmatch(text):
        return _Selector(resource, "one", text)
    if kind in {"tag", "operation"} and value:
        return _Selector(resource, kind, value.strip())
    raise ValueError(
        f"resources.{resource}: {text!r} is neither a path ('/notes'), a tag ('tag:notes'), operationIds "
        "('operation:notes/*') nor one operation ('GET /notes')"
    )
