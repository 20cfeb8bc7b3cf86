"""Key sets of OIDC issuers (RFC 7517 §5), parsed as strictly as trust bundles are."""

import json
from types import MappingProxyType
from typing import Any

from broker.identity.bundle import BundleKey, TrustBundle, unique_keys, usable_key


def parse_key_set(issuer: str, text: bytes, *, fetched_at: float | None = None) -> TrustBundle:
    """Parse the JWK Set of an issuer; raise `ValueError` if it is none.

    Entries that sign no tokens (for encryption, of an unknown or weak kind) are left out one by one.
    """
    try:
        document = json.loads(text, object_pairs_hook=unique_keys)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not a key set: {error}") from None
    if not isinstance(document, dict) or not isinstance(document.get("keys"), list):
        raise ValueError("not a key set: a JWK Set with 'keys' is expected")
    keys: dict[str, BundleKey] = {}
    for number, entry in enumerate(document["keys"]):
        key = _parse_key(entry, number)
        if key is not None and keys.setdefault(key.key_id, key) is not key:
            raise ValueError("not a key set: two keys have one kid, and readers would disagree about which one counts")
    return TrustBundle(issuer, MappingProxyType(keys), fetched_at=fetched_at)


def _parse_key(entry: Any, number: int) -> BundleKey | None:
    if not isinstance(entry, dict) or entry.get("use", "sig") != "sig":
        return None
    operations = entry.get("key_ops", ["verify"])
    if not isinstance(operations, list) or "verify" not in operations:
        return None
    key_id = entry.get("kid", f" {number}")  # a name that no token gives: it is found by its algorithm alone
    if not isinstance(key_id, str) or not key_id or not key_id.isprintable():
        return None
    return usable_key(entry, key_id)
