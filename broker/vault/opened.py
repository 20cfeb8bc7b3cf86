"""One grant, opened for one attempt."""

from typing import Protocol, Self

from broker.audit import Record
from broker.egress import HeaderSecret, Secret
from broker.store import GrantRow
from broker.vault.matcher import SecretMatcher
from broker.vault.service import Service
from broker.vault.tokens import Issued


class Issues(Protocol):
    """Gives the current token of a grant."""

    async def issued(
        self, grant_id: str, service: Service, refused: Secret | None = None, scopes: tuple[str, ...] = ()
    ) -> Issued:
        """Return the grant's current token, another than the one that was `refused`."""
        ...


class Opened:
    """One grant, for one attempt; satisfies `egress.Authorization`. `scopes` are all that its token is good for."""

    def __init__(self, vault: Issues, row: GrantRow, service: Service, scopes: tuple[str, ...] = ()) -> None:
        self._vault = vault
        self._row = row
        self._service = service
        self._scopes = scopes
        self.matcher = SecretMatcher()
        self._used: Issued | None = None

    @property
    def grant(self) -> str:
        """The grant's id."""
        return self._row.id

    async def header(self) -> HeaderSecret:
        """Return the header's value that is current now."""
        return self._use(await self._vault.issued(self._row.id, self._service, None, self._scopes))

    async def renew(self, spent: Secret) -> None:
        """Have a new token issued, unless another call already has."""
        self._use(await self._vault.issued(self._row.id, self._service, spent, self._scopes))

    def record(self) -> Record | None:
        """Return what the trail keeps of the credential's use; None if it was not used."""
        if self._used is None:
            return None
        return {
            "grant": self._row.id,
            "kind": self._row.kind,
            "principal": self._row.principal,
            "fingerprint": self._used.fingerprint,
            "scopes": list(self._used.token.scopes),
        }

    def _use(self, issued: Issued) -> HeaderSecret:
        if issued is not self._used:
            self._used = issued
            self.matcher.add(issued.needles)
        return issued.header

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.matcher = SecretMatcher()  # the secrets' encodings go with the attempt


class NoCredential:
    """Stands where a service asks for no credential: nothing is opened, used or recorded."""

    grant = ""

    def __init__(self) -> None:
        self.matcher = SecretMatcher()

    async def header(self) -> None:
        """Return none."""

    async def renew(self, spent: Secret) -> None:
        """Do nothing: there is none to renew."""

    def record(self) -> Record | None:
        """Return that none was used."""
        return None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


Credential = Opened | NoCredential
"""What an attempt is made with."""
