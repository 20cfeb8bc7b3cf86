"""Delegations: an identity assertion is used once, on record, for a token that says on whose behalf an agent acts."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from broker.audit import Record, new_id, timestamp
from broker.errors import AssertionReplayed, ProofUntrusted
from broker.identity import Assertion, AssertionVerifier, IssuedTokens, WorkloadIdentity
from broker.store import Store, Transaction

_TOKEN_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """What a client gets: shown to it and to nobody else."""

    text: str
    seconds: int
    scopes: tuple[str, ...]


class Delegations:
    """Exchanges identity assertions for access tokens."""

    def __init__(
        self, store: Store, verifier: AssertionVerifier, tokens: IssuedTokens, clock: Callable[[], float] = time.time
    ) -> None:
        self._store = store
        self._verifier = verifier
        self._tokens = tokens
        self._clock = clock

    async def exchange(self, text: str, client: WorkloadIdentity) -> IssuedToken:
        """Return a token for the client that an assertion names, if that is the client who asks.

        Raises `Unauthenticated` or `AgentBarred`; `AssertionReplayed` for what was used before, also before a restart.
        """
        now = self._clock()
        assertion = self._verifier.verify(text, now)
        if assertion.workload != client.spiffe_id:
            raise ProofUntrusted(detail="the assertion was issued to another client")
        await self._store.commits.commit(lambda change: self._use(change, assertion, client, now))
        seconds = min(_TOKEN_SECONDS, (client.expires_at or now + _TOKEN_SECONDS) - now)
        identity = replace(
            client,
            method="id-jag",
            token_id=assertion.id,
            expires_at=now + seconds,
            on_behalf_of=assertion.on_behalf_of,
            issuer=assertion.issuer,
            subject=assertion.on_behalf_of.subject,
        )
        return IssuedToken(self._tokens.issue(identity), int(seconds), assertion.scopes)

    def _use(self, change: Transaction, assertion: Assertion, client: WorkloadIdentity, now: float) -> None:
        used = self._store.assertions.use
        if not used(change, assertion.issuer, assertion.id, assertion.expires_at, now):
            raise AssertionReplayed
        if client.token_id is not None:  # a client assertion that says that it is one of a kind (RFC 7523 §3)
            name = f"client {client.spiffe_id}"
            if not used(change, name, client.token_id, client.expires_at or now, now):
                raise AssertionReplayed("The client assertion has been used before; sign a new one.")
        self._store.trail.append(change, _event(assertion, client))


def _event(assertion: Assertion, client: WorkloadIdentity) -> Record:
    delegated = assertion.on_behalf_of
    return {
        "id": new_id(),
        "time": timestamp(),
        "kind": "delegation_added",
        "identity": {
            "spiffe_id": client.spiffe_id,
            "method": client.method,
            "assurance": client.assurance,
            "proof": client.proof,
            "on_behalf_of": {"iss": delegated.issuer, "sub": delegated.subject, "method": delegated.method},
        },
        "delegation": {"issuer": assertion.issuer, "id": assertion.id},
    }
