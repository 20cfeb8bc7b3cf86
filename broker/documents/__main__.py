"""Writes the JSON Schemas of all kinds of documents, for editors: `python -m broker.documents policies/schemas`.

An editor that knows YAML Language Server comments reads the schema that a document's first line names:

    # yaml-language-server: $schema=schemas/AgentPolicy.json
"""

import json
import sys
from pathlib import Path

from broker.documents.models import KINDS, schema


def write_schemas(directory: Path) -> list[Path]:
    """Write one file for each kind, and return their paths."""
    directory.mkdir(parents=True, exist_ok=True)
    written = []
    for kind in KINDS:
        path = directory / f"{kind}.json"
        path.write_text(json.dumps(schema(kind), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        written.append(path)
    return written


if __name__ == "__main__":
    if len(sys.argv) != 2:  # noqa: PLR2004 - the program and its one argument
        sys.exit("usage: python -m broker.documents DIRECTORY")
    for written_path in write_schemas(Path(sys.argv[1])):
        sys.stdout.write(f"{written_path}\n")
