"""Salesforce: mapped objects read, searched, exported and written, through simple-salesforce on the broker's egress.

What an object's fields are, which of them may leave and which can be written, is the pinned snapshot's to say. Beside
the objects there are three resources: `search` (words across objects), `query` (SOQL as the agent writes it) and
`composite` (several writes at once); what they touch is decided object by object.
"""

from broker.connector import Connector, Endpoints, Question
from connectors.salesforce.service import describe, expired, probe, usage
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
    usage=usage,
    about="Salesforce: objects read, searched, exported and written; words and SOQL across them.",
    asks=(
        Question("url", "Your organisation's My Domain", example="https://example.my.salesforce.com"),
        Question(
            "resources",
            "What policies call each object, and the object that it is",
            "mapping",
            usual="accounts=Account, contacts=Contact, opportunities=Opportunity, cases=Case",
        ),
        Question("settings.api_version", "The version of the API", usual="59.0"),
        Question("snapshot", "The file in which the objects' fields are pinned", usual="{name}.snapshot.json"),
    ),
)
