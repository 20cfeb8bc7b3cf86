"""What a connector's function is given for a database: one statement at a time, each in a transaction of its own."""

from collections.abc import Sequence
from typing import Any, Literal, NoReturn

from broker.egress.client import Dispatch, Limits, Response
from broker.egress.database import postgres, sqlite
from broker.egress.database.permitted import Changed, Permitted, Rows
from broker.egress.database.place import DatabasePlace
from broker.egress.reach import Reach
from broker.egress.session import Authorization, Session
from broker.errors import EgressDenied


class DatabaseSession(Session):
    """One database for one attempt. What speaks HTTP has no business here."""

    def __init__(
        self, place: DatabasePlace, reach: Reach, limits: Limits, authority: str | None, authorization: Authorization
    ) -> None:
        self._place = place
        self._reach = reach
        self._limits = limits
        self._authority = authority
        self._authorization = authorization
        self._dispatch = Dispatch()

    @property
    def base_url(self) -> str:
        """Nothing that could be called."""
        return ""

    @property
    def dialect(self) -> Literal["postgres", "sqlite"]:
        """Whose SQL it takes."""
        return self._place.dialect

    async def send(self, *_positional: Any, **_named: Any) -> Response:
        """Refuse."""
        self._no_http()

    async def call(self, *_positional: Any, **_named: Any) -> Response:
        """Refuse."""
        self._no_http()

    def _no_http(self) -> NoReturn:
        raise EgressDenied(detail="this session is of a database, not of a service")

    async def read(
        self, statement: str, parameters: Sequence[Any], most: int, permitted: Permitted | None = None
    ) -> Rows:
        """Run one statement in a transaction that only reads, for as long as the limits let it; return its first rows.

        `permitted` is None for a statement that no agent has a hand in: of the connector's own about the catalogue.
        """
        if self._place.dialect == "sqlite":
            return await sqlite.read(self._file, self._limits, self._dispatch, statement, parameters, most, permitted)
        async with postgres.connected(self._place, self._reach, self._limits, self._authority, self._authorization) as (
            connection
        ):
            return await postgres.read(connection, self._limits, self._dispatch, statement, parameters, most)

    async def write(self, statement: str, parameters: Sequence[Any], changed: Changed, permitted: Permitted) -> None:
        """Run one statement that changes rows; it is final if `changed` lets what it did pass, and undone otherwise."""
        if self._place.dialect == "sqlite":
            await sqlite.write(self._file, self._limits, self._dispatch, statement, parameters, changed, permitted)
            return
        async with postgres.connected(self._place, self._reach, self._limits, self._authority, self._authorization) as (
            connection
        ):
            await postgres.write(connection, self._limits, self._dispatch, statement, parameters, changed)

    @property
    def _file(self) -> str:
        return str(self._place.file)
