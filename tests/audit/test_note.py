import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

from broker.audit import VerifierKey
from broker.audit.note import Note, sign
from tests.support.evidence import Log

# C2SP signed-note, the example in its text
VKEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
NOTE = (
    "This is an example message.\n\n"
    "— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
)
FOO = VerifierKey.parse(VKEY)
OURS, OTHERS = Log("example.com/ours"), Log("example.com/others")
TEXT = "What is signed.\n"
SIGNED = OURS.sign(TEXT)
LINE = SIGNED.removeprefix(f"{TEXT}\n")
UNKNOWN = OTHERS.sign(TEXT).removeprefix(f"{TEXT}\n")


def wrongly_signed(line: str) -> str:
    """Change the last byte of a line's signature."""
    start, _, encoded = line.rstrip("\n").rpartition(" ")
    raw = base64.b64decode(encoded)
    return f"{start} {base64.b64encode(raw[:-1] + bytes([raw[-1] ^ 1])).decode()}\n"


def test_the_example_of_the_specification_verifies_byte_for_byte() -> None:
    """audit.md C3: the vector in the text of C2SP signed-note."""
    note = Note.parse(NOTE)

    assert note.verified([FOO]) == [FOO]
    assert (note.text, str(FOO)) == ("This is an example message.\n", VKEY)


def test_what_is_signed_is_read_again_and_another_library_agrees() -> None:
    """note.py: one way of writing; PyNaCl judges the signature."""
    (signature,) = Note.parse(SIGNED).signatures

    VerifyKey(OURS.key.public).verify(TEXT.encode(), signature.signature)
    with pytest.raises(BadSignatureError):
        VerifyKey(OURS.key.public).verify(b"Something else.\n", signature.signature)
    assert (signature.name, signature.key_id) == (OURS.key.name, OURS.key.key_id)
    assert VerifierKey.parse(str(OURS.key)) == OURS.key


def test_signatures_by_unknown_keys_are_ignored() -> None:
    """C2SP signed-note: unknown keys are ignored, and at least one that is known has signed."""
    assert Note.parse(SIGNED + UNKNOWN * 15).verified([OURS.key]) == [OURS.key]
    assert Note.parse(f"{TEXT}\n{wrongly_signed(UNKNOWN)}{LINE}").verified([OURS.key]) == [OURS.key]
    with pytest.raises(ValueError, match="none of the keys that are trusted"):
        Note.parse(f"{TEXT}\n{UNKNOWN}").verified([OURS.key])


def test_every_known_key_that_signed_is_named_once() -> None:
    """C2SP signed-note: several keys may sign, and a line may stand there twice."""
    both = [OURS.key, OTHERS.key]

    assert Note.parse(SIGNED + UNKNOWN + LINE).verified(both) == both


@pytest.mark.parametrize("note", [f"{TEXT}\n{wrongly_signed(LINE)}", f"{TEXT}\n{UNKNOWN}{wrongly_signed(LINE)}"])
def test_a_known_key_whose_signature_fails_rejects_the_note(note: str) -> None:
    """C2SP signed-note: a known key that fails is no unknown key, even where another has signed."""
    with pytest.raises(ValueError, match="is not the key's"):
        Note.parse(note).verified([OURS.key, OTHERS.key])


@pytest.mark.parametrize(
    "note",
    [
        "",
        TEXT,
        f"{TEXT}\n",
        f"{TEXT}{LINE}",
        SIGNED.removesuffix("\n"),
        SIGNED + "\n",
        SIGNED.replace("— ", "- "),
        SIGNED.replace("— ", "—"),
        SIGNED.replace(OURS.key.name, "two words"),
        SIGNED.replace(OURS.key.name, "a+b"),
        SIGNED.replace(OURS.key.name, ""),
        SIGNED.replace("=\n", "\n"),
        SIGNED.replace("\n", "\r\n"),
        SIGNED.replace("What", "\x1bWhat"),
        SIGNED.replace("What", "\tWhat"),
        f"{TEXT}\n— {OURS.key.name} \n",
        f"{TEXT}\n— {OURS.key.name} AAAAAA==\n",
        f"{TEXT}\n{LINE * 101}",
    ],
    ids=lambda note: repr(note)[:20],
)
def test_a_malformed_note_is_refused(note: str) -> None:
    """C2SP signed-note: a text, an empty line, and well-formed signature lines, a bounded number of them."""
    with pytest.raises(ValueError, match="note"):
        Note.parse(note)


@given(st.integers(0, len(SIGNED.encode()) - 1), st.integers(0, 7))
def test_a_note_with_a_changed_bit_is_refused(position: int, bit: int) -> None:
    """note.py: every byte of the text and of the only signature counts."""
    raw = bytearray(SIGNED.encode())
    raw[position] ^= 1 << bit

    with pytest.raises(ValueError, match=r".") as refused:
        Note.parse(raw.decode()).verified([OURS.key])

    assert refused.type in {ValueError, UnicodeDecodeError}


@given(st.text())
def test_any_text_is_a_note_or_refused(text: str) -> None:
    """note.py, parse: `ValueError` if it is malformed, and nothing else."""
    try:
        note = Note.parse(text)
    except ValueError:
        return
    assert note.text.endswith("\n")


@pytest.mark.parametrize(
    "vkey",
    [
        "",
        "example.com/foo",
        VKEY.replace("530d903a", "530d903b"),
        VKEY.replace("530d903a", "530D903A"),
        VKEY.replace("+530d903a", ""),
        VKEY.replace("example.com/foo", "example.com/bar"),
        VKEY.replace("example.com/foo", "example com/foo"),
        VKEY.replace("example.com/foo", ""),
        VKEY.replace("+Ae", "+Be"),
        VKEY[:-4],
        VKEY + "=",
        "ed25519 " + VKEY,
    ],
)
def test_what_is_no_verifier_key_is_refused(vkey: str) -> None:
    """C2SP signed-note: name, key id and Ed25519 key belong together."""
    with pytest.raises(ValueError, match="verifier key"):
        VerifierKey.parse(vkey)


def test_a_key_never_signs_as_another() -> None:
    """note.py, sign: what another key made is not given out under this key's name."""
    with pytest.raises(ValueError, match="is not the one of"):
        sign(TEXT, OURS.key, lambda _: bytes(64))
    with pytest.raises(ValueError, match="ends in a newline"):
        OURS.sign("no newline")
