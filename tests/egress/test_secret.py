import copy
import logging
import pickle

import msgspec
import pytest
from rich.pretty import pretty_repr

from broker.egress import Secret

VALUE = "CANARY-3e1f"


@pytest.mark.parametrize(
    "show",
    [
        repr,
        str,
        "%s".__mod__,
        "{}".format,
        "{!r}".format,
        "{0!s:>40}".format,
        pretty_repr,
        lambda secret: repr([secret, {"a": (secret,)}, {1: secret}.values()]),
        lambda secret: logging.LogRecord("a", 20, "a", 1, "%s %r", (secret, [secret]), None).getMessage(),
        lambda secret: pretty_repr({"a": [secret]}),
        lambda secret: f"{secret} {secret!r:>30}",
    ],
)
def test_a_secret_shows_nothing_of_itself(show: object) -> None:
    """Issue 2, Vault: repr, logs and tracebacks show nothing."""
    assert callable(show)

    assert VALUE not in str(show(Secret(VALUE)))


@pytest.mark.parametrize("save", [pickle.dumps, copy.copy, copy.deepcopy, msgspec.json.encode, msgspec.to_builtins])
def test_a_secret_cannot_be_taken_along(save: object) -> None:
    """Issue 2, Vault: pickling, copying and serializing are refused."""
    assert callable(save)

    with pytest.raises(TypeError) as refusal:
        save(Secret(VALUE))

    assert VALUE not in str(refusal.value)


def test_secrets_are_equal_by_value_and_no_keys() -> None:
    """egress: a header that a service refused is recognised, and no table is indexed by one."""
    assert Secret(VALUE) == Secret(VALUE)
    assert Secret(VALUE) != Secret("other")
    assert Secret(VALUE) != VALUE

    with pytest.raises(TypeError):
        hash(Secret(VALUE))


def test_a_secret_has_no_other_attribute_and_takes_none() -> None:
    """egress: what holds a token cannot be tagged with a note of it."""
    with pytest.raises(AttributeError):
        Secret(VALUE).note = VALUE  # type: ignore[attr-defined]

    assert not hasattr(Secret(VALUE), "__dict__")
