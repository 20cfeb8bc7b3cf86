"""Trust bundles from the Workload API (§5.2.2 and §6.2.2), streamed, so that a rotation is known at once.

Each message is complete: a trust domain that is missing from it has been withdrawn. While a stream is down, the last
bundle is trusted for `stale_after` seconds and then no longer; where the endpoint denies that it knows this process,
for a few seconds, until it says so again.
"""

import asyncio
import logging
import time
from asyncio import sleep
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from broker.identity.authorities import load_certificate, split_certificates
from broker.identity.bundle import TrustBundle, parse_jwk_set
from broker.identity.endpoint import Endpoint
from broker.identity.store import TrustStore
from broker.identity.workload_messages import SECURITY, Method, grpc, method

logger = logging.getLogger(__name__)

_FIRST_RETRY, _LONGEST_RETRY = 0.2, 30.0  # seconds
_DOUBT = 10.0  # seconds; SPIRE denies what it knows while it issues anew what a tainted authority had signed
_LARGEST_MESSAGE = 4 << 20
_OPTIONS = (
    ("grpc.enable_http_proxy", 0),
    ("grpc.max_receive_message_length", _LARGEST_MESSAGE),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 5000),
    ("grpc.keepalive_time_ms", 330_000),  # an agent that hangs is noticed; Go's servers mind more than one in 5 minutes
    ("grpc.keepalive_timeout_ms", 20_000),
)


@dataclass(frozen=True, slots=True)
class WorkloadApi:
    """Where one trust domain's bundle is streamed from, and for how many seconds the last word is trusted."""

    trust_domain: str
    endpoint: Endpoint
    stale_after: float


async def follow(source: WorkloadApi, store: TrustStore) -> None:
    """Keep the trust domain's bundle as the Workload API says it, for ever."""
    held = _Held(source, store)
    jwt = method("FetchJWTBundles", "JWTBundlesRequest", "JWTBundlesResponse")
    x509 = method("FetchX509Bundles", "X509BundlesRequest", "X509BundlesResponse")
    async with grpc("grpc.aio").insecure_channel(source.endpoint.target, options=_OPTIONS) as channel:
        await asyncio.gather(
            _Stream("JWT", jwt, held, _with_keys).follow(channel),
            _Stream("X.509", x509, held, _with_authorities).follow(channel),
        )


class _Held:
    """What the two streams have said of one trust domain, put together and in force."""

    def __init__(self, source: WorkloadApi, store: TrustStore) -> None:
        self.source = source
        self._store = store
        self._bundle = TrustBundle(source.trust_domain, MappingProxyType({}))
        self._known: set[str] = set()
        self._until: dict[str, float] = {}

    def says(self, kind: str, change: Callable[[TrustBundle], TrustBundle]) -> None:
        """Take what a stream says of the domain now."""
        self._bundle = change(self._bundle)
        self._known.add(kind)
        self._until.pop(kind, None)
        self._put()

    def is_withdrawn(self, kind: str, change: Callable[[TrustBundle], TrustBundle]) -> None:
        """Note that a stream no longer says anything of the domain: at once, nothing of that kind is trusted."""
        self._bundle = change(self._bundle)
        self._known.discard(kind)
        self._until.pop(kind, None)
        self._put()

    def is_down(self, kind: str) -> None:
        """Note that a stream has ended: from the first moment on, the bundle grows old."""
        self._lasts(kind, self.source.stale_after)

    def is_doubtful(self, kind: str) -> None:
        """Note that a stream was denied: what it said lasts until it is denied again, and a few seconds at most."""
        self._lasts(kind, min(_DOUBT, self.source.stale_after))

    def _lasts(self, kind: str, seconds: float) -> None:
        if kind in self._known:
            until = time.time() + seconds
            self._until[kind] = min(until, self._until.get(kind, until))
            self._put()

    def _put(self) -> None:
        if not self._known:
            self._store.forget(self.source.trust_domain)
            return
        self._store.put(self._bundle, stale_after=min(self._until.values(), default=None))


Parse = Callable[[TrustBundle, bytes | None], TrustBundle]


class _Stream:
    """One of the two streams, opened again whenever it ends."""

    def __init__(self, kind: str, method: Method, held: _Held, parse: Parse) -> None:
        self._kind = kind
        self._method = method
        self._held = held
        self._parse = parse
        self._retry = _FIRST_RETRY
        self._denied = False

    async def follow(self, channel: Any) -> None:
        """Listen for ever; end only where the standard says not to ask again."""
        codes, failure = grpc().StatusCode, grpc("grpc.aio").AioRpcError
        call = channel.unary_stream(
            self._method.path,
            request_serializer=self._method.request.SerializeToString,
            response_deserializer=self._method.response.FromString,
        )
        while True:
            code = codes.UNAVAILABLE
            try:
                async for message in call(self._method.request(), metadata=SECURITY):
                    self._take(message)
            except failure as error:
                code = error.code()
            except Exception:  # noqa: BLE001 - what is no message at all; a stream that died would leave old keys in force
                code = codes.INTERNAL
            extra = {"trust_domain": self._held.source.trust_domain, "stream": self._kind, "code": code.name}
            denied = code in {codes.PERMISSION_DENIED, codes.UNIMPLEMENTED}  # this process is to know nothing of it
            if denied and self._denied:
                self._held.is_withdrawn(self._kind, lambda bundle: self._parse(bundle, None))
            elif denied:
                self._denied = True
                self._held.is_doubtful(self._kind)
            else:
                self._held.is_down(self._kind)
            if code is codes.INVALID_ARGUMENT:  # SPIFFE_Workload_Endpoint §6: not to be tried again
                logger.error("the Workload API refuses what it is asked", extra=extra)
                return
            logger.warning("a stream of the Workload API ended; it is opened again", extra=extra)
            await sleep(self._retry)
            self._retry = min(self._retry * 2, _LONGEST_RETRY)

    def _take(self, message: Any) -> None:
        self._denied = False
        name = f"spiffe://{self._held.source.trust_domain}"
        found = [entry.value for entry in message.bundles if entry.key == name]
        if not found:
            self._held.is_withdrawn(self._kind, lambda bundle: self._parse(bundle, None))
            return
        try:
            self._held.says(self._kind, lambda bundle: self._parse(bundle, found[-1]))
        except ValueError:  # §4.5: what is no bundle is discarded, and says nothing
            logger.warning("a bundle of the Workload API is none", extra={"trust_domain": name, "stream": self._kind})
            return
        self._retry = _FIRST_RETRY


def _with_keys(bundle: TrustBundle, text: bytes | None) -> TrustBundle:
    return replace(bundle, keys=MappingProxyType({}) if text is None else parse_jwk_set(text))


def _with_authorities(bundle: TrustBundle, joined: bytes | None) -> TrustBundle:
    if joined == b"":
        raise ValueError("a mandatory field with its default value")
    authorities = () if joined is None else tuple(map(load_certificate, split_certificates(joined)))
    return replace(bundle, authorities=authorities)
