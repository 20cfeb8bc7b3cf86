"""Mutual TLS on the agents' own listener: callers are asked for an X.509-SVID, and may have none.

OpenSSL is the first filter: what no authority of any trust domain vouches for does not get past the handshake. Whose it
is, by the authorities of its own trust domain alone, is decided for every request (`CertificateVerifier`).
"""

import contextlib
import ssl
from typing import Any

from broker.app.http import BoundedProtocol
from broker.doors.mcp.certificates import CHAIN
from broker.identity import TrustStore


def ask_for_certificates(context: ssl.SSLContext, trust: TrustStore) -> None:
    """Have a listener ask for certificates, by the authorities in force now and whenever they change."""
    context.minimum_version = ssl.TLSVersion.TLSv1_3  # which sends certificates encrypted
    context.verify_mode = ssl.CERT_OPTIONAL
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    context.num_tickets = 0  # a session taken up again would bring its certificate along, but not the chain
    loaded: set[bytes] = set()

    def load() -> None:
        # One that is withdrawn stays here until the next start: OpenSSL's is not the check that counts
        for der in trust.every_authority() - loaded:
            with contextlib.suppress(ssl.SSLError):  # what OpenSSL cannot read, it cannot be asked about
                context.load_verify_locations(cadata=der)
            loaded.add(der)

    load()
    trust.on_change = load


class MutualProtocol(BoundedProtocol):
    """HTTP over TLS, noting the certificates that the peer has shown for all of its requests."""

    def connection_made(self, transport: Any) -> None:
        """Ask TLS who connects: the handshake is over, so the peer holds the key of its first certificate."""
        super().connection_made(transport)
        self.app_state = {**self.app_state, CHAIN: _shown(transport.get_extra_info("ssl_object"))}


def _shown(connection: Any) -> tuple[bytes, ...]:
    """Return the peer's certificates, its own first; before Python 3.13 that one is all there is to have."""
    own = connection.getpeercert(binary_form=True)
    if own is None:
        return ()
    chain = getattr(connection, "get_unverified_chain", lambda: None)()
    return tuple(chain) if chain else (own,)
