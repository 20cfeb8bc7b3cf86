"""A Workload API as a SPIRE agent serves it: compiled from the specification's proto, attesting by the kernel.

It streams whatever bundles it is given, hands out tokens to the users it knows, fails as it is told to, and keeps a
record of every call. gRPC does not tell who is at the other end of a Unix socket, so a gate stands before it that does:
it asks the kernel (SO_PEERCRED), and passes the connection on from a port that stands for the caller.
"""

import contextlib
import functools
import importlib
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from concurrent import futures
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import grpc
from grpc_tools import protoc

from broker.identity import Peer, socket_peer

_PROTO = Path(__file__).with_name("workloadapi.proto")


@functools.cache
def compiled() -> tuple[Any, Any]:
    """Return the compiled messages and service."""
    place = tempfile.mkdtemp(prefix="aam-workloadapi-")
    (Path(place) / _PROTO.name).write_text(_PROTO.read_text())
    if protoc.main(["", f"-I{place}", f"--python_out={place}", f"--grpc_python_out={place}", _PROTO.name]):
        raise RuntimeError("workloadapi.proto does not compile")
    sys.path.insert(0, place)
    try:
        return importlib.import_module("workloadapi_pb2"), importlib.import_module("workloadapi_pb2_grpc")
    finally:
        sys.path.remove(place)


@dataclass(frozen=True, slots=True)
class Call:
    """One call: what was called, by whom, with which metadata and message."""

    method: str
    metadata: Mapping[str, str]
    request: Any
    peer: Peer | None


@dataclass
class Agent:
    """What the Workload API says at the moment, and what it was asked."""

    jwt_bundles: dict[str, bytes] = field(default_factory=dict)
    x509_bundles: dict[str, bytes] = field(default_factory=dict)
    tokens: dict[int, list[tuple[str, Any]]] = field(default_factory=dict)
    """By user id: workloads, each with what signs a token for (workload, audiences)."""
    failing: list[str] = field(default_factory=list)
    """Names of status codes with which the next calls end; behind a method's name, the next ones of that method."""
    always: str | None = None
    calls: list[Call] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.changing = threading.Condition()
        self.version = 0
        self.cut = 0

    def push(self, jwt: Mapping[str, bytes] | None = None, x509: Mapping[str, bytes] | None = None) -> None:
        """Send everybody these bundles, by trust domain; None leaves one kind as it is."""
        with self.changing:
            self.jwt_bundles = self.jwt_bundles if jwt is None else dict(jwt)
            self.x509_bundles = self.x509_bundles if x509 is None else dict(x509)
            self.version += 1
            self.changing.notify_all()

    def end_streams(self) -> None:
        """End every stream, as an agent that restarts does."""
        with self.changing:
            self.cut += 1
            self.changing.notify_all()

    def fails(self, method: str) -> str | None:
        """Return the status code with which a call ends, if it does not go well."""
        with self.changing:
            for number, one in enumerate(self.failing):
                of, _, code = one.rpartition(" ")
                if of in {"", method}:
                    del self.failing[number]
                    return code
        return self.always

    def methods(self) -> list[str]:
        """Return what was called."""
        return [call.method for call in self.calls]


class WorkloadApiServer:
    """Serves an agent on a Unix socket; or on a TCP port, where nobody can be told from another."""

    def __init__(self, path: Path | None = None) -> None:
        self.agent = Agent()
        self._path = path
        self._gate: _Gate | None = None
        self.endpoint = ""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Serve, again if need be."""
        _, service = compiled()
        self._server = grpc.server(futures.ThreadPoolExecutor(32), options=[("grpc.so_reuseport", 0)])
        service.add_SpiffeWorkloadAPIServicer_to_server(_Servicer(self), self._server)
        port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()
        self.endpoint = f"tcp://127.0.0.1:{port}"
        if self._path is not None:
            self._gate = _Gate(self._path, port)
            self.endpoint = f"unix://{self._path}"

    def stop(self) -> None:
        """End, cutting every connection."""
        if self._gate is not None:
            self._gate.close()
        self.agent.end_streams()
        self._server.stop(0).wait(60)

    def peer(self, name: str) -> Peer | None:
        """Return whose process a connection is that gRPC names so."""
        return None if self._gate is None else self._gate.peers.get(int(name.rpartition(":")[2]))


class _Servicer:
    def __init__(self, server: WorkloadApiServer) -> None:
        self._server = server
        self._agent = server.agent
        self._messages = compiled()[0]

    def FetchJWTBundles(self, request: Any, context: Any) -> Iterator[Any]:  # noqa: N802 - the service's names
        self._admit("FetchJWTBundles", request, context)
        for _ in self._changes(context):
            yield self._messages.JWTBundlesResponse(bundles=_named(self._agent.jwt_bundles))
        context.abort(grpc.StatusCode.UNAVAILABLE, "the agent ends")

    def FetchX509Bundles(self, request: Any, context: Any) -> Iterator[Any]:  # noqa: N802
        self._admit("FetchX509Bundles", request, context)
        for _ in self._changes(context):
            yield self._messages.X509BundlesResponse(bundles=_named(self._agent.x509_bundles))
        context.abort(grpc.StatusCode.UNAVAILABLE, "the agent ends")

    def FetchX509SVID(self, request: Any, context: Any) -> Iterator[Any]:  # noqa: N802
        self._admit("FetchX509SVID", request, context)
        context.abort(grpc.StatusCode.PERMISSION_DENIED, "no identity issued")
        yield

    def FetchJWTSVID(self, request: Any, context: Any) -> Any:  # noqa: N802
        peer = self._admit("FetchJWTSVID", request, context)
        known = self._agent.tokens.get(peer.uid if peer else -1, [])
        found = [(name, sign) for name, sign in known if request.spiffe_id in {"", name}]
        if not found:
            context.abort(grpc.StatusCode.PERMISSION_DENIED, "no identity issued")
        return self._messages.JWTSVIDResponse(
            svids=[
                self._messages.JWTSVID(spiffe_id=name, svid=sign(name, list(request.audience))) for name, sign in found
            ]
        )

    def _admit(self, method: str, request: Any, context: Any) -> Peer | None:
        metadata = {key: value for key, value in context.invocation_metadata() if isinstance(value, str)}
        peer = self._server.peer(context.peer())
        self._agent.calls.append(Call(method, metadata, request, peer))
        if metadata.get("workload.spiffe.io") != "true":
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "security header missing")
        code = self._agent.fails(method)
        if code is not None:
            context.abort(getattr(grpc.StatusCode, code), "told to fail")
        return peer

    def _changes(self, context: Any) -> Iterator[None]:
        """Yield now and after each push, until streams are ended or the caller leaves."""
        agent = self._agent
        cut, seen = agent.cut, -1
        context.add_callback(lambda: _wake(agent))
        while True:
            with agent.changing:
                while agent.version == seen and agent.cut == cut and context.is_active():
                    agent.changing.wait()
                if agent.cut != cut or not context.is_active():
                    return
                seen = agent.version
            yield


def _wake(agent: Agent) -> None:
    with agent.changing:
        agent.changing.notify_all()


def _named(bundles: Mapping[str, bytes]) -> dict[str, bytes]:
    return {f"spiffe://{domain}": bundle for domain, bundle in bundles.items()}


class _Gate:
    """A Unix socket before a TCP port, which knows whose process each connection is."""

    def __init__(self, path: Path, port: int) -> None:
        self.peers: dict[int, Peer] = {}
        self._port = port
        self._open: set[socket.socket] = set()
        path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        path.chmod(0o666)
        self._listener.listen()
        self._path = path
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Listen no more, and cut what is open."""
        self._path.unlink(missing_ok=True)
        for one in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self._port))
                self.peers[far.getsockname()[1]] = socket_peer(near)
                self._open |= {near, far}
                for pair in ((near, far), (far, near)):
                    threading.Thread(target=_pump, args=pair, daemon=True).start()


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
    for one in (source, target):
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
