"""The rooms and their layers, as docs/architecture.md draws them: held, not hoped for."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LAYERS = (
    {"errors"},
    {"egress"},
    {"identity", "connector", "oauth"},
    {"catalog", "policy", "redact", "audit", "models"},
    {"store"},
    {"vault", "budget", "documents"},
    {"control"},
    {"pipeline"},
    {"evidence"},
    {"metrics"},
    {"doors"},
    {"testing"},
    {"app"},
    {"cli"},
)
LEVEL = {room: level for level, rooms in enumerate(LAYERS) for room in rooms}

# Who may import a library that is a matter of one room's
ONLY_IN = {
    "sqlite3": {"store", "egress"},
    "psycopg": {"egress"},
    "sqlite_utils": {"store"},
    "aiohttp": {"egress"},
    "mcp": {"doors", "app", "cli"},
    "mcp_types": {"doors", "cli"},
    "uvicorn": {"app", "testing"},
    "starlette": {"doors", "app", "testing"},
    "authlib": {"oauth"},
    "keyring": {"vault"},
    "grpc": {"identity"},
    "google": {"identity"},
    "cryptography": {"identity", "vault", "audit", "cli", "testing"},
    "ruamel": {"documents", "cli", "openapi"},
    "jsonschema_rs": {"catalog", "openapi"},
    "cel": {"policy"},
    "genai_prices": {"budget"},
    "prometheus_client": {"metrics"},
}


@cache
def parsed(path: Path) -> ast.Module:
    """Return a file's syntax tree, parsed once."""
    return ast.parse(path.read_text())


def sources(*folders: str) -> Iterator[tuple[str, Path, ast.Module]]:
    """Every source file below the folders: its room, its path and its syntax tree."""
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT / folder).parts
            yield parts[0].removesuffix(".py"), path, parsed(path)


def imported(tree: ast.AST) -> Iterator[tuple[ast.stmt, str]]:
    """Every module that a tree imports, by its full name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from ((node, f"{node.module}.{alias.name}") for alias in node.names)


def place(path: Path, node: ast.AST) -> str:
    """Where something stands, for a message."""
    return f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"


def test_rooms_import_downwards_only() -> None:
    """architecture.md, The rooms: a module imports downwards only, never sideways."""
    wrong = [
        f"{place(path, node)} {room} imports {name}"
        for room, path, tree in sources("broker")
        for node, name in imported(tree)
        if name.startswith("broker.")
        and (other := name.split(".")[1]) in LEVEL
        and room in LEVEL
        and other != room
        and LEVEL[other] >= LEVEL[room]
    ]

    assert not wrong


def test_every_room_has_its_layer() -> None:
    """A new room must be given its place, so that the rule above covers it."""
    rooms = {room for room, _, _ in sources("broker")} - {"__init__"}

    assert rooms == set(LEVEL)


def test_own_modules_are_imported_at_the_top() -> None:
    """house-style.md: imports are at the top and point one way."""
    wrong = [
        f"{place(path, node)} {name}"
        for _, path, tree in sources("broker", "connectors")
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node, name in imported(function)
        if name.split(".")[0] in {"broker", "connectors"}
    ]

    assert not wrong


def test_the_broker_knows_no_connector_by_name() -> None:
    """architecture.md, The rooms: connectors come by entry point, ours and a stranger's through the same door."""
    wrong = [
        f"{place(path, node)} {name}"
        for _, path, tree in sources("broker")
        for node, name in imported(tree)
        if name.split(".")[0] == "connectors"
    ]

    assert not wrong


def test_connectors_import_nothing_of_ours_but_the_connector_room() -> None:
    """architecture.md, The rooms: a connector imports broker.connector only."""
    wrong = [
        f"{place(path, node)} {name}"
        for _, path, tree in sources("connectors")
        for node, name in imported(tree)
        if name.startswith("broker.") and name.split(".")[1] != "connector"
    ]

    assert not wrong


def test_only_vault_oauth_and_egress_look_into_a_secret() -> None:
    """architecture.md, The way of one call: secrets live in vault, oauth and egress only."""
    wrong = [
        place(path, node)
        for room, path, tree in sources("broker", "connectors")
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr == "reveal" and room not in {"vault", "oauth", "egress"}
    ]

    assert not wrong


@pytest.mark.parametrize("library", sorted(ONLY_IN))
def test_a_library_stays_in_the_rooms_whose_job_it_does(library: str) -> None:
    """architecture.md: SDK and HTTP types stop at the doors, SQL in the store, connections in egress."""
    wrong = [
        f"{place(path, node)} {name}"
        for room, path, tree in sources("broker")
        for node, name in imported(tree)
        if name.split(".")[0] == library and room not in ONLY_IN[library]
    ]

    assert not wrong


def test_the_auditor_can_read_the_audit_room_alone() -> None:
    """architecture.md, The rooms: audit imports nothing of ours but errors."""
    wrong = [
        f"{place(path, node)} {name}"
        for room, path, tree in sources("broker")
        if room == "audit"
        for node, name in imported(tree)
        if name.startswith("broker.") and name.split(".")[1] not in {"audit", "errors"}
    ]

    assert not wrong
