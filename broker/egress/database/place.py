"""Where a database is: a server's host and port, or a file of this machine.

postgresql://db.example.com:5432/crm
postgresql://127.0.0.1/crm?sslmode=disable
sqlite:data/crm.db
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

_SERVER = re.compile(
    r"postgresql://([A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?)(?::([0-9]{1,5}))?/([A-Za-z0-9_][A-Za-z0-9_.-]{0,62})"
    r"(\?sslmode=(?:verify-full|disable))?"
)
_FILE = "sqlite:"
_PORT = 5432
_LAST_PORT = 65535


@dataclass(frozen=True, slots=True)
class DatabasePlace:
    """One database. `plain` says that the way to it is not encrypted: to a private address that is named only."""

    dialect: Literal["postgres", "sqlite"]
    host: str = ""
    port: int = 0
    name: str = ""
    plain: bool = False
    file: Path | None = None

    @property
    def origin(self) -> str:
        """Host and port, as a reach names them; nothing for a file."""
        return f"{self.host}:{self.port}" if self.host else ""


def database_place(url: str, directory: Path | None = None) -> DatabasePlace | None:
    """Return the database that a URL names, its file below a directory; None for the URL of anything else.

    Raises `ValueError`, with words for the URL's author, for one that names a database and cannot be read.
    """
    if url.startswith(_FILE):
        path = Path(url.removeprefix(_FILE))
        return DatabasePlace("sqlite", file=path if directory is None else directory / path)
    if not url.startswith("postgresql:"):
        return None
    found = _SERVER.fullmatch(url)
    if found is None or not 0 < int(found[3] or _PORT) <= _LAST_PORT:
        raise ValueError("is not a URL of a database: postgresql://host[:port]/database, with no user or password")
    plain = found[5] == "?sslmode=disable"
    return DatabasePlace("postgres", found[1].lower(), int(found[3] or _PORT), found[4], plain)
