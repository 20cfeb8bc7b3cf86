"""How a daemon is asked to serve, and what it says once it does."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from broker.connector.installed import find_connector
from broker.documents import FindConnector, Snapshot


@dataclass(frozen=True, slots=True)
class Options:
    """How to serve: which documents, and what the command line adds to them."""

    directory: Path
    development: bool = False
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    find: FindConnector = find_connector


@dataclass(frozen=True, slots=True)
class Serving:
    """What a daemon says of itself once every door is open."""

    http: str
    agents_socket: Path
    operators_socket: Path
    proxy: str | None
    documents: Snapshot
    development: bool
    records: int
    unfinished: list[str]
    grants: Mapping[str, str]
    metrics: str | None = None
