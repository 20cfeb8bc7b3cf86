"""Access tokens in use: one for each grant, place and set of scopes, however many calls want it."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from broker import oauth
from broker.egress import HeaderSecret, Secret
from broker.errors import Refusal, Upstream
from broker.vault.matcher import Needles

_RENEW_EARLY = 60.0  # seconds before a known expiry, at least; less for a token that lives for minutes only
_JITTER = 0.1
_FIRST_WAIT, _LONGEST_WAIT = 1.0, 60.0  # seconds, after the second failure in a row


@dataclass(frozen=True, slots=True)
class Issued:
    """An access token in use, with what every attempt needs of it, worked out once.

    `early` is how long before its end it is renewed: with a jitter, so that not all grants are renewed at once.
    """

    token: oauth.Token
    header: HeaderSecret
    fingerprint: str
    needles: Needles = field(repr=False)
    early: float = _RENEW_EARLY

    def is_spent(self, refused: Secret | None) -> bool:
        """Tell whether it is about to expire, or is the one that the service has refused."""
        if self.token.expires_at is not None:
            early = min(self.early, (self.token.expires_at - self.token.issued_at) / 10)
            if time.time() >= self.token.expires_at - early:
                return True
        return self.header == refused

    def is_alive(self, refused: Secret | None) -> bool:
        """Tell whether it is still good for a call, though it should be renewed."""
        end = self.token.expires_at
        return self.header != refused and (end is None or time.time() < end)


def earliness() -> float:
    """Return how early a token is renewed: a minute at least, with a jitter of a tenth."""
    return _RENEW_EARLY * (1 + 2 * _JITTER * random.random())  # noqa: S311 - no secret


Key = tuple[str, str, str, tuple[str, ...]]  # grant, token endpoint, audience, scopes
Issue = Callable[[], Awaitable[Issued]]
"""Has a token issued; everything of it that must be durable is so once it returns."""


@dataclass(slots=True)
class _Trouble:
    """A token endpoint that fails: how often in a row, and until when it is left alone."""

    failures: int = 0
    until: float = 0.0
    last: Refusal | None = None


class Tokens:
    """Keeps the tokens in use, in memory only, and has each issued once."""

    def __init__(self) -> None:
        self._issued: dict[Key, Issued] = {}
        self._issuing: dict[Key, asyncio.Task[Issued]] = {}
        self._trouble: dict[Key, _Trouble] = {}

    async def current(self, key: Key, refused: Secret | None, issue: Issue) -> Issued:
        """Return the token; have one issued if there is none, or it is about to expire, or was `refused`.

        However many calls wait, the service is asked once, and all of them share what comes of it. A call that stops
        waiting stops nobody else. Where the service fails, a token that still lives is used on, and the service is
        asked again only after a while that grows.
        """
        if (issued := self._issued.get(key)) is not None and not issued.is_spent(refused):
            return issued
        failure: Refusal
        try:
            self._check_trouble(key)
            if (issuing := self._issuing.get(key)) is None:
                issuing = self._issuing[key] = asyncio.create_task(self._issue(key, issue))
                issuing.add_done_callback(lambda _: self._issuing.pop(key))
            return await asyncio.shield(issuing)
        except Upstream as trouble:
            if issued is not None and issued.is_alive(refused):
                return issued
            failure = trouble.anew()
        except Refusal as refusal:
            failure = refusal.anew()
        raise failure

    async def forget(self, grant_id: str) -> list[oauth.Token]:
        """Take a grant's tokens out of use and return them, those that are just being issued included."""
        if under_way := [task for key, task in self._issuing.items() if key[0] == grant_id]:
            await asyncio.wait(under_way)
        self._trouble = {key: trouble for key, trouble in self._trouble.items() if key[0] != grant_id}
        return [self._issued.pop(key).token for key in list(self._issued) if key[0] == grant_id]

    def _check_trouble(self, key: Key) -> None:
        trouble = self._trouble.get(key)
        if trouble is not None and trouble.last is not None and time.monotonic() < trouble.until:
            raise trouble.last.anew()

    async def _issue(self, key: Key, issue: Issue) -> Issued:
        try:
            issued = await issue()
        except Upstream as failure:
            trouble = self._trouble.setdefault(key, _Trouble())
            trouble.failures += 1
            trouble.last = failure.anew()
            if trouble.failures > 1:
                wait = min(_LONGEST_WAIT, _FIRST_WAIT * 2.0 ** min(trouble.failures - 2, 16))
                trouble.until = time.monotonic() + wait * (0.5 + random.random() / 2)  # noqa: S311 - no secret
            raise
        self._trouble.pop(key, None)
        self._issued[key] = issued
        return issued
