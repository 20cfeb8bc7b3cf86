"""Proofs that somebody else has seen: a bearer token may be shown again, for as long as it lives, and here only."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.support.broker import ServedBroker
from tests.support.clients import Answered, Wire
from tests.support.documents import ANALYST

READ = ("notes_notes_read", {"id": "n1"})


@contextmanager
def later(broker: ServedBroker, seconds: float) -> Iterator[None]:
    """Set the broker's clock for proofs ahead."""
    identifier = broker.parts.entrance._identifier
    clock = identifier._clock
    identifier._clock = lambda: time.time() + seconds
    try:
        yield
    finally:
        identifier._clock = clock


def call(broker: ServedBroker, token: str) -> Answered:
    """Call with a token, on a connection of its own."""
    return Wire(broker, token).call(*READ)


def test_a_stolen_token_is_good_until_it_expires_and_not_a_second_longer(broker: ServedBroker) -> None:
    """Issue 4: a bearer proof may repeat until it expires; having been verified before makes it no better."""
    token = broker.token(seconds=120)
    first, again = call(broker, token), call(broker, token)
    assert (first.code, again.code) == (None, None)
    assert (
        broker.story(first.call_id)["requested"]["identity"]["proof"]
        == (broker.story(again.call_id)["requested"]["identity"]["proof"])
    )  # whoever looks for a theft finds every use of the one token

    with later(broker, 121):
        assert call(broker, token).code == "proof_expired"


@pytest.mark.parametrize("seconds", [3600, 3600 * 24, 10**8])
def test_a_token_that_would_live_for_long_is_refused_however_it_is_dressed(broker: ServedBroker, seconds: int) -> None:
    """Issue 4: its lifetime is capped, from its issue as from now; a token from the past has not aged into the cap."""
    now = int(time.time())
    assert call(broker, broker.token(seconds=3000)).code is None

    for claims in ({}, {"iat": None}, {"iat": now - seconds}):
        token = broker.token(ANALYST, exp=now + seconds + 100, **claims)
        assert call(broker, token).code == "proof_lives_too_long"


def test_a_token_for_another_service_is_nothing_here(broker: ServedBroker) -> None:
    """MCP authorization: a token that was not issued for this broker is refused, however near."""
    near = broker.token(aud=["http://127.0.0.1:8470", "http://127.0.0.1:8470/mcp/", "HTTP://127.0.0.1:8470/MCP"])
    assert call(broker, broker.token()).code is None

    assert call(broker, near).code == "proof_for_another_audience"


def test_a_token_of_the_future_waits_for_its_time(broker: ServedBroker) -> None:
    """RFC 7519 §4.1.5: and is good then, so that it was the time that was wrong."""
    token = broker.token(nbf=int(time.time()) + 600, exp=int(time.time()) + 900, iat=int(time.time()))

    assert call(broker, token).code == "proof_not_yet_valid"
    with later(broker, 601):
        assert call(broker, token).code is None


@pytest.mark.parametrize("size", [8192, 60_000])
def test_a_token_of_any_size_costs_nothing_to_refuse(broker: ServedBroker, size: int) -> None:
    """Issue 4: oversized proofs; nothing of one is decoded or remembered."""
    remembered = broker.parts.entrance._identifier._svids._remembered
    before = len(remembered)

    assert call(broker, broker.token(padding="x" * size)).code == "proof_malformed"
    assert len(remembered) == before
