"""Trust bundles: the keys that a trust domain signs with, parsed strictly and kept apart for each domain."""

import json
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from cryptography import x509
from joserfc import jwk
from joserfc.errors import JoseError, SecurityWarning

from broker.identity.authorities import parse_authority

_JWT_USE = "jwt-svid"
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
    """What one trust domain signs JWT-SVIDs and X.509-SVIDs with. Nothing means that everything from it is revoked."""

    trust_domain: str
    keys: Mapping[str, BundleKey]
    authorities: tuple[x509.Certificate, ...] = ()
    sequence: int | None = None
    refresh_hint: float | None = None
    fetched_at: float | None = field(default=None)


def parse_bundle(trust_domain: str, text: bytes, *, fetched_at: float | None = None) -> TrustBundle:
    """Parse a SPIFFE bundle (a JWK Set, SPIFFE_Trust_Domain_and_Bundle §4); raise `ValueError` if it is none.

    Entries that are not usable (an unknown `use`, no `kid`, an unknown or weak key) are left out one by one, as the
    standard asks; they never discard the rest. Of a bundle map (`trust_domains`), the domain's own entry counts.
    """
    document = _own_entry(trust_domain, _json(text))
    if not isinstance(document, dict) or not isinstance(document.get("keys"), list):
        raise ValueError("not a trust bundle: a JWK Set with 'keys' is expected")
    return TrustBundle(
        trust_domain,
        _keys(entry for entry in document["keys"] if isinstance(entry, dict) and entry.get("use") == _JWT_USE),
        tuple(authority for entry in document["keys"] if (authority := parse_authority(entry))),
        _whole_number(document.get("spiffe_sequence")),
        _whole_number(document.get("spiffe_refresh_hint")),
        fetched_at,
    )


def parse_jwk_set(text: bytes) -> Mapping[str, BundleKey]:
    """Parse the keys of a JWK Set that is all about JWT-SVIDs, as the Workload API gives one (§6.2.2).

    SPIRE writes no `use` there; another `use` than the right one is left out here too.
    """
    document = _json(text)
    if not isinstance(document, dict) or not isinstance(document.get("keys"), list):
        raise ValueError("not a trust bundle: a JWK Set with 'keys' is expected")
    entries = [entry for entry in document["keys"] if isinstance(entry, dict)]
    return _keys(entry for entry in entries if entry.get("use", _JWT_USE) == _JWT_USE)


def _json(text: bytes) -> Any:
    try:
        return json.loads(text, object_pairs_hook=unique_keys)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not a trust bundle: {error}") from None


def _own_entry(trust_domain: str, document: Any) -> Any:
    """Of a bundle map, return the domain's own bundle; its hints count for nothing there (SPIFFE_Federation §6)."""
    if not isinstance(document, dict) or "trust_domains" not in document:
        return document
    bundles = document["trust_domains"]
    found = bundles.get(trust_domain) if isinstance(bundles, dict) else None
    if not isinstance(found, dict):
        raise ValueError(f"not a trust bundle: a bundle map without one of {trust_domain}")
    return {"keys": found.get("keys")}


def _keys(entries: Iterable[Mapping[str, Any]]) -> Mapping[str, BundleKey]:
    return MappingProxyType({key.key_id: key for entry in entries if (key := _parse_key(entry))})


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build a JSON object, refusing a key that stands twice: readers would disagree about which one counts."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return found


def _parse_key(entry: Mapping[str, Any]) -> BundleKey | None:
    key_id = entry.get("kid")
    if not isinstance(key_id, str) or not key_id or not key_id.isprintable():
        return None
    return usable_key(entry, key_id)


def usable_key(entry: Mapping[str, Any], key_id: str) -> BundleKey | None:
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
