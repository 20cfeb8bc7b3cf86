"""The files of another gateway: JSON, lines of JSON, or YAML; never anything that a file could have run."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

_LARGEST = 8 << 20


class NotReadable(ValueError):  # noqa: N818 - it says what the file is
    """The file cannot be read as what it should be."""


def values_of(file: Path) -> Iterator[Any]:
    """Yield what stands in a file; raise `NotReadable`."""
    try:
        if file.stat().st_size > _LARGEST:
            raise NotReadable("it is larger than 8 MB")
        text = file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise NotReadable(getattr(error, "strerror", None) or "it is no text") from None
    try:
        found = list(_parsed(text))
    except (YAMLError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        raise NotReadable("it is neither JSON nor YAML" + (f", line {mark.line + 1}" if mark else "")) from None
    if not all(isinstance(one, dict) for one in found):
        raise NotReadable("an object, or a list of objects, is expected")
    yield from found


def _parsed(text: str) -> Iterator[Any]:
    try:
        value = json.loads(text)
    except ValueError:
        lines = [line for line in text.splitlines() if line.strip()]
        if lines and all(line.lstrip().startswith("{") for line in lines):
            yield from (json.loads(line) for line in lines)
            return
        value = YAML(typ="safe", pure=True).load(text)
    yield from value if isinstance(value, list) else [value]
