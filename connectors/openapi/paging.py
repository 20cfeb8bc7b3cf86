"""How a list goes on: told from the names of parameters and of the answer's members, or by the document."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from connectors.openapi.settings import Pages
from connectors.openapi.shapes import Definitions, Shape, find

_SIZES = ("perpage", "limit", "pagesize", "maxresults", "pagelimit", "maxitems", "count", "size", "top", "first")
_TOKENS = (
    *("cursor", "nextcursor", "pagecursor", "startcursor", "pagetoken", "nextpagetoken", "nexttoken"),
    *("continuationtoken", "continue", "paginationtoken", "after", "token", "skiptoken", "marker", "starttoken"),
)
_ANSWERS = (
    *("nextcursor", "nextpagetoken", "nexttoken", "nextpagecursor", "continuationtoken", "nextcontinuationtoken"),
    *("continue", "endcursor", "nextmarker", "paginationtoken", "nextpage", "next", "after", "cursor"),
)
_LINKS = ("odatanextlink", "nextlink", "nexturl", "nextpageurl", "nexturi", "nextpageuri", "nexthref", "next")
_NUMBERS = ("page", "pagenumber", "pageno", "pageindex", "currentpage")
_OFFSETS = ("offset", "skip", "startat", "startindex", "start")
_MORE = ("hasmore", "hasnext", "hasnextpage", "more")


def plain_name(name: str) -> str:
    """Return a name without what spellings differ in: `per_page`, `page[size]`, `$top`."""
    return "".join(one for one in name.lower() if one.isalnum())


def detect(
    parameters: Sequence[Mapping[str, Any]],
    shape: Shape,
    definitions: Definitions,
    headers: Iterator[str],
    said: Pages | None,
) -> tuple[dict[str, Any] | None, set[str]]:
    """Return how a list goes on, and which parameters are not for agents then."""
    query = {plain_name(one["name"]): one for one in parameters if one["place"] == "query"}
    if said is not None:
        if said.by == "none":
            return None, set()
        as_said = said.model_dump(exclude_none=True) | {"first": 1 if said.by == "page" else 0}
        return as_said, {name for name in (said.parameter, said.size) if name}
    size = _first(query, _SIZES)
    found = _detected(query, shape, definitions, {name.lower() for name in headers})
    if found is None:
        return None, set()
    if size is not None:
        found |= {"size": size["name"], "most": _most(size)}
    others = (*_SIZES[:7], *_TOKENS, *_NUMBERS, *_OFFSETS)
    hidden = {one["name"] for name, one in query.items() if name in others and not one["required"]}
    return found, hidden | {found[name] for name in ("parameter", "size") if name in found}


def _detected(
    query: Mapping[str, Mapping[str, Any]], shape: Shape, definitions: Definitions, headers: set[str]
) -> dict[str, Any] | None:
    answers: dict[str, str] = {}
    for name, path in find(shape, definitions):
        answers.setdefault(plain_name(name), path)
    token, number, offset = (_first(query, names) for names in (_TOKENS, _NUMBERS, _OFFSETS))
    more = _first(answers, _MORE)
    last = query.get("startingafter")
    if last is not None and more is not None:
        return {"by": "last", "parameter": last["name"], "more": more}
    if token is not None and (found := _first(answers, _ANSWERS)) is not None:
        return {"by": "token", "parameter": token["name"], "found": found}
    if "link" in headers or "next-page" in headers:
        return {"by": "link"}
    if (found := _first(answers, _LINKS[:7])) is not None or (token is None and (found := answers.get("next"))):
        return {"by": "link", "found": found}
    if number is not None:
        return {"by": "page", "parameter": number["name"], "first": _start(number), **({"more": more} if more else {})}
    if offset is not None:
        return {"by": "offset", "parameter": offset["name"], **({"more": more} if more else {})}
    return {"by": "link"} if token is not None else None


def _first(known: Mapping[str, Any], names: Sequence[str]) -> Any:
    return next((known[name] for name in names if name in known), None)


def _most(parameter: Mapping[str, Any]) -> int:
    most = parameter["schema"].get("maximum")
    return min(most, 1000) if isinstance(most, int) and most > 0 else 100


def _start(parameter: Mapping[str, Any]) -> int:
    schema = parameter["schema"]
    return 0 if schema.get("default", schema.get("minimum", 1)) == 0 else 1
