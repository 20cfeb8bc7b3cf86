"""Where documents stand in their files, and which rules of policies name a connector: for commands that change them."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from broker.documents.source import Source, read_sources

_MARKER = re.compile(rb"^---(?=\s|$)", re.MULTILINE)  # YAML 1.2 §9.1.2: at the start of a line, nothing else is that


@dataclass(frozen=True, slots=True)
class Named:
    """A rule of a policy that names a connector: where it stands, and whether its policy names others too."""

    file: str
    line: int
    policy: str
    resource: str
    alone: bool

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: the policy {self.policy} names {self.resource}"


def rules_naming(contents: Mapping[str, bytes], connector: str) -> list[Named]:
    """Return the rules of policies that name a connector's resources, in the files of a set."""
    found: list[Named] = []
    for file, text in sorted(contents.items()):
        if file.lower().endswith((".yaml", ".yml")):
            for source in read_sources(text, file):
                if isinstance(source, Source) and source.value.get("kind") == "AgentPolicy":
                    found += _of_policy(source, connector)
    return found


def _of_policy(source: Source, connector: str) -> Iterator[Named]:
    rules = source.value["spec"].get("tools") or []
    names = [str(rule.get("resource", "")) for rule in rules]
    own = [name for name in names if name.startswith(f"{connector}.")]
    alone = len(own) == len(names) and not source.value["spec"].get("models")
    for number, name in enumerate(names):
        if name in own:
            line = source.line(("spec", "tools", number))
            yield Named(source.file, line, str(source.value["metadata"]["name"]), name, alone)


def without(text: bytes, file: str, gone: set[tuple[str, str]]) -> bytes | None:
    """Return a file's text without some of its documents, named by kind and name; None if none is left."""
    ends = [match.start() for match in _MARKER.finditer(text)]
    starts = [0, *ends] if not ends or text[: ends[0]].strip() else ends
    parts = [text[start:end] for start, end in zip(starts, [*starts[1:], len(text)], strict=True)]
    kept = [part for part in parts if not _names(part, file) & gone]
    return b"".join(kept) if any(_names(part, file) for part in kept) else None


def _names(text: bytes, file: str) -> set[tuple[str, str]]:
    return {
        (str(source.value.get("kind")), str((source.value.get("metadata") or {}).get("name")))
        for source in read_sources(text, file)
        if isinstance(source, Source) and isinstance(source.value, dict)
    }
