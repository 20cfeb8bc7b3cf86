"""Trust bundles: the keys that a trust domain signs with, parsed strictly and kept apart for each domain."""

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from joserfc import jwk
from joserfc.errors import JoseError, SecurityWarning

from broker.errors import ProofUntrusted

_RSA_BITS = 2048  # RFC 7518 §3.3
_CURVE_ALGORITHMS = {"P-256": ("ES256",), "P-384": ("ES384",), "P-521": ("ES512",)}
_RSA_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")


@dataclass(frozen=True, slots=True)
class BundleKey:
    """One key that signs JWT-SVIDs, and the algorithms that it may be used with."""

    key_id: str
    key: jwk.RSAKey | jwk.ECKey
    algorithms: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class TrustBundle:
    """The JWT-SVID keys of one trust domain. No keys means that everything from the domain is revoked."""

    trust_domain: str
    keys: Mapping[str, BundleKey]
    sequence: int | None = None
    refresh_hint: float | None = None
    fetched_at: float | None = field(default=None)


def parse_bundle(trust_domain: str, text: bytes, *, fetched_at: float | None = None) -> TrustBundle:
    """Parse a SPIFFE bundle (a JWK Set, SPIFFE_Trust_Domain_and_Bundle §4); raise `ValueError` if it is none.

    Entries that are not usable for JWT-SVIDs (another `use`, no `kid`, an unknown or weak key) are left out one by one,
    as the standard asks; they never discard the rest.
    """
    try:
        document = json.loads(text, object_pairs_hook=unique_keys)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not a trust bundle: {error}") from None
    if not isinstance(document, dict) or not isinstance(document.get("keys"), list):
        raise ValueError("not a trust bundle: a JWK Set with 'keys' is expected")
    keys = {key.key_id: key for entry in document["keys"] if (key := _parse_key(entry))}
    return TrustBundle(
        trust_domain,
        MappingProxyType(keys),
        _whole_number(document.get("spiffe_sequence")),
        _whole_number(document.get("spiffe_refresh_hint")),
        fetched_at,
    )


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build a JSON object, refusing a key that stands twice: readers would disagree about which one counts."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return found


def _parse_key(entry: Any) -> BundleKey | None:
    if not isinstance(entry, dict) or entry.get("use") != "jwt-svid":
        return None
    key_id = entry.get("kid")
    if not isinstance(key_id, str) or not key_id or not key_id.isprintable():
        return None
    return usable_key(entry, key_id)


def usable_key(entry: dict[str, Any], key_id: str) -> BundleKey | None:
    """Return a JWK as a key that may have signed a token, whatever its `use`; None if it is unknown or weak."""
    # joserfc refuses a `use` that it does not know, so what has been checked here is taken off
    plain = {name: value for name, value in entry.items() if name in {"kty", "kid", "n", "e", "crv", "x", "y"}}
    algorithms: tuple[str, ...]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SecurityWarning)  # of small keys, which are left out below
            key = jwk.import_key(plain)
        if isinstance(key, jwk.RSAKey):
            algorithms = _RSA_ALGORITHMS if key.public_key.key_size >= _RSA_BITS else ()
        elif isinstance(key, jwk.ECKey):
            algorithms = _CURVE_ALGORITHMS.get(str(plain.get("crv")), ())
        else:
            return None
    except (JoseError, ValueError, TypeError, KeyError):
        return None
    if "alg" in entry:
        algorithms = tuple(name for name in algorithms if name == entry["alg"])
    return BundleKey(key_id, key, algorithms) if algorithms else None


def _whole_number(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


class TrustStore:
    """The bundles in force, each under its own trust domain; they are never merged (SPIFFE_Federation §4.2)."""

    def __init__(self) -> None:
        self._bundles: dict[str, TrustBundle] = {}
        self._stale_after: dict[str, float] = {}

    def put(self, bundle: TrustBundle, *, stale_after: float | None = None) -> bool:
        """Put a bundle in force; returns False, and keeps what it has, when a fetched one is older by its sequence.

        `stale_after` is the moment (seconds since the epoch) from which the bundle is no longer trusted.
        """
        held = self._bundles.get(bundle.trust_domain)
        if (
            held is not None
            and bundle.fetched_at is not None
            and held.sequence is not None
            and (bundle.sequence is None or bundle.sequence < held.sequence)
        ):
            return False
        self._bundles[bundle.trust_domain] = bundle
        self._stale_after.pop(bundle.trust_domain, None)
        if stale_after is not None:
            self._stale_after[bundle.trust_domain] = stale_after
        return True

    def forget(self, trust_domain: str) -> None:
        """Take the domain's bundle out of force, if there is one: until another comes, nothing from it is trusted."""
        self._bundles.pop(trust_domain, None)
        self._stale_after.pop(trust_domain, None)

    def keep_only(self, trust_domains: set[str]) -> None:
        """Forget the bundles of trust domains that are no longer configured."""
        for name in self._bundles.keys() - trust_domains:
            self.forget(name)

    def find(self, trust_domain: str) -> TrustBundle | None:
        """Return the domain's bundle, however old; for reports."""
        return self._bundles.get(trust_domain)

    def bundle(self, trust_domain: str, now: float) -> TrustBundle:
        """Return the domain's bundle; raise `ProofUntrusted` if there is none or it has become too old to trust."""
        bundle = self._bundles.get(trust_domain)
        if bundle is None:
            raise ProofUntrusted(detail=f"no trust bundle for {trust_domain}")
        if now > self._stale_after.get(trust_domain, now):
            raise ProofUntrusted(detail=f"the trust bundle of {trust_domain} has not been renewed for too long")
        return bundle
