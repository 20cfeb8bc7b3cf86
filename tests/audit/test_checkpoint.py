import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.audit import Checkpoint, LogKey, VerifierKey, open_checkpoint
from broker.audit.checkpoint import endorsement_text, trusted_keys
from tests.support.evidence import LOG, Log

ROOT = base64.b64encode(bytes(range(32))).decode()


def rotated(times: int) -> Log:
    """Make a log with several keys."""
    log = Log().grown(3)
    for _ in range(times):
        log.rotate()
    return log


def names(keys: list[VerifierKey]) -> list[str]:
    """Return keys by their ids, to compare."""
    return [key.key_id.hex() for key in keys]


FOUR = rotated(3)
KEYS = [one.key for one in FOUR.keys]


@pytest.mark.parametrize("size", ["0", "7", "9223372036854775807"])
def test_a_checkpoint_is_read_as_it_is_written(size: str) -> None:
    """C2SP tlog-checkpoint: origin, size in decimal, root in base64."""
    text = f"{LOG}\n{size}\n{ROOT}\n"

    assert Checkpoint.parse(text).text() == text


def test_extension_lines_are_allowed_and_say_nothing() -> None:
    """C2SP tlog-checkpoint: extension lines are not recommended, and not refused."""
    assert Checkpoint.parse(f"{LOG}\n7\n{ROOT}\nmore\nand more\n") == Checkpoint(LOG, 7, bytes(range(32)))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n\n\n",
        f"{LOG}\n7\n",
        f"{LOG}\n7\n{ROOT}",
        f"\n7\n{ROOT}\n",
        f"{LOG}\n7\n{ROOT}\n\n",
        f"{LOG}\n7\n{ROOT}\n\nmore\n",
        *(
            f"{LOG}\n{size}\n{ROOT}\n"
            for size in ("", "07", "00", "+7", "-7", "7 ", "7.0", "0x7", "\u0667", "1" * 5000)
        ),
        f"{LOG}\n{2**63}\n{ROOT}\n",
        *(f"{LOG}\n7\n{root}\n" for root in ("", ROOT[:-1], ROOT + "A", ROOT.replace("=", ""), " " + ROOT, "A" * 43)),
        f"{LOG}\n7\n{ROOT[:-2]}9=\n",
        f"{LOG}\n7\n{base64.b64encode(bytes(31)).decode()}\n",
        f"{LOG}\n7\n{base64.urlsafe_b64encode(bytes([251] * 32)).decode()}\n",
    ],
    ids=lambda text: repr(text)[-24:],
)
def test_what_is_no_checkpoint_is_refused(text: str) -> None:
    """C2SP tlog-checkpoint: one way of writing a size and a root, whatever else would be understood."""
    with pytest.raises(ValueError, match="a checkpoint"):
        Checkpoint.parse(text)


@given(st.text())
def test_any_text_is_a_checkpoint_or_refused(text: str) -> None:
    """checkpoint.py, parse: `ValueError` if it is none, and nothing else."""
    try:
        checkpoint = Checkpoint.parse(text)
    except ValueError:
        return
    assert text.startswith(checkpoint.text())


def test_a_key_of_another_log_does_not_speak_for_this_one() -> None:
    """checkpoint.py: the same key pair under another log's name is another key, whatever the signature line says."""
    ours, others = Log("example.com/a").grown(2), Log("example.com/b").grown(5)
    relabelled = others.checkpoint().splitlines(keepends=True)
    relabelled[-1] = ours.sign("".join(relabelled[:3])).splitlines(keepends=True)[-1]

    assert ours.key.public == others.key.public
    assert open_checkpoint(others.checkpoint(), [ours.key, others.key]) == (
        Checkpoint("example.com/b", 5, others.head.root()),
        [others.key],
    )
    for note in (others.checkpoint(), "".join(relabelled)):
        with pytest.raises(ValueError, match="no key of that name is trusted"):
            open_checkpoint(note, [ours.key])


@pytest.mark.parametrize("given", range(4))
def test_a_trusted_key_vouches_for_those_that_came_after_it(given: int) -> None:
    """Issue 3: rotating the signing key keeps old records verifiable; an endorsement never goes backwards."""
    trusted = trusted_keys(LOG, [KEYS[given]], FOUR.keys)

    assert names(trusted) == names(KEYS[given:])


def test_keys_that_nobody_endorsed_are_trusted_only_if_given() -> None:
    """checkpoint.py: the export names the keys, and that alone is no reason."""
    unendorsed = [LogKey(one.key) for one in FOUR.keys]

    assert trusted_keys(LOG, [KEYS[0]], unendorsed) == [KEYS[0]]
    assert trusted_keys(LOG, [KEYS[0]], []) == [KEYS[0]]
    assert trusted_keys(LOG, [KEYS[2], KEYS[0]], unendorsed) == [KEYS[2], KEYS[0]]


first, second, third, fourth = FOUR.keys
OF_ANOTHER_LOG = FOUR.sign(endorsement_text("access.example.com/log/other", KEYS[1]), 0)
OF_ANOTHER_KEY = FOUR.sign(endorsement_text(LOG, KEYS[2]), 0)
BY_ANOTHER = FOUR.sign(endorsement_text(LOG, KEYS[1]), 3)
NO_ENDORSEMENT = FOUR.checkpoint(3, 0)
BROKEN_CHAINS: dict[str, list[Any]] = {
    "another log": [first, LogKey(KEYS[1], OF_ANOTHER_LOG)],
    "another key": [first, LogKey(KEYS[1], OF_ANOTHER_KEY)],
    "by another than the one before": [first, LogKey(KEYS[1], BY_ANOTHER)],
    "a checkpoint": [first, LogKey(KEYS[1], NO_ENDORSEMENT)],
    "no note": [first, LogKey(KEYS[1], "trust me")],
    "a link left out": [first, third],
    "the first left out": [second, third],
    "turned round": [second, first],
    "a key that endorses itself": [LogKey(KEYS[1], FOUR.sign(endorsement_text(LOG, KEYS[1]), 1))],
    "a loop": [first, second, LogKey(KEYS[0], FOUR.sign(endorsement_text(LOG, KEYS[0]), 2))],
    "a key of another name": [first, LogKey(Log("example.com/other").key)],
}


@pytest.mark.parametrize("chain", BROKEN_CHAINS)
@pytest.mark.parametrize("given", range(4))
def test_a_chain_of_keys_that_does_not_hold_is_refused(chain: str, given: int) -> None:
    """checkpoint.py: an endorsement is by the key before, of this key, for this log, whether or not it is needed."""
    with pytest.raises(ValueError, match=r"."):
        trusted_keys(LOG, [KEYS[given]], BROKEN_CHAINS[chain])


def test_a_key_of_another_log_is_never_trusted() -> None:
    """checkpoint.py: evidence of one log is none of another."""
    with pytest.raises(ValueError, match="no key of that name is trusted"):
        trusted_keys(LOG, [Log("access.example.com/log/other").key], FOUR.keys)
