"""Brokers for tests: one served from a thread of this process, whose insides can be looked at; one as a process."""

import asyncio
import functools
import json
import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any, Protocol, Self, TypeVar
from unittest.mock import patch

import anyio
from joserfc.jwk import RSAKey

from broker.app import Options, Serving
from broker.app.daemon import live
from broker.app.doors import Doors
from broker.app.parts import Parts
from broker.audit import Report, Statement, verify
from broker.documents import Documents, load
from broker.egress import Secret
from broker.errors import Refusal
from broker.identity import WorkloadIdentity
from broker.oauth import JwtBearerGrant
from broker.pipeline import Answer, Origin, Request, silent
from tests.support.documents import ANALYST, Written
from tests.support.notes import Notes
from tests.support.operators import OperatorsClient

T = TypeVar("T")
Record = dict[str, Any]
PATIENCE = 60.0


@functools.cache
def private_key() -> str:
    """Return a private key for grants; making one takes its time."""
    return RSAKey.generate_key(2048, auto_kid=False).as_pem(private=True).decode()


def until(reached: Callable[[], T], seconds: float = PATIENCE) -> T:
    """Wait until something is so, and return it; fail if it does not become so in time."""
    deadline = time.monotonic() + seconds
    while not (found := reached()):
        assert time.monotonic() < deadline, "it did not become so in time"
        time.sleep(0.005)
    return found


class Signs(Protocol):
    """A directory of documents, and tokens that they accept."""

    @property
    def directory(self) -> Path:
        """Where the documents are."""
        ...

    def token(self, *workload: str, **claims: Any) -> str:
        """Return a fresh token, of the set's own agent unless another is named."""
        ...


class ReadTrail:
    """The trail of a broker of this process, as its records say it."""

    parts: Parts

    def records(self, call_id: str | None = None, kind: str | None = None) -> list[Record]:
        """Return every record, or those of one call or kind."""
        trail = self.parts.store.trail
        size = self.parts.store.commits.values[trail.HEAD].size
        bodies = self.parts.store.read(lambda connection: list(trail.bodies(connection, 0, size)))
        found: list[Record] = [json.loads(body) for body in bodies]
        return [
            record
            for record in found
            if (call_id is None or record.get("call_id") == call_id) and (kind is None or record["kind"] == kind)
        ]

    def story(self, call_id: str) -> dict[str, Record]:
        """Return a call's records by kind, of each of which there is one."""
        records = self.records(call_id)
        assert len({record["kind"] for record in records}) == len(records), records
        return {record["kind"]: record for record in records}

    def outcome(self, call_id: str) -> Record:
        """Return how a call ended."""
        outcome: Record = self.story(call_id)["finished"]["outcome"]
        return outcome

    def last_status(self) -> str | None:
        """Return how the last call that ended has ended."""
        finished = self.records(kind="finished")
        return str(finished[-1]["outcome"]["status"]) if finished else None

    def open_calls(self) -> list[tuple[str, str]]:
        """Return the calls that are decided and not finished."""
        return self.parts.store.read(self.parts.store.trail.open_calls)

    def verified(self) -> Report:
        """Check the whole trail."""
        trail = self.parts.store.trail
        head = self.parts.store.commits.values[trail.HEAD]
        with self.parts.store.reading() as connection:
            return verify(trail.bodies(connection, 0, head.size), Statement.of(trail.log, head))


class Line(ReadTrail):
    """The parts of a broker without its doors, in the test's own event loop."""

    def __init__(self, parts: Parts, written: Written) -> None:
        self.parts = parts
        self.written = written
        self.database = written.directory / "data/broker.db"

    async def call(self, tool: str, arguments: Any = None, workload: str = ANALYST, **origin: Any) -> Answer:
        """Make a call, as a door does once it knows who calls."""
        trust_domain = workload.removeprefix("spiffe://").partition("/")[0]
        identity = WorkloadIdentity(workload, trust_domain, "jwt-svid", "development", "sha256:0")
        origin = {"transport": "streamable-http", "source": "127.0.0.1", **origin}
        request = Request(identity, tool, {} if arguments is None else arguments, Origin(**origin))
        return await self.parts.pipeline.call(request, silent)

    async def refused(self, tool: str, arguments: Any = None, workload: str = ANALYST) -> Refusal:
        """Make a call that must be refused, and return the refusal."""
        try:
            await self.call(tool, arguments, workload)
        except Refusal as refusal:
            return refusal
        raise AssertionError("the call was not refused")

    @contextmanager
    def counting(self) -> Iterator[list[Any]]:
        """Note what is submitted to the commit queue meanwhile."""
        submitted: list[Any] = []
        submit = self.parts.store.commits.submit

        def counted(change: Any) -> Any:
            submitted.append(change)
            return submit(change)

        with patch.object(self.parts.store.commits, "submit", counted):
            yield submitted


@asynccontextmanager
async def open_line(written: Written, notes: Notes, *, grant: bool = True) -> AsyncIterator[Line]:
    """Build the parts as the daemon does, with a grant for the notes."""
    options = Options(written.directory, development=True, find=notes.find)
    documents = Documents(load(options.directory, options.find), options.find)
    async with AsyncExitStack() as stack:
        parts = await Parts.build(options, documents, stack)
        if grant:
            await add_grant(parts)
        yield Line(parts, written)


async def add_grant(parts: Parts) -> None:
    """Connect an account for the notes."""
    grant = JwtBearerGrant("client", "subject", Secret(private_key()))
    await parts.vault.add("notes", grant, {"user": "test", "uid": 0, "role": "admin"})


class ServedBroker(ReadTrail):
    """A broker, served as the daemon serves it, from a thread of this process and without its signals."""

    def __init__(
        self,
        written: Written,
        notes: Notes | None = None,
        *,
        development: bool = True,
        grant: bool = True,
        **options: Any,
    ) -> None:
        self.written = written
        self.notes = notes or Notes()
        self._options = Options(written.directory, development=development, **{"find": self.notes.find, **options})
        self._grant = grant
        self._ready = threading.Event()
        self._stop: asyncio.Event
        self._loop: asyncio.AbstractEventLoop
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="broker", daemon=True)
        self.serving: Serving
        self.doors: Doors

    def __enter__(self) -> Self:
        with patch("broker.app.daemon.settle_garbage"):  # the test process keeps its own collector
            self._thread.start()
            assert self._ready.wait(PATIENCE)
        if self._failure is not None:
            raise self._failure
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """Drain and end, as SIGTERM makes the daemon do."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(PATIENCE)
            assert not self._thread.is_alive()

    @property
    def url(self) -> str:
        """Where agents connect by HTTP."""
        return self.serving.http

    @property
    def agents_socket(self) -> str:
        """Where the relay connects."""
        return str(self.serving.agents_socket)

    @property
    def operators(self) -> OperatorsClient:
        """A client of the operators' socket."""
        return OperatorsClient(self.written.directory / "run/operators.sock")

    def token(self, workload: str = ANALYST, **claims: Any) -> str:
        """Return a fresh token."""
        return self.written.token(workload, **claims)

    def await_(self, function: Callable[..., Coroutine[Any, Any, T]], *arguments: Any) -> T:
        """Run a coroutine function in the broker's event loop."""
        return asyncio.run_coroutine_threadsafe(function(*arguments), self._loop).result(PATIENCE)

    def _run(self) -> None:
        try:
            anyio.run(self._serve, backend_options={"use_uvloop": True})
        except BaseException as error:  # noqa: BLE001 - raised where the test sees it
            self._failure = error
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        self._stop, self._loop = asyncio.Event(), asyncio.get_running_loop()
        documents = Documents(load(self._options.directory, self._options.find), self._options.find)
        async with AsyncExitStack() as stack:
            self.parts = await Parts.build(self._options, documents, stack)
            if self._grant:
                await add_grant(self.parts)
            with patch("broker.app.daemon.Doors", self._doors):
                await live(self.parts, self._stop, self._note)

    def _doors(self, parts: Parts) -> Doors:
        self.doors = Doors(parts)
        return self.doors

    def _note(self, serving: Serving) -> None:
        self.serving = serving
        self._ready.set()


class BrokerProcess:
    """A broker as a process of its own: `python -m tests.support.serve`, on documents for the notes."""

    def __init__(self, written: Signs, *options: str, environment: Mapping[str, str] = MappingProxyType({})) -> None:
        self.written = written
        self.environment = environment
        self.log = written.directory / "serve.log"
        self._command = [sys.executable, "-m", "tests.support.serve", str(written.directory), *options]
        self.process: subprocess.Popen[str]
        self.facts: Record = {}

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self, *options: str) -> None:
        """Start it, and wait until it serves."""
        if self.facts:
            _stdout(self.process).close()
        with self.log.open("a") as log:
            command = [*self._command, *options]
            self.process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=log, text=True, env={**os.environ, **self.environment}
            )
        line = _stdout(self.process).readline()
        assert line, self.log.read_text()
        self.facts = json.loads(line)

    @property
    def url(self) -> str:
        """Where agents connect by HTTP."""
        return str(self.facts["http"])

    @property
    def agents_socket(self) -> str:
        """Where the relay connects."""
        return str(self.facts["agents_socket"])

    @property
    def operators(self) -> OperatorsClient:
        """A client of the operators' socket."""
        return OperatorsClient(self.written.directory / "run/operators.sock")

    def token(self, *workload: str, **claims: Any) -> str:
        """Return a fresh token."""
        return self.written.token(*workload, **claims)

    def connect_notes(self) -> None:
        """Add the grant, through the operators' socket."""
        grant = {"connector": "notes", "client_id": "client", "subject": "subject", "private_key": private_key()}
        self.operators.post("/v1/grants", grant)

    def kill(self) -> None:
        """End it without any warning."""
        self.process.kill()
        self.process.wait(PATIENCE)
        _stdout(self.process).close()

    def records(self) -> Iterator[Record]:
        """Yield every record, as the operators' door exports it."""
        with self.operators.export() as lines:
            next(lines)
            for line in lines:
                yield json.loads(line)


def _stdout(process: "subprocess.Popen[str]") -> IO[str]:
    assert process.stdout is not None
    return process.stdout


@contextmanager
def locked(database: Path) -> Iterator[None]:
    """Hold the store's write lock, as another process could."""
    connection = sqlite3.connect(database, isolation_level=None)
    try:
        connection.execute("BEGIN IMMEDIATE")
        yield
    finally:
        connection.close()
