import re

import pytest

from broker.errors import ProofExpired, ProofMalformed, ProofRevoked, ProofUntrusted
from broker.identity import Identifier, KeyRing, Proof, Registry, TrustStore, new_access_key
from broker.redact import scrub
from tests.support.low_issuer import AUDIENCE, NOW, WORKLOAD


@pytest.fixture
def ring() -> KeyRing:
    """Make a ring without keys."""
    return KeyRing()


def issued(ring: KeyRing, expires_at: float = NOW + 100) -> str:
    """Issue a key for the analyst."""
    text, key = new_access_key(WORKLOAD, expires_at)
    ring.put([key])
    return text


def test_a_key_is_its_agent_with_lower_assurance(ring: KeyRing) -> None:
    """Issue 4: virtual access keys bound to one agent, lower assurance, each use recorded as such."""
    text = issued(ring)
    identifier = Identifier(AUDIENCE, TrustStore(), lambda: Registry([]), dict, lambda: NOW, keys=ring)

    identity = identifier.identify(Proof(token=text))

    assert (identity.spiffe_id, identity.method, identity.assurance) == (WORKLOAD, "access-key", "key")
    assert identity.key_id == text.rpartition("_")[0]
    assert text.rpartition("_")[2] not in repr(identity)


def test_what_is_kept_of_a_key_does_not_give_it_away() -> None:
    """Issue 4: stored hashed; of 256 random bits, which need no salt and cannot be guessed."""
    (first, kept), (second, _) = new_access_key(WORKLOAD, NOW), new_access_key(WORKLOAD, NOW)

    assert first != second
    assert re.fullmatch("[0-9a-f]{64}", kept.hash)
    assert first.rpartition("_")[2] not in repr(kept)


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (lambda text: text[:-1] + ("a" if text[-1] != "a" else "b"), ProofUntrusted),
        (lambda _: new_access_key(WORKLOAD, NOW + 9)[0], ProofUntrusted),
        (lambda text: text.rpartition("_")[0] + "_" + new_access_key("x", 1)[0].rpartition("_")[2], ProofUntrusted),
        (lambda text: text[:-1], ProofMalformed),
        (lambda text: text + "x", ProofMalformed),
        (lambda text: text + "\n", ProofMalformed),
        (lambda text: text.rpartition("_")[0], ProofMalformed),
        (lambda _: "aamk_", ProofMalformed),
    ],
)
def test_a_key_that_is_not_exactly_one_of_ours_proves_nothing(ring: KeyRing, change: object, kind: type) -> None:
    """A prefix identifies a key and opens nothing."""
    text = issued(ring)
    assert ring.verify(text, NOW).spiffe_id == WORKLOAD

    with pytest.raises(kind):
        ring.verify(change(text), NOW)  # type: ignore[operator]


def test_a_key_ends_when_it_expires_or_is_revoked(ring: KeyRing) -> None:
    """Issue 4: expiring, revoked at once; who holds no such key is not told which there are."""
    text = issued(ring)
    with pytest.raises(ProofExpired):
        ring.verify(text, NOW + 100)

    ring.revoke(text.rpartition("_")[0])

    with pytest.raises(ProofRevoked):
        ring.verify(text, NOW)
    with pytest.raises(ProofUntrusted):
        ring.verify(text[:-2] + "zz" if text[-2:] != "zz" else text[:-2] + "yy", NOW)


def test_a_leaked_key_is_recognised_and_taken_out() -> None:
    """Issue 4: identifiable by prefix; a key in a service's record does not leave with a result."""
    text = new_access_key(WORKLOAD, NOW)[0]
    value = {"note": f"my key is {text}, keep it"}

    released = scrub(value, str(value).encode())

    assert released.removed == 1
    assert text.rpartition("_")[2].encode() not in released.text
