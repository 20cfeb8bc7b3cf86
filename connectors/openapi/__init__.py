"""Any service that an OpenAPI or Swagger description describes: its operations as tools, under what the document maps.

What is mapped is pinned: which operation is which action of which resource, what each takes, and what may leave of
its answer. Hosts are the document's to say, whatever the description says of servers.
"""

from broker.connector import Connector, Endpoints, Question
from connectors.openapi.answers import expired
from connectors.openapi.service import describe, described_at, pinned_of, probe
from connectors.openapi.settings import Settings
from connectors.openapi.tools import tools

__all__ = ["CONNECTOR"]

CONNECTOR = Connector(
    name="openapi",
    hosts=(),
    endpoints=Endpoints(token_endpoint="https://token-endpoint.invalid/"),  # noqa: S106 - the document says where
    grant="api-key",
    further_grants=("basic", "client-credentials", "authorization-code", "token-exchange", "id-jag", "jwt-bearer"),
    tools=tools,
    expired=expired,
    probe=probe,
    describe=describe,
    discovers=True,
    about="Any service that an OpenAPI or Swagger description describes.",
    asks=(
        Question("url", "The URL under which the service is called", example="https://api.example.com"),
        Question(
            "resources",
            "What policies call each resource, and the path, tag or operation that it is",
            "mapping",
            usual="",
            example="notes=/notes, people=tag:users",
        ),
        Question(
            "settings.description",
            "Where the description is; nothing where you have it as a file",
            usual="",
            example="/openapi.json",
        ),
        Question("snapshot", "The file in which its operations are pinned", usual="{name}.snapshot.json"),
    ),
    described_at=described_at,
    pin=pinned_of,
    settings=Settings,
)
