"""Where people sign in before they consent: each identity provider of the Broker document, as egress will reach it."""

from collections.abc import Mapping

from broker.documents.findings import Findings
from broker.documents.parse import Document
from broker.documents.snapshot import SignInSource
from broker.documents.trust import certificate_authority, check_url, networks, origin
from broker.egress import Reach

_SIGN_IN = ("spec", "consent", "sign_in")


def check_sign_in(findings: Findings, broker: Document | None) -> Mapping[str, SignInSource]:
    """Return the identity providers by issuer; none is named twice."""
    consent = broker.spec.consent if broker is not None else None
    if broker is None or consent is None:
        return {}
    found: dict[str, SignInSource] = {}
    for number, part in enumerate(consent.sign_in):
        place = (*_SIGN_IN, number)
        if part.issuer in found:
            findings.wrong(broker, place, f"{part.issuer} is named twice")
        private = networks(findings, broker, (*place, "private_ranges"), part.private_ranges)
        authority = certificate_authority(
            findings, broker, (*place, "certificate_authority"), part.certificate_authority
        )
        reach = Reach(frozenset({origin(part.token_endpoint)}), private)
        check_url(findings, broker, (*place, "token_endpoint"), part.token_endpoint, reach)
        found[part.issuer] = SignInSource(
            part.issuer, part.client_id, part.authorization_endpoint, part.token_endpoint, reach, authority
        )
    return found
