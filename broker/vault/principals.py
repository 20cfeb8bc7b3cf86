"""Whose a grant is: the organisation's, or one person's. Never taken from an argument, never by a likeness."""

import hashlib

from broker.errors import ConsentNeeded
from broker.identity import OnBehalfOf
from broker.vault.service import Service

BROKER = "broker"
"""The principal of grants that belong to no person: the connector's service account."""


def person(issuer: str, subject: str) -> str:
    """Return the principal of a person. Issuer and subject together are who: no two pairs have the same principal."""
    text = f"{len(issuer)}:{issuer}{subject}".encode()
    return "person-" + hashlib.sha256(text).hexdigest()[:40]


def principal_of(service: Service, delegated: OnBehalfOf | None) -> str:
    """Return whose grant a call uses: exactly one principal's, so that nobody's call runs with another's token.

    Raises `ConsentNeeded` where the service is used on behalf of people only and the call is on nobody's.
    """
    if service.accounts == "organisation" or (service.accounts == "either" and delegated is None):
        return BROKER
    if delegated is None:
        raise ConsentNeeded(
            f"{service.connector} is used on behalf of people only; call with a token that says on whose behalf."
        )
    return person(delegated.issuer, delegated.subject)
