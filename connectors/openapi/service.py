"""The service: where its description is, and whether it answers."""

from typing import Any

import anyio.to_thread

from broker.connector import ConnectorDocument, Session, errors
from connectors.openapi.answers import checked, refuse
from connectors.openapi.description import read_description
from connectors.openapi.pinning import pin
from connectors.openapi.settings import settings_of

_ACCEPT = "application/json, application/vnd.oai.openapi+json, application/yaml;q=0.8, */*;q=0.5"
_ANSWERS = range(200, 500)
_DENIED = (401, 403)


def described_at(document: ConnectorDocument) -> str | None:
    """Return where the description is shown to everybody; None where it takes an account to see it."""
    settings = settings_of(document.settings)
    return None if settings.description_with_grant else settings.description


async def describe(session: Session, document: ConnectorDocument) -> Any:
    """Fetch the description, and return what is pinned of it."""
    url = settings_of(document.settings).description
    if url is None:
        raise errors.UpstreamRejected(
            "The document names no description: set 'settings.description' in it, or give a file with --from FILE."
        )
    response = checked(await session.send("GET", url, {"Accept": _ACCEPT}, None))
    return await pinned_of(document, response.body)


async def pinned_of(document: ConnectorDocument, content: bytes) -> Any:
    """Return what is pinned of a description."""
    try:
        return await anyio.to_thread.run_sync(_pinned, document, content)  # thousands of operations take seconds
    except ValueError as error:
        raise errors.UpstreamMalformed(f"The description cannot be used: {error}.") from None


def _pinned(document: ConnectorDocument, content: bytes) -> Any:
    return pin(read_description(content), document.resources, settings_of(document.settings))


async def probe(session: Session, document: ConnectorDocument) -> str:  # noqa: ARG001 - the protocol's own signature
    """Ask for the place below which everything is: that the account is not refused there is all that can be told."""
    response = await session.send("GET", session.base_url + "/", {"Accept": "application/json"}, None)
    if response.status in _DENIED or response.status not in _ANSWERS:
        refuse(response)
    return f"answers with HTTP {response.status}, and does not refuse the account"
