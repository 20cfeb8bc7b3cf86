"""Salesforce: read, search and describe the mapped objects, through simple-salesforce on the broker's egress.

What an object's fields are, and which of them may leave, is the pinned snapshot's to say. Writing and export have
their names in the catalogue, so that policies can speak of them, and are not built yet.
"""

from broker.connector import Connector, Endpoints
from connectors.salesforce.service import describe, expired, probe
from connectors.salesforce.snapshot import Settings
from connectors.salesforce.tools import tools

__all__ = ["CONNECTOR"]

CONNECTOR = Connector(
    name="salesforce",
    hosts=("login.salesforce.com", "test.salesforce.com", "*.my.salesforce.com"),
    endpoints=Endpoints(
        token_endpoint="https://login.salesforce.com/services/oauth2/token",  # noqa: S106 - an address
        revocation_endpoint="https://login.salesforce.com/services/oauth2/revoke",
        audience="https://login.salesforce.com",
        authorization_endpoint="https://login.salesforce.com/services/oauth2/authorize",
    ),
    grant="jwt-bearer",
    further_grants=("authorization-code", "client-credentials"),
    tools=tools,
    expired=expired,
    probe=probe,
    describe=describe,
    settings=Settings,
)
