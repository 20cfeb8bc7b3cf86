"""`aam serve`."""

import ipaddress
import sys
from pathlib import Path
from typing import Annotated

import anyio
import typer

from broker.app import Options, Serving, serve
from broker.app.logs import set_up_logging
from broker.cli.daemon import HERE, Directory, Documents, documents_directory
from broker.cli.output import AsJson, console, counted, counted_tools, fail, plain, print_json, problems
from broker.documents import Invalid
from broker.errors import AuditUnavailable, CannotStart, DocumentsInvalid

app = typer.Typer(pretty_exceptions_enable=False)


@app.command("serve", epilog="Example: aam serve ./access --development")
def serve_command(
    context: typer.Context,
    documents: Documents = None,
    directory: Directory = HERE,
    *,
    development: Annotated[
        bool, typer.Option("--development", help="Let agents of development trust domains in.")
    ] = False,
    tls_cert: Annotated[Path | None, typer.Option(help="Certificate chain (PEM) for the HTTP listener.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its private key (PEM).")] = None,
    as_json: AsJson = False,
) -> None:
    """Run the broker until SIGTERM or Ctrl-C; then running calls end and new ones are refused."""
    options = Options(documents_directory(context, documents, directory), development, tls_cert, tls_key)
    set_up_logging()
    try:
        anyio.run(
            serve,
            options,
            _print_json if as_json else _print,
            backend_options={"use_uvloop": sys.platform != "win32" and sys.implementation.name == "cpython"},
        )
    except Invalid as invalid:
        for problem in invalid.problems:
            problems.print(f"[red]mistake[/red] {plain(problem)}")
        fail(invalid if as_json else DocumentsInvalid(invalid.message), as_json=as_json)
    except (CannotStart, AuditUnavailable) as refusal:
        fail(refusal, as_json=as_json)


def _print(serving: Serving) -> None:
    documents = serving.documents
    counts = f"{counted(len(documents.registry.agents), 'agent')}, {counted_tools(documents.catalog)}"
    console.print("[bold]Agent Access Manager[/bold] is serving.\n")
    for name, value in (
        ("agents, HTTP", f"{_url(serving)}/mcp   {_url(serving)}/sse"),
        ("agents, stdio", f"aam stdio --socket {serving.agents_socket}"),
        *([("agents, proxy", f"X-Forwarded-Client-Cert on {serving.proxy}")] if serving.proxy else []),
        *([("monitoring", serving.metrics)] if serving.metrics else []),
        ("operators", f"aam status --dir {documents.directory}   ({serving.operators_socket})"),
        ("documents", f"{counted(len(documents.files), 'file')}: {counts}; digest {documents.digest[:12]}"),
        (
            "connectors",
            ", ".join(f"{name} (grant: {serving.grants.get(name, 'none')})" for name in documents.connections),
        ),
        ("trail", f"{documents.broker.log}, {counted(serving.records, 'record')}"),
    ):
        console.print(f"  [dim]{name:<14}[/dim] {plain(value)}")
    for warning in documents.warnings:
        console.print(f"  [yellow]warning[/yellow]        {plain(warning)}")
    if serving.unfinished:
        console.print(
            f"  [yellow]unfinished[/yellow]     {counted(len(serving.unfinished), 'call')} cut off when it last ended, "
            "outcome unknown: aam trail tail --status outcome_unknown"
        )
    domains = [name for name, domain in documents.trust_domains.items() if domain.development]
    if domains and serving.development:
        console.print(
            f"\n[black on yellow] DEVELOPMENT [/black on yellow] Trust domain {plain(', '.join(domains))} is for "
            "development: whoever can read its key is any of its agents. Not for production."
        )
    elif domains:
        console.print(
            f"\n[yellow]Trust domain {plain(', '.join(domains))} is for development and switched off.[/yellow] "
            "Start with --development to let its agents in."
        )
    sys.stdout.flush()


def _url(serving: Serving) -> str:
    """Return where agents reach it: nobody can call a wildcard address, so its audience must say."""
    broker = serving.documents.broker
    listens_on = ipaddress.ip_address(broker.listen.http.rpartition(":")[0].strip("[]"))
    return broker.audience.removesuffix("/mcp") if listens_on.is_unspecified else serving.http


def _print_json(serving: Serving) -> None:
    print_json(
        {
            "http": _url(serving),
            "agents_socket": str(serving.agents_socket),
            "operators_socket": str(serving.operators_socket),
            "proxy": serving.proxy,
            "metrics": serving.metrics,
            "documents": serving.documents.digest,
            "records": serving.records,
            "unfinished_calls": serving.unfinished,
            "development": serving.development,
        }
    )
    sys.stdout.flush()
