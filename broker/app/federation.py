"""Issuers besides the trust domains: their keys kept fresh, their tokens verified, as the documents in force say."""

import time
from collections.abc import Mapping

from broker.documents import Documents, Snapshot
from broker.documents.snapshot import Server
from broker.doors.token import authorization_server
from broker.egress import Client, Egress, Limits, Reach
from broker.identity import (
    AssertionVerifier,
    FederatedVerifier,
    IssuedTokens,
    KeySetKeeper,
    KeySetUrl,
    ReviewServer,
    TokenReviews,
    TrustStore,
)

_LIMITS = Limits(total_seconds=10.0, response_bytes=1 << 20)


class Federation:
    """What a running broker has for the tokens of issuers that are no trust domain."""

    def __init__(self, documents: Documents, egress: Egress) -> None:
        self._documents = documents
        self._egress = egress
        self.keys = TrustStore()
        self.keeper = KeySetKeeper(self.keys)
        self.verifier = FederatedVerifier(lambda: documents.current.issuers, self.keys, self.keeper.unknown_key)
        audience = documents.current.broker.audience
        self.authorization_server = authorization_server(audience)
        self.issued = IssuedTokens()
        self.assertions = AssertionVerifier(
            self.authorization_server, audience, lambda: documents.current.issuers, self.keys
        )
        self.reviews = TokenReviews(self.verifier, self._review_servers, time.time)

    def put_in_force(self, snapshot: Snapshot) -> None:
        """Trust the keys that the snapshot brings, and keep those that are fetched fresh."""
        self.keys.keep_only(set(snapshot.issuers))
        urls = []
        for issuer, source in snapshot.issuer_sources.items():
            if source.keys is not None:
                self.keys.put(source.keys)
            elif source.key_server is not None:
                client = self._client(source.key_server)
                urls.append(KeySetUrl(issuer, source.key_url, client, source.stale_after))
            else:
                self.keys.forget(issuer)
        self.keeper.keep(urls)

    def _review_servers(self) -> Mapping[str, ReviewServer]:
        return {
            issuer: ReviewServer(source.review_server.url, source.token_file, self._client(source.review_server))
            for issuer, source in self._documents.current.issuer_sources.items()
            if source.review_server is not None and source.token_file is not None
        }

    def _client(self, server: Server) -> Client:
        return self._egress.client(Reach(server.hosts, server.private), _LIMITS, server.authority)
