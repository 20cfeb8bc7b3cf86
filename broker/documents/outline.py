"""What a set says, document by document: enough to tell which of them another set added, removed or changed."""

import hashlib
import json
from collections.abc import Iterable, Mapping

from broker.documents.parse import Document

Outline = Mapping[tuple[str, str], str]
"""The SHA-256 of what a document says, by (kind, name); how it is laid out, and its comments, do not matter."""


def outline(documents: Iterable[Document]) -> Outline:
    """Return the outline of documents that are right in themselves."""
    return {(document.kind, document.name): _digest(document) for document in documents}


def _digest(document: Document) -> str:
    said = json.dumps(document.source.value, sort_keys=True, default=str)  # str: moments
    return hashlib.sha256(said.encode()).hexdigest()
