"""Documents as YAML, as people write them."""

import io
from collections.abc import Sequence
from typing import Any

from ruamel.yaml import YAML


def as_yaml(documents: Sequence[Any]) -> str:
    """Return documents as one YAML text."""
    writer = YAML()
    writer.default_flow_style = False
    writer.width = 120
    parts = []
    for document in documents:
        out = io.StringIO()
        writer.dump(document, out)
        parts.append(out.getvalue())
    return "---\n".join(parts)
