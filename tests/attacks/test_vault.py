"""Attempts on the vault: to see a secret, to take one along, to make a row of the store mean something else."""

import asyncio
import base64
import contextlib
import copy
import dataclasses
import io
import logging
import pickle
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rich.console import Console
from rich.pretty import pretty_repr
from rich.traceback import Traceback

from broker import oauth
from broker.egress import Egress
from broker.errors import AlreadyExists, GrantUnavailable, Refusal, VaultUnreadable
from broker.oauth import JwtBearerGrant
from broker.store import Store
from broker.testing.salesforce import Answer, SalesforceService
from broker.vault import KeyEncryptionKey, Service, Vault
from broker.vault.opened import Opened
from tests.support.low_salesforce import CONNECTOR, grant_of, service_of

pytestmark = pytest.mark.anyio

ACTOR = {"user": "ada"}
LOG = "access.example/log/test"


@pytest.fixture
async def service(salesforce: SalesforceService) -> AsyncIterator[Service]:
    """Describe the service as a connector's document does."""
    egress = Egress()
    yield service_of(egress, salesforce)
    await egress.close()
    salesforce.faults.clear()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Open a store."""
    store = Store.open(tmp_path / "broker.db", LOG)
    yield store
    store.close()


@pytest.fixture
async def vault(store: Store, key: KeyEncryptionKey, salesforce: SalesforceService) -> Vault:
    """Start a vault with a grant."""
    vault = Vault(store, key)
    await vault.start()
    await vault.add(CONNECTOR, grant_of(salesforce), ACTOR)
    return vault


@pytest.fixture
async def opened(vault: Vault, service: Service) -> Opened:
    """Open the grant and use it."""
    opened = vault.open(service)
    await opened.header()
    return opened


def secrets(salesforce: SalesforceService, key: KeyEncryptionKey) -> list[bytes]:
    """Return every secret there is, and pieces of them in the encodings in which they are held."""
    pem = salesforce.private_key_file.read_bytes()
    raw = base64.b64decode(b"".join(pem.splitlines()[1:-1]))
    return [
        *(line for line in pem.splitlines() if len(line) >= 60),
        raw[100:140],
        *(token.encode() for token in salesforce.tokens_issued),
        *(base64.b64encode(token.encode())[:-4] for token in salesforce.tokens_issued),
        key._key,
        key._key.hex().encode(),
        base64.b64encode(key._key)[:-4],
    ]


def read_all(directory: Path) -> dict[str, bytes]:
    """Read every file of a directory."""
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.is_file()}


async def update(store: Store, statement: str, *values: Any) -> None:
    """Do what somebody does who can write the store's file."""
    await store.commits.commit(lambda change: change.execute(statement, values).rowcount)


async def test_the_stores_files_hold_no_secret(
    vault: Vault, opened: Opened, store: Store, salesforce: SalesforceService, key: KeyEncryptionKey, tmp_path: Path
) -> None:
    """Issue 2, What a user can do: no byte of a token or key in the database file, its log or its neighbours."""
    await vault.digest_key("trail digests")
    await opened.renew(await opened.header())

    files = read_all(tmp_path)

    everything = b"".join(files.values())
    with store.reading() as connection:
        sealed = store.grants.all(connection)[0].sealed.encode()
    assert files.keys() >= {"broker.db", "broker.db-wal"}
    assert sealed[:500] in everything  # the control: the search looks where the row is
    assert not [secret for secret in secrets(salesforce, key) if secret in everything]


async def test_a_revoked_grant_is_overwritten(vault: Vault, store: Store, tmp_path: Path) -> None:
    """store/grants.py: a revoked grant loses its sealed part, in the file too once the log has been folded in."""
    grant = vault.find(CONNECTOR)
    with store.reading() as connection:
        sealed = store.grants.all(connection)[0].sealed.encode()

    await vault.revoke(grant.id, None, ACTOR)
    store.close()

    assert sealed[:500] not in b"".join(read_all(tmp_path).values())


Show = Callable[[Any], str]


def formatted(value: Any) -> str:
    """Log it."""
    return logging.LogRecord("a", 20, "a", 1, "%s %r", (value, [value]), None).getMessage()


@pytest.mark.parametrize(
    "show",
    [repr, str, pretty_repr, formatted, lambda value: f"{value!r}", lambda value: repr({"a": [value, (value,)]})],
)
async def test_no_object_shows_a_secret(
    vault: Vault, opened: Opened, service: Service, salesforce: SalesforceService, key: KeyEncryptionKey, show: Show
) -> None:
    """Issue 2, Vault: repr, logs and rich show nothing, of the thing itself or of what holds it."""
    grant = grant_of(salesforce)
    used = opened._used
    assert used is not None
    things = [vault, opened, used, used.token, used.header, grant, grant.private_key, key, opened.matcher, service]
    things += [vars(vault), vars(opened), vault._grants, vault._tokens, vars(vault._tokens), vars(grant_holder(grant))]

    shown = "".join(show(thing) for thing in things).encode()

    assert not [secret for secret in secrets(salesforce, key) if secret in shown]
    assert repr(key._key).encode() not in shown


def grant_holder(grant: JwtBearerGrant) -> Exception:
    """Make an exception that holds a grant."""
    error = RuntimeError(grant)
    error.grant = grant  # type: ignore[attr-defined]
    return error


@pytest.mark.parametrize("take", [pickle.dumps, copy.deepcopy, msgspec.json.encode, msgspec.to_builtins])
async def test_no_object_can_be_taken_along(
    opened: Opened, salesforce: SalesforceService, key: KeyEncryptionKey, take: Callable[[Any], Any]
) -> None:
    """Issue 2, Vault: pickling, copying and serializing are refused for whatever holds a secret."""
    used = opened._used
    assert used is not None
    for thing in (used, used.token, used.header, grant_of(salesforce), key, opened.matcher, opened, [used.header]):
        with pytest.raises(TypeError):
            take(thing)


async def test_a_dataclass_is_not_taken_apart(opened: Opened, salesforce: SalesforceService) -> None:
    """Issue 2, Vault: `asdict` copies what it meets, and a secret is not copied."""
    assert opened._used is not None
    for thing in (opened._used, opened._used.token, grant_of(salesforce)):
        with pytest.raises(TypeError):
            dataclasses.asdict(thing)


async def fails_to_add(vault: Vault, _service: Service, salesforce: SalesforceService) -> None:
    """Add a second grant."""
    await vault.add(CONNECTOR, grant_of(salesforce), ACTOR)


async def fails_to_open(vault: Vault, service: Service, salesforce: SalesforceService) -> None:
    """Use a grant whose service refuses it."""
    salesforce.faults.add(Answer(path="/oauth2/token", status=400, body={"error": "invalid_grant"}))
    await vault.open(service).header()


async def fails_to_unseal(vault: Vault, service: Service, _salesforce: SalesforceService) -> None:
    """Use a grant that was tampered with."""
    await update(vault._store, "UPDATE grants SET sealed = 'AAAA'")
    again = Vault(vault._store, vault._key)
    await again.start()
    await again.open(service).header()


@pytest.mark.parametrize("attempt", [fails_to_add, fails_to_open, fails_to_unseal])
async def test_no_traceback_shows_a_secret_even_with_its_variables(
    vault: Vault, service: Service, salesforce: SalesforceService, key: KeyEncryptionKey, attempt: Any
) -> None:
    """Issue 2, Vault: tracebacks show nothing; rich's, with the variables of every frame, neither."""
    with pytest.raises(Refusal) as refusal:
        await attempt(vault, service, salesforce)

    error = refusal.value
    screen = io.StringIO()
    Console(file=screen, width=10_000).print(
        Traceback.from_exception(type(error), error, error.__traceback__, show_locals=True, locals_max_string=10_000)
    )
    plain = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    shown = (screen.getvalue() + plain).encode()
    assert b"vault.py" in shown  # the control: the frames are there
    assert not [secret for secret in secrets(salesforce, key) if secret in shown]


@pytest.mark.parametrize(
    ("statement", "refusal"),
    [
        ("UPDATE grants SET connector = 'other'", VaultUnreadable),
        ("UPDATE grants SET principal = 'admin'", GrantUnavailable),
        ("UPDATE grants SET version = version + 1", VaultUnreadable),
        ("UPDATE grants SET sealed = substr(sealed, 1, 60) || 'AAAA' || substr(sealed, 65)", VaultUnreadable),
        ("UPDATE grants SET sealed = ''", VaultUnreadable),
        ("UPDATE grants SET key_id = 'AAAA'", VaultUnreadable),
        ("UPDATE grants SET status = 'revoked'", GrantUnavailable),
    ],
)
async def test_a_row_that_was_moved_does_not_open(
    vault: Vault, store: Store, key: KeyEncryptionKey, service: Service, statement: str, refusal: type[Refusal]
) -> None:
    """Issue 2, Vault: swapping rows, fields or versions in the file gives whoever does it nothing."""
    assert vault.grants()
    await update(store, statement)
    again = Vault(store, key)
    await again.start()
    connector = "other" if "'other'" in statement else CONNECTOR

    with pytest.raises(refusal):
        await again.open(dataclasses.replace(service, connector=connector)).header()


async def test_whom_the_broker_signs_for_cannot_be_changed_in_the_store(
    vault: Vault, store: Store, key: KeyEncryptionKey, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Issue 2, Vault: a writer of the file cannot make the broker act as another user with the same key."""
    signed_for: list[str] = []

    async def issue(_client: Any, _server: Any, grant: JwtBearerGrant, _scopes: Any) -> oauth.Token:
        signed_for.append(grant.subject)
        raise VaultUnreadable

    assert vault.grants()[0].subject == "broker@example.com"
    await update(store, "UPDATE grants SET public = replace(public, 'broker@', 'admin@')")
    again = Vault(store, key)
    await again.start()
    monkeypatch.setattr(oauth, "issue", issue)

    with contextlib.suppress(VaultUnreadable):
        await again.open(service).header()

    assert signed_for == ["broker@example.com"]


async def test_nobody_gets_a_second_grant_in_by_racing(
    vault: Vault, store: Store, salesforce: SalesforceService
) -> None:
    """lessons.md 6: which account a call runs with is never the luck of an order."""
    ended = await asyncio.gather(
        *(vault.add(CONNECTOR, grant_of(salesforce, subject=f"{number}@evil.example"), ACTOR) for number in range(20)),
        return_exceptions=True,
    )

    assert {type(end) for end in ended} == {AlreadyExists}
    with store.reading() as connection:
        assert len(store.grants.all(connection)) == 1
