"""The Salesforce-shaped service, as the vault and its tokens see it: a client that reaches it, a grant, a place."""

from ipaddress import ip_network
from typing import Any

from broker.egress import Client, Egress, Limits, Reach, Secret
from broker.oauth import JwtBearerGrant
from broker.testing.salesforce import SalesforceService
from broker.vault import Service

CONNECTOR = "salesforce"


def client_of(egress: Egress, salesforce: SalesforceService, **limits: Any) -> Client:
    """Return a client that may reach the service and nothing else."""
    reach = Reach(
        frozenset({salesforce.url.removeprefix("https://")}), (ip_network("127.0.0.0/8"), ip_network("::1/128"))
    )
    return egress.client(reach, Limits(**limits), salesforce.ca_file.read_text())


def service_of(egress: Egress, salesforce: SalesforceService, **changes: Any) -> Service:
    """Return the service as a connector's document describes it."""
    facts = {
        "connector": CONNECTOR,
        "url": salesforce.url,
        "client": client_of(egress, salesforce),
        "token_endpoint": f"{salesforce.url}/services/oauth2/token",
        "audience": salesforce.audience,
        "revocation_endpoint": f"{salesforce.url}/services/oauth2/revoke",
    }
    return Service(**{**facts, **changes})


def grant_of(salesforce: SalesforceService, **changes: Any) -> JwtBearerGrant:
    """Return the grant that the service's administrator has approved."""
    facts = {
        "client_id": salesforce.consumer_key,
        "subject": salesforce.username,
        "private_key": Secret(salesforce.private_key_file.read_text()),
    }
    return JwtBearerGrant(**{**facts, **changes})
