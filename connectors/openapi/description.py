"""A description as somebody wrote it: read, within bounds, and looked up in itself and nowhere else."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

LARGEST = 64 << 20  # bytes
_MOST_VALUES = 8_000_000  # aliases may make a small file enormous
_DEEPEST = 100
_MOST_HOPS = 20  # of references to references
_METHODS = ("get", "put", "post", "delete", "patch")
_PLAIN_PATH = re.compile(r"(/(?!\.{1,2}(?:[/;]|$))[A-Za-z0-9._~!$&'()*+,;=:@{}-]+)*/?")


@dataclass(frozen=True, slots=True)
class Described:
    """One operation as it is described, with what its path says of it."""

    method: str
    path: str
    node: Mapping[str, Any]
    shared: Mapping[str, Any]
    """What the path item says for all of its operations."""

    @property
    def name(self) -> str | None:
        """The operationId, where there is one."""
        name = self.node.get("operationId")
        return name if isinstance(name, str) else None

    @property
    def title(self) -> str:
        """How people write it: `GET /notes/{id}`."""
        return f"{self.method} {self.path}"

    @property
    def tags(self) -> list[str]:
        """The tags that it has."""
        return [tag for tag in listed(self.node.get("tags")) if isinstance(tag, str)]


class Description:
    """An OpenAPI 3.0 or 3.1, or a Swagger 2.0 description. References lead into itself; others lead nowhere."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self.root = root
        version = str(root.get("openapi") or root.get("swagger") or "")
        if not version.startswith(("2.0", "3.0", "3.1", "3.2")):
            raise ValueError(
                "it is no OpenAPI 3 or Swagger 2.0 description: 'openapi' or 'swagger' says no such version"
            )
        self.swagger = version.startswith("2.")
        self.nullable = version.startswith(("2.", "3.0"))
        """Whether null is said by `nullable`, as before JSON Schema 2020-12."""

    def operations(self) -> Iterator[Described]:
        """Yield every operation, in a fixed order."""
        paths = mapping(self.root.get("paths"))
        for path in sorted(name for name in paths if isinstance(name, str)):
            item = self.resolved(paths[path])
            if item is None or not path.startswith("/") or not _PLAIN_PATH.fullmatch(path):
                continue
            for method in _METHODS:
                if isinstance(item.get(method), Mapping):
                    yield Described(method.upper(), path, item[method], item)

    def resolved(self, node: Any) -> Mapping[str, Any] | None:
        """Follow references within the description; None for what leads out of it, or round in circles."""
        for _ in range(_MOST_HOPS):
            if not isinstance(node, Mapping):
                return None
            if "$ref" not in node:
                return node
            node = self.at(node["$ref"])
        return None

    def at(self, reference: Any) -> Any:
        """Return what a reference names (RFC 6901 §6); None where it names nothing of this description."""
        if not isinstance(reference, str) or not reference.startswith("#/"):
            return None
        node: Any = self.root
        for part in reference[2:].split("/"):
            key = unquote(part).replace("~1", "/").replace("~0", "~")
            if isinstance(node, Mapping):
                node = node.get(key)
            elif isinstance(node, list) and key.isdecimal() and int(key) < len(node):
                node = node[int(key)]
            else:
                return None
        return node

    def place(self) -> str:
        """Return the path below which the description's paths are, "" for none; hosts are the document's to say."""
        if self.swagger:
            base = self.root.get("basePath")
            return _plain_path(base if isinstance(base, str) else "")
        return _plain_path(_server(self.root.get("servers"))[1])

    def elsewhere(self, described: Described) -> bool:
        """Tell whether an operation has a server of its own: it is not where the others are."""
        own = described.node.get("servers") or described.shared.get("servers")
        return not self.swagger and bool(own) and _server(own) != _server(self.root.get("servers"))

    @property
    def title(self) -> str:
        """What the service is called."""
        return text(mapping(self.root.get("info")).get("title"), 100)


def read_description(content: bytes) -> Description:
    """Read JSON or YAML; raise `ValueError` with words for the administrator."""
    if len(content) > LARGEST:
        raise ValueError(f"the description is larger than {LARGEST >> 20} MiB")
    root = _json_or_yaml(content)
    _check_bounds(root)
    if not isinstance(root, Mapping):
        raise ValueError("the description is no object")
    return Description(root)


def _json_or_yaml(content: bytes) -> Any:
    try:
        if content.lstrip()[:1] == b"{":
            return json.loads(content)
        reader = YAML(typ="safe")
        reader.max_depth = _DEEPEST
        return reader.load(content)
    except (ValueError, YAMLError, RecursionError) as error:
        raise ValueError(f"the description is neither JSON nor YAML: {str(error).splitlines()[0][:200]}") from None


def _check_bounds(node: Any, depth: int = 0, known: dict[int, tuple[int, int]] | None = None) -> tuple[int, int]:
    """Return how many values there are below one, and how deep; raise `ValueError` where that is too much.

    What an alias names counts as often as it is named, and is looked through once.
    """
    known = {} if known is None else known
    if depth > _DEEPEST:
        raise ValueError(f"the description is nested more than {_DEEPEST} deep")
    if id(node) not in known:
        values, deepest = 1, 0
        for member in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
            if isinstance(member, dict | list):
                below = _check_bounds(member, depth + 1, known)
                values, deepest = values + below[0], max(deepest, below[1] + 1)
            else:
                values += 1
        known[id(node)] = values, deepest
    values, deepest = known[id(node)]
    if depth + deepest > _DEEPEST or values > _MOST_VALUES:
        raise ValueError(f"the description is nested more than {_DEEPEST} deep, or has over {_MOST_VALUES:,} values")
    return values, deepest


def _server(servers: Any) -> tuple[str, str]:
    """Return the host and path of the first of some servers."""
    first = mapping(next(iter(listed(servers)), None))
    url = str(first.get("url", ""))
    for name, variable in mapping(first.get("variables")).items():
        url = url.replace(f"{{{name}}}", str(mapping(variable).get("default", "")))
    try:
        parts = urlsplit(url)
    except ValueError:
        return "", ""
    return parts.netloc.lower(), parts.path.rstrip("/")


def _plain_path(path: str) -> str:
    path = path.rstrip("/")
    return path if _PLAIN_PATH.fullmatch(path) and "{" not in path else ""


def mapping(value: Any) -> Mapping[Any, Any]:
    """Return a value that should be a mapping, or an empty one."""
    return value if isinstance(value, Mapping) else {}


def word(value: Any) -> str:
    """Return a value that should be a word, or none."""
    return value if isinstance(value, str) else ""


def listed(value: Any) -> list[Any]:
    """Return a value that should be a list, or an empty one."""
    return value if isinstance(value, list) else []


def text(value: Any, most: int) -> str:
    """Return words of a description as one line of what people can see, cut where they go on for too long."""
    if not isinstance(value, str):
        return ""
    value = value[: most * 4]
    if not value.isprintable():
        value = "".join(one if one.isprintable() else " " for one in value)
    plain = " ".join(value.split())
    return plain if len(plain) <= most else plain[: most - 1].rstrip() + "…"
