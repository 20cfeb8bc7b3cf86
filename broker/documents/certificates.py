"""Callers with certificates: what must be so on this machine before a listener may believe in one."""

import sys

from broker.documents.agents import could_be, user_id
from broker.documents.findings import Findings, value_at
from broker.documents.parse import Document
from broker.identity import TrustDomain

_LISTEN = ("spec", "listen")
CHAINS_FROM = (3, 13)  # ssl.SSLObject.get_unverified_chain


def check_certificates(findings: Findings, broker: Document, domains: dict[str, TrustDomain]) -> None:
    """Check the listener for a proxy, and the wish for client certificates."""
    listen = broker.spec.listen
    if listen.proxy is not None and listen.proxy.user is not None:
        _check_user(findings, broker, listen.proxy.user, domains)
    if listen.client_certificates:
        _check_own_listener(findings, broker)


def _check_user(findings: Findings, broker: Document, user: str, domains: dict[str, TrustDomain]) -> None:
    place = (*_LISTEN, "proxy", "user")
    uid = user_id(user)
    if uid is None:
        findings.warn(broker, place, f"there is no user {user!r} on this machine, and 'aam serve' will not start")
        return
    for document in findings.of("Agent"):
        selectors = document.spec.selectors
        if selectors and all(could_be(selector, uid) for selector in selectors):
            domain = domains.get(document.spec.workload.split("/")[2])
            note = findings.warn if domain is not None and domain.development else findings.wrong
            note(
                document,
                ("spec", "selectors"),
                f"a process of this agent could be user {user!r}, whom the broker believes as its proxy: it could pass "
                "for any agent",
            )


def _check_own_listener(findings: Findings, broker: Document) -> None:
    place = (*_LISTEN, "client_certificates")
    if value_at(broker.source.value, (*_LISTEN, "behind_tls_proxy")):
        findings.wrong(
            broker, place, "a proxy that terminates TLS sees the certificates, not the broker: use 'proxy' instead"
        )
    elif sys.version_info < CHAINS_FROM:
        findings.warn(
            broker,
            place,
            f"Python {sys.version_info.major}.{sys.version_info.minor} gives the caller's own certificate and not its "
            "chain: SVIDs that an intermediate authority has signed are refused; Python 3.13 or later takes them",
        )
