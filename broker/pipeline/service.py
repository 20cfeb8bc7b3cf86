"""The place at which a connector's grants are good, as configured."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from broker.documents import Connection
from broker.egress import Egress, Process, Response, Secret, Session
from broker.egress.database import DatabaseSession
from broker.errors import GrantMisplaced, LeakBlocked, Refusal
from broker.identity import OnBehalfOf
from broker.redact import Matcher
from broker.vault import Credential, NoCredential, Service, Vault

Expired = Callable[[Response], bool]
_LONGEST_SVID = 16 << 10  # bytes


def service_of(connection: Connection, egress: Egress) -> Service:
    """Return the service of a configured connector, with the client that reaches it."""
    oauth, key = connection.document.oauth, connection.api_key
    return Service(
        connector=connection.name,
        url=connection.url,
        client=egress.client(connection.reach, connection.limits, connection.authority),
        token_endpoint=connection.token_endpoint,
        audience=connection.audience,
        revocation_endpoint=connection.revocation_endpoint,
        authorization_endpoint=connection.authorization_endpoint,
        issuer=oauth.issuer,
        says_issuer=oauth.authorization_response_iss_parameter_supported,
        resource=oauth.resource,
        proof_audience=oauth.client_audience,
        identity_provider=oauth.identity_provider,
        kinds=connection.kinds,
        accounts=connection.accounts,
        scopes=tuple(oauth.scopes),
        key_header=key.header,
        key_prefix=key.prefix,
        client_svid=None if connection.svid_file is None else partial(_read_svid, connection.svid_file),
    )


def credential_of(
    vault: Vault, service: Service, delegated: OnBehalfOf | None, scopes: Sequence[str] = ()
) -> Credential:
    """Open the grant that a call is made with, as the vault does; a service that takes none is called without."""
    return vault.open(service, delegated, scopes) if service.kinds else NoCredential()


def session_of(
    connection: Connection, service: Service, egress: Egress, credential: Credential, noted: Expired
) -> Session:
    """Return what a connector's function is given for one attempt at its service, or at its database.

    It starts the program that the service is, where it is one.
    """
    if connection.database is not None:
        place = connection.database
        return DatabaseSession(place, connection.reach, connection.limits, connection.authority, credential)

    async def launch(secret: Secret | None) -> Process:
        assert connection.document.process is not None  # noqa: S101 - there is no launch without
        command = connection.document.process.as_command(connection.document.limits.response_bytes)
        return await egress.processes.running((connection.name, credential.grant), command, secret)

    program = launch if connection.document.process is not None else None
    return Session(service.client, service.url, credential, noted, program)


def harmless(refusal: Refusal, matcher: Matcher) -> Refusal:
    """Return the refusal, unless a connector has let the credential into its words."""
    words = f"{refusal.message} {refusal.detail}".encode("utf-8", "replace")
    return LeakBlocked(detail="a refusal held the credential of this call") if matcher.hits(words) else refusal


def _read_svid(path: Path) -> Secret:
    """Read the broker's own JWT-SVID, anew for each use: whoever fetches it replaces it before it expires."""
    try:
        with path.open("rb") as file:
            text = file.read(_LONGEST_SVID).decode("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise GrantMisplaced(
            "The broker's own JWT-SVID cannot be read; an administrator must look at 'oauth.client_svid'.",
            detail=f"{path.name}: {type(error).__name__}",
        ) from None
    return Secret(text)
