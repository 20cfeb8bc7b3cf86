"""YAML documents with their places: plain values, and the line on which each of them stands."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError

LARGEST_FILE = 4 << 20  # bytes; also a snapshot's
_MOST_VALUES = 200_000  # aliases may make a small file enormous

Path_ = tuple[str | int, ...]


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing that is wrong: where, what, and what to write instead."""

    file: str
    line: int
    key: str
    message: str
    severity: Literal["error", "warning"] = "error"

    def __str__(self) -> str:
        key = f" {self.key}:" if self.key else ""
        return f"{self.file}:{self.line}:{key} {self.message}"


@dataclass(frozen=True, slots=True)
class Source:
    """One YAML document as it stands in its file.

    `lines` maps paths such as ('spec', 'tools', 0) to lines, from 1; `digest` is the SHA-256 of the whole file, as
    `sha256sum` prints it.
    """

    file: str
    value: Any
    lines: Mapping[Path_, int]
    digest: str

    def line(self, path: Path_) -> int:
        """Return the line of a path, or of the nearest thing around it that is there."""
        while path not in self.lines and path:
            path = path[:-1]
        return self.lines.get(path, 1)

    def problem(self, path: Path_, message: str, severity: Literal["error", "warning"] = "error") -> Problem:
        """Return a problem at a path of this document."""
        key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")
        return Problem(self.file, self.line(path), key, message, severity)


def read_sources(text: bytes, file: str) -> Iterator[Source | Problem]:
    """Yield every document of a YAML file, or the problem that keeps the rest of it from being read."""
    if len(text) > LARGEST_FILE:
        yield Problem(file, 1, "", f"the file is larger than {LARGEST_FILE} bytes")
        return
    reader = YAML(typ="rt", pure=True)
    digest = hashlib.sha256(text).hexdigest()
    try:
        for value in reader.load_all(text.decode()):
            if value is not None:
                lines: dict[Path_, int] = {(): value.lc.line + 1 if hasattr(value, "lc") else 1}
                plain = _plain(value, (), lines)
                yield Source(file, plain, lines, digest)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        yield Problem(file, mark.line + 1 if mark else 1, "", f"this is not YAML: {error.problem or error.context}")
    except (YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        yield Problem(file, 1, "", f"this is not YAML: {error}")


def yaml_files(directory: Path) -> list[Path]:
    """Return the YAML files of a set of documents: everything below the directory but what is hidden."""
    return sorted(
        path
        for path in directory.rglob("*.y*ml")
        if path.suffix in {".yaml", ".yml"}
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(directory).parts)
    )


def _plain(value: Any, path: Path_, lines: dict[Path_, int]) -> Any:
    if len(lines) > _MOST_VALUES:
        raise ValueError("the document has too many values")
    if isinstance(value, CommentedMap):
        result = {}
        for key in value:
            if not isinstance(key, str):
                raise ValueError(f"line {value.lc.key(key)[0] + 1}: the key {key!r} is not text; put it in quotes")
            lines[*path, str(key)] = value.lc.key(key)[0] + 1
            result[str(key)] = _plain(value[key], (*path, str(key)), lines)
        return result
    if isinstance(value, CommentedSeq):
        for number in range(len(value)):
            lines[*path, number] = value.lc.item(number)[0] + 1
        return [_plain(member, (*path, number), lines) for number, member in enumerate(value)]
    for kind in (bool, int, float, str):  # the reader's own scalar types keep formatting that nobody needs here
        if isinstance(value, kind):
            return kind(value)
    return value
