"""The service: where its description is, and whether it answers."""

from typing import Any
from urllib.parse import urlsplit

import anyio.to_thread

from broker.connector import ConnectorDocument, Session, errors
from connectors.openapi.answers import checked
from connectors.openapi.description import read_description
from connectors.openapi.pinning import pin
from connectors.openapi.settings import settings_of

_ACCEPT = "application/json, application/vnd.oai.openapi+json, application/yaml;q=0.8, */*;q=0.5"
_NOT_THERE = frozenset({400, 404, 405, 406})


def described_at(document: ConnectorDocument) -> str | None:
    """Return where the description is shown to everybody; None where it takes an account to see it."""
    return None if settings_of(document.settings).description_with_grant else _description(document)


async def describe(session: Session, document: ConnectorDocument) -> Any:
    """Fetch the description, and return what is pinned of it."""
    url = _description(document)
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
    description, settings = read_description(content), settings_of(document.settings)
    return pin(description, document.resources, settings, document.grants.api_key.header)


def _description(document: ConnectorDocument) -> str | None:
    said = settings_of(document.settings).description
    if said is None or not said.startswith("/"):
        return said
    parts = urlsplit(document.url or "")
    return f"{parts.scheme}://{parts.netloc}{said}"


async def probe(session: Session, document: ConnectorDocument) -> str:
    """Ask for what the document names; or for the place below which everything is, which need not be there itself."""
    path = settings_of(document.settings).probe
    response = await session.send("GET", session.base_url + (path or "/"), {"Accept": "application/json"}, None)
    if path is None and response.status in _NOT_THERE:
        return f"answers with HTTP {response.status}, and does not refuse the account; name a 'settings.probe'"
    checked(response)
    return f"answers with HTTP {response.status}"
