"""One value as YAML writes it, for commands that take values of documents."""

from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError


def read_scalar(text: str) -> Any:
    """Return what a text means in a document: a number, a flag, a list in brackets, or the text itself."""
    try:
        return YAML(typ="safe", pure=True).load(text)
    except YAMLError as error:
        raise ValueError(f"{text!r} is no value of a document") from error
