"""Access and refresh tokens, and the sessions that they stand for.

A session ends by its timeout, or when it is revoked; a refresh token lives until it is revoked or, where the app
rotates them, until it is used. Revoking a refresh token ends every session that came of it (Salesforce Help, "Revoke
OAuth Tokens").
"""

import re
import secrets
import time
from dataclasses import dataclass
from string import ascii_letters, digits
from typing import Final

from broker.testing.salesforce.ids import record_id
from broker.testing.salesforce.users import FIRST_NUMBER, Person

ORGANIZATION_ID: Final = record_id("00D", FIRST_NUMBER)
_ALPHABET: Final = ascii_letters + digits + "._"
_TOKEN_LENGTH: Final = 96
_REFRESH_LENGTH: Final = 87


class TokenMint:
    """Makes tokens that look like the real ones and remembers every one: `minted` are those that open the API.

    00D...!AQ...  an access token
    5Aep861...    a refresh token, in `renewing`
    aPrx...       an authorization code, in `codes`

    Each carries `canary` in clear, so that a leak can be looked for without knowing the token.
    """

    def __init__(self, canary: str) -> None:
        if not re.fullmatch(r"[A-Za-z0-9._]{1,32}", canary):
            raise ValueError("A canary has 1 to 32 of the characters that an access token has: A-Z a-z 0-9 . _")
        self._canary = canary
        self.minted: list[str] = []
        self.renewing: list[str] = []
        self.codes: list[str] = []

    def mint(self) -> str:
        """Make an access token that no one can guess."""
        self.minted.append(f"{ORGANIZATION_ID[:15]}!{self._random('AQ', _TOKEN_LENGTH)}")
        return self.minted[-1]

    def mint_refresh(self) -> str:
        """Make a refresh token."""
        self.renewing.append(self._random("5Aep861", _REFRESH_LENGTH))
        return self.renewing[-1]

    def mint_code(self) -> str:
        """Make an authorization code."""
        self.codes.append(self._random("aPrx", _REFRESH_LENGTH))
        return self.codes[-1]

    def _random(self, head: str, length: int) -> str:
        head += self._canary
        return head + "".join(secrets.choice(_ALPHABET) for _ in range(length - len(head)))


@dataclass(frozen=True, slots=True)
class Approval:
    """That one person let the app act for them, with these scopes; `key` tells two approvals apart."""

    person: Person
    scope: str
    key: str


@dataclass(frozen=True, slots=True)
class Session:
    """What an access token opens, and until when."""

    approval: Approval
    end: float


class Sessions:
    """Every session that is open and every refresh token that lives."""

    def __init__(self, mint: TokenMint, seconds: float) -> None:
        self._mint = mint
        self.seconds = seconds
        self._open: dict[str, Session] = {}
        self._renewing: dict[str, Approval] = {}

    def open(self, person: Person, scope: str) -> tuple[str, Approval]:
        """Open a session of a new approval; return its access token."""
        approval = Approval(person, scope, secrets.token_hex(8))
        return self.reopen(approval), approval

    def reopen(self, approval: Approval) -> str:
        """Open one more session of an approval; return its access token."""
        token = self._mint.mint()
        self._open[token] = Session(approval, time.time() + self.seconds)
        return token

    def renewable(self, approval: Approval) -> str:
        """Make a refresh token for an approval."""
        token = self._mint.mint_refresh()
        self._renewing[token] = approval
        return token

    def renews(self, refresh_token: str) -> Approval | None:
        """Return what a refresh token stands for, if it lives."""
        return self._renewing.get(refresh_token)

    def spend(self, refresh_token: str) -> None:
        """End a refresh token that was rotated; the sessions that came of it go on."""
        self._renewing.pop(refresh_token, None)

    def live(self, token: str) -> Session | None:
        """Return the session that an access token opens, if it has not ended."""
        session = self._open.get(token)
        return session if session is not None and time.time() < session.end else None

    def revoke(self, token: str) -> bool:
        """End a session, or a refresh token with all sessions that came of it; False where there is nothing to end."""
        approval = self._renewing.get(token)
        if approval is None:
            return self._open.pop(token, None) is not None
        self._renewing = {name: other for name, other in self._renewing.items() if other.key != approval.key}
        self._open = {name: session for name, session in self._open.items() if session.approval.key != approval.key}
        return True

    def expire(self) -> None:
        """End every session by its timeout, as if the time had passed; refresh tokens live on."""
        self._open = {token: Session(session.approval, 0.0) for token, session in self._open.items()}

    def forget(self) -> None:
        """Forget every session and refresh token, as an administrator does who revokes the app's access."""
        self._open, self._renewing = {}, {}
