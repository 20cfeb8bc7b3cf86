"""The place at which a connector's grant is good, as configured."""

from broker.documents import Connection
from broker.egress import Egress
from broker.vault import Service


def service_of(connection: Connection, egress: Egress) -> Service:
    """Return the service of a configured connector, with the client that reaches it."""
    return Service(
        connector=connection.name,
        url=connection.document.url,
        client=egress.client(connection.reach, connection.limits, connection.authority),
        token_endpoint=connection.token_endpoint,
        audience=connection.audience,
        revocation_endpoint=connection.revocation_endpoint,
    )
