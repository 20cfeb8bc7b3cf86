"""The text of a rule as it stands, or stood, in its file: what a record names by policy and place."""

import re
from collections.abc import Iterator
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from broker.documents.files import LARGEST_DOCUMENT
from broker.documents.source import DEEPEST, Place

_PLACE = re.compile(r"[a-z_]{1,50}(\[\d{1,6}\])?(\.[a-z_]{1,50}(\[\d{1,6}\])?){0,8}")
_PART = re.compile(r"([a-z_]+)|\[(\d+)\]")
_LONGEST = 20_000  # characters


def rule_text(content: bytes, policy: str, place: str) -> str | None:
    """Return the lines of a YAML file that make up the rule at a place of a policy, numbered, the deciding ones marked.

        12      - resource: salesforce.accounts
        13        actions: [read, search]
      > 14        deny: [export]

    `place` is as records have it, `tools[0].deny`: the text is that of `tools[0]`. None if the file has no such rule.
    """
    try:
        text = content[:LARGEST_DOCUMENT].decode()
        root = _policy(text, policy)
        parts = _parts(place)
        if root is None or not parts:
            return None
        start, item = _at(root, ("spec", *_item(parts)))
        marked, decides = _at(root, ("spec", *parts))
    except (ValueError, YAMLError, LookupError, RecursionError):
        return None
    deciding = range(marked, max(_last_line(decides, marked), marked) + 1)
    numbers = range(start, max(_last_line(item, start), start, *deciding) + 1)
    return _numbered(text, numbers, deciding)[:_LONGEST]


def _policy(text: str, name: str) -> Node | None:
    reader = YAML(typ="safe", pure=True)
    reader.max_depth = DEEPEST
    reader.composer.warn_double_anchors = False
    nodes: Iterator[Node] = reader.compose_all(text)
    for node in nodes:
        if _scalar(node, "kind") == "AgentPolicy" and _scalar(node, "metadata", "name") == name:
            return node
    return None


def _scalar(node: Node, *place: str) -> str | None:
    try:
        found = _at(node, place)[1]
    except LookupError:
        return None
    return str(found.value) if isinstance(found, ScalarNode) else None


def _parts(place: str) -> Place:
    """Return `tools[0].deny` as ("tools", 0, "deny"); nothing for what is no place."""
    if not _PLACE.fullmatch(place):
        return ()
    return tuple(name or int(number) for name, number in _PART.findall(place))


def _item(parts: Place) -> Place:
    """Return the place of the whole rule: up to the last number, or the member itself if there is none."""
    numbers = [position for position, part in enumerate(parts) if isinstance(part, int)]
    return parts[: numbers[-1] + 1] if numbers else parts[:1]


def _at(node: Node, place: Place) -> tuple[int, Node]:
    """Return the line, from 0, on which what stands at a place begins, its key included, and its node."""
    line = node.start_mark.line
    for part in place:
        if isinstance(part, int) and isinstance(node, SequenceNode):
            node = node.value[part]
            line = node.start_mark.line
        elif isinstance(part, str) and isinstance(node, MappingNode):
            line, node = _member(node, part)
        else:
            raise LookupError(part)
    return line, node


def _member(node: MappingNode, name: str) -> tuple[int, Node]:
    for key, value in node.value:
        if key.value == name:
            return key.start_mark.line, value
    raise LookupError(name)


def _last_line(node: Node, start: int) -> int:
    """Return the last line of what begins on a line; what an alias refers to stands elsewhere, before it."""
    return max((end for begin, end in _leaves(node, set()) if begin >= start), default=start)


def _leaves(node: Any, seen: set[int]) -> Iterator[tuple[int, int]]:
    """Yield the first and last line of everything below a node that has an end of its own, each once."""
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, ScalarNode) or node.flow_style or not node.value:
        end = node.end_mark
        yield node.start_mark.line, end.line if end.column else max(end.line - 1, node.start_mark.line)
        return
    for member in node.value:
        for one in member if isinstance(member, tuple) else (member,):
            yield from _leaves(one, seen)


def _numbered(text: str, numbers: range, deciding: range) -> str:
    lines = text.splitlines()
    width = len(str(numbers[-1] + 1))
    return "\n".join(
        f"{'>' if number in deciding else ' '} {number + 1:>{width}}  {lines[number]}".rstrip()
        for number in numbers
        if number < len(lines)
    )
