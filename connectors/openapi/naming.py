"""What an operation is called: its resource and action, from its path and method."""

import hashlib
import re
from collections.abc import Iterator

READING = frozenset({"read", "search", "list", "get", "find", "describe", "export", "query", "count"})
"""Actions that policies take for harmless: what writes is called otherwise."""
_LONGEST = 45  # characters of a resource and an action together, so that connectors' names have room
_LEAST = 10
_WORD_ENDS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_NO_WORD = re.compile(r"[^a-z0-9]+")
_OF_METHODS = {"PUT": "update", "PATCH": "update", "DELETE": "delete"}


def words(name: str) -> list[str]:
    """Return the words of a name, however it joins them: `listForRepo`, `issues/list-for-repo`."""
    return [one for one in _NO_WORD.split(_WORD_ENDS.sub("_", name).lower()) if one]


def resource_word(name: str) -> str:
    """Return what policies can call a resource."""
    word = "_".join(words(name))[:31].strip("_")
    return word if word[:1].isalpha() else f"r_{word}"[:31].strip("_")


def segments(path: str) -> list[str]:
    """Return the parts of a path, parameters without their names."""
    return ["{}" if "{" in part else part for part in path.strip("/").split("/") if part]


def verb(method: str, path: str, name: str | None, *, lists: bool, paths: frozenset[tuple[str, str]]) -> str | None:
    """Return what an operation does to what its path names; None where only its name can tell.

    `lists` says whether it answers with a list, `paths` which methods and paths there are, parameters without names.
    """
    parts = segments(path)
    one = bool(parts) and parts[-1] == "{}"
    plain = "/".join(parts)
    members = ("ANY", f"{plain}/{{}}") in paths
    if method == "GET":
        return "read" if one or not (lists or members) else "search"
    if method == "POST":
        if one:
            return "update" if ("GET", plain) in paths else None
        return "create" if members or (("GET", plain) in paths and _creates(name)) else None
    if method == "PUT" and ("PATCH", plain) in paths:
        return "replace"
    if method == "DELETE" and members and not one:
        return "delete_all"
    return _OF_METHODS[method]


def _creates(name: str | None) -> bool:
    return name is None or bool({"create", "add", "post", "new"} & set(words(name)))


def known_paths(operations: list[tuple[str, str]]) -> frozenset[tuple[str, str]]:
    """Return methods and paths in the form in which `verb` asks for them."""
    plain = {(method, "/".join(segments(path))) for method, path in operations}
    return frozenset(plain | {("ANY", path) for _, path in plain})


def candidates(action: str | None, method: str, path: str, name: str | None, resource: str) -> Iterator[str]:
    """Yield what an action could be called, the shortest first; the last is nobody else's."""
    own = resource.rsplit("_", maxsplit=1)[-1]
    fixed = [part for part in segments(path) if part != "{}"]
    after = _after(fixed, own)
    said = [one for one in words(name or "") if one not in words(resource) or one in READING]
    if action is None:
        plain = said or [*words(after[-1] if after else ""), method.lower()]
        action = "_".join(plain)
        if action in READING:
            action = f"{method.lower()}_{action}"
        yield action
    else:
        yield "_".join([action, *(word for part in after for word in words(part))])
        if said and set(said) & set(words(action)):
            yield "_".join(said)
    yield "_".join([action, *(word for part in fixed for word in words(part))])
    yield f"{action}_{hashlib.sha256(f'{method} {path}'.encode()).hexdigest()[:8]}"


def fitting(action: str, resource: str) -> str:
    """Return an action's name in a length that leaves room; what is cut off is told apart by a hash of it."""
    most = max(_LONGEST - len(resource), _LEAST)
    action = action if action[:1].isalpha() else f"a_{action}"
    if len(action) <= most:
        return action
    digest = hashlib.sha256(action.encode()).hexdigest()[:6]
    return f"{action[: most - 7].rstrip('_')}_{digest}"


def _after(fixed: list[str], own: str) -> list[str]:
    """Return the fixed parts of a path behind the one that names the resource; the last one where none does."""
    for position in range(len(fixed) - 1, -1, -1):
        if _singular(own) in {_singular(word) for word in words(fixed[position])}:
            return fixed[position + 1 :]
    return fixed[-1:]


def _singular(word: str) -> str:
    if word.endswith("ies"):
        return word[:-3] + "y"
    return word.removesuffix("s")
