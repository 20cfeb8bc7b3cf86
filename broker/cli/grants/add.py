"""`aam grants add` and `client`: connect an account by a secret that one has."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from broker.cli.daemon import HERE, Daemon, Directory
from broker.cli.grants.secrets import read_secret
from broker.cli.output import AsJson, console, fail, plain, print_json, stop
from broker.errors import Refusal

Connector = Annotated[str, typer.Argument(help="The connector's name, as in its document.")]


class Kind(StrEnum):
    """The kinds of grants that a secret makes; 'aam grants connect' makes the one that takes a consent."""

    JWT_BEARER = "jwt-bearer"
    CLIENT_CREDENTIALS = "client-credentials"
    TOKEN_EXCHANGE = "token-exchange"  # noqa: S105 - the name of a kind
    ID_JAG = "id-jag"
    API_KEY = "api-key"
    BASIC = "basic"


class ClientAuth(StrEnum):
    """How a client proves who it is."""

    NONE = "none"
    BASIC = "client_secret_basic"
    POST = "client_secret_post"
    KEY = "private_key_jwt"
    SPIFFE = "jwt_spiffe"


ClientId = Annotated[str | None, typer.Option(help="The client's id at the service (Salesforce: consumer key).")]
SecretFile = Annotated[
    Path | None,
    typer.Option(help="The client's secret, an API key, a password or a subject token; '-' reads it from stdin."),
]
KeyFile = Annotated[
    Path | None, typer.Option(help="The client's RSA private key (PEM), for an assertion; '-' reads it from stdin.")
]
Auth = Annotated[ClientAuth | None, typer.Option(help="How the client proves who it is; told from its secret.")]


def add(
    connector: Connector,
    kind: Annotated[Kind, typer.Option(help="What kind of grant.")] = Kind.JWT_BEARER,
    client_id: ClientId = None,
    subject: Annotated[str | None, typer.Option(help="jwt-bearer: the user as whom the broker acts.")] = None,
    key_file: KeyFile = None,
    secret_file: SecretFile = None,
    client_auth: Auth = None,
    client_secret_file: Annotated[
        Path | None, typer.Option(help="token-exchange, id-jag: the client's secret, beside the subject token.")
    ] = None,
    identity_client_id: Annotated[str | None, typer.Option(help="id-jag: the client at the identity provider.")] = None,
    identity_secret_file: Annotated[
        Path | None, typer.Option(help="id-jag: the client's secret at the identity provider.")
    ] = None,
    username: Annotated[str | None, typer.Option(help="basic: the user's name.")] = None,
    subject_token_type: Annotated[
        str | None, typer.Option(help="token-exchange, id-jag: access_token, refresh_token, id_token or jwt.")
    ] = None,
    scope: Annotated[list[str] | None, typer.Option(help="A scope that the grant has; several times for more.")] = None,
    directory: Directory = HERE,
    *,
    as_json: AsJson = False,
) -> None:
    """Connect an account by a secret. It is sealed in the vault and never comes out."""
    if kind is Kind.JWT_BEARER and not (client_id and subject):
        raise typer.BadParameter("A jwt-bearer grant needs --client-id and --subject.")
    wanted: dict[str, Any] = {
        "connector": connector,
        "kind": kind.value,
        "client_id": client_id,
        "subject": subject,
        "client_auth": client_auth.value if client_auth else None,
        "username": username,
        "subject_token_type": subject_token_type,
        "scopes": scope or None,
    }
    _read_secrets(wanted, kind, client_auth, key_file, secret_file, as_json=as_json)
    if client_secret_file is not None:
        wanted["client_secret"] = read_secret(client_secret_file, "client's secret", as_json=as_json).strip()
    if identity_client_id is not None:
        identity = {"client_id": identity_client_id}
        if identity_secret_file is not None:
            identity["client_secret"] = read_secret(
                identity_secret_file, "client's secret at the identity provider", as_json=as_json
            ).strip()
        wanted["identity_client"] = identity
    try:
        grant = Daemon(directory).post("/v1/grants", {name: value for name, value in wanted.items() if value})
    except Refusal as refusal:
        fail(refusal, as_json=as_json)
    if as_json:
        print_json(grant)
    else:
        who = f" as {plain(grant['subject'])}" if grant["subject"] else ""
        console.print(f"[green]Connected[/green] {plain(connector)}{who}. Try it: aam grants test {plain(connector)}")


def client(
    connector: Connector,
    client_id: ClientId = None,
    secret_file: SecretFile = None,
    key_file: KeyFile = None,
    client_auth: Auth = None,
    directory: Directory = HERE,
    *,
    as_json: AsJson = False,
) -> None:
    """Register the client under which people consent to a service; its secret is sealed and never comes out."""
    wanted = {"connector": connector, "client_id": client_id, "client_auth": client_auth.value if client_auth else None}
    if key_file is not None:
        wanted["private_key"] = read_secret(key_file, "private key", as_json=as_json)
    elif client_auth not in {ClientAuth.NONE, ClientAuth.SPIFFE}:
        wanted["client_secret"] = read_secret(secret_file, "client's secret", as_json=as_json).strip()
    try:
        found = Daemon(directory).put("/v1/grants/client", {name: value for name, value in wanted.items() if value})
    except Refusal as refusal:
        fail(refusal, as_json=as_json)
    if as_json:
        print_json(found)
    else:
        console.print(
            f"[green]Registered[/green] the client of {plain(connector)}. "
            f"Connect the organisation's account: aam grants connect {plain(connector)}"
        )


def _read_secrets(
    wanted: dict[str, Any],
    kind: Kind,
    client_auth: ClientAuth | None,
    key_file: Path | None,
    secret_file: Path | None,
    *,
    as_json: bool,
) -> None:
    """Read the secret that the kind of grant is about; two files, and stdin for one of them at most."""
    if key_file is not None and secret_file is not None and str(key_file) == str(secret_file) == "-":
        stop("Only one secret can come from stdin.", as_json=as_json)
    about = {
        Kind.API_KEY: ("key", "API key"),
        Kind.BASIC: ("password", "password"),
        Kind.TOKEN_EXCHANGE: ("subject_token", "subject token"),
        Kind.ID_JAG: ("subject_token", "subject token"),
    }
    if kind is Kind.JWT_BEARER or (kind is Kind.CLIENT_CREDENTIALS and key_file is not None):
        wanted["private_key"] = read_secret(key_file, "private key", as_json=as_json)
    elif kind is Kind.CLIENT_CREDENTIALS and client_auth not in {ClientAuth.NONE, ClientAuth.SPIFFE}:
        wanted["client_secret"] = read_secret(secret_file, "client's secret", as_json=as_json).strip()
    elif kind in about:
        name, what = about[kind]
        wanted[name] = read_secret(secret_file, what, as_json=as_json).strip("\r\n")
        if key_file is not None:
            wanted["private_key"] = read_secret(key_file, "private key", as_json=as_json)
