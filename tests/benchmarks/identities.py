"""What verifying costs: a proof that is new, and one that has been verified before, which is still checked."""

import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

from broker.identity import FederatedVerifier, TrustDomain, TrustStore, parse_bundle, parse_key_set
from broker.identity.certificate import CertificateVerifier
from broker.identity.svid import SvidVerifier
from tests.support.issuers import ISSUER, issuer, key_set, login, rule, signed
from tests.support.low_issuer import AUDIENCE, DOMAIN, WORKLOAD, bundle, claims, entry, header, key, token
from tests.support.low_x509 import Authority

_NEW = 300  # proofs, each of which is verified once while it is new and then again and again
_ROUNDS = 20
_DOMAINS = {DOMAIN: TrustDomain(DOMAIN, "production")}


def identities() -> dict[str, dict[str, float]]:
    """Return the median microseconds of each kind of proof, new and remembered."""
    authority = Authority()
    intermediate = Authority(above=authority)
    store = TrustStore()
    store.put(parse_bundle(DOMAIN, bundle(entry("P-256"), entry("RSA"), authority.entry)))
    keys = TrustStore()
    keys.put(parse_key_set(ISSUER, key_set()))
    tokens, certificates = SvidVerifier(AUDIENCE, store), CertificateVerifier(store)
    measured: dict[str, tuple[Callable[..., Any], Iterator[Any]]] = {
        "jwt-svid ES256": (tokens.verify, _tokens("P-256")),
        "jwt-svid RS256": (tokens.verify, _tokens("RSA")),
        "issuer, 1 rule": (_by_issuer(keys, 1), _logins("a")),
        "issuer, 1000 rules": (_by_issuer(keys, 1000), _logins("b")),
        "x509-svid": (certificates.verify, (authority.issue().chain for _ in range(_NEW))),
        "x509-svid, intermediate": (certificates.verify, (intermediate.issue().chain for _ in range(_NEW))),
    }
    return {name: _measure(verify, list(proofs)) for name, (verify, proofs) in measured.items()}


def _tokens(kind: str) -> Iterator[str]:
    for number in range(_NEW):
        yield token(header(kind), claims(jti=str(number)), signer=key(kind))


def _by_issuer(keys: TrustStore, rules: int) -> Callable[..., Any]:
    """Return what identifies by the tokens of an issuer with so many rules, the last of which fits."""
    others = [rule(f"{WORKLOAD}-{number}", claims={"sub": str(number)}) for number in range(rules - 1)]
    configured = issuer(*others, rule(client="desktop"))
    verifier = FederatedVerifier(lambda: {ISSUER: configured}, keys)

    def verify(text: str, _domains: Any, now: float) -> Any:
        found = verifier.issuer_of(text)
        assert found is not None
        return verifier.verify(text, found, now)

    return verify


def _logins(name: str) -> Iterator[str]:
    return (signed(login(jti=f"{name}{number}")) for number in range(_NEW))


def _measure(verify: Callable[..., Any], proofs: list[Any]) -> dict[str, float]:
    new = [_timed(verify, proof) for proof in proofs]
    again = [_timed(verify, proof) for _ in range(_ROUNDS) for proof in proofs]
    return {"new_us": round(statistics.median(new), 1), "remembered_us": round(statistics.median(again), 2)}


def _timed(verify: Callable[..., Any], proof: Any) -> float:
    now = time.time()
    began = time.perf_counter_ns()
    verify(proof, _DOMAINS, now)
    return (time.perf_counter_ns() - began) / 1000
