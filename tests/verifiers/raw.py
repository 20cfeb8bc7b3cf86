"""Checks the signatures of evidence with PyNaCl (libsodium), and with nothing of ours: RFC 8032 over the bare bytes."""

import base64
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

_NOTES = ("checkpoint", "previous-checkpoint", "manifest.note")


def check(directory: Path, vkeys: list[str]) -> list[str]:
    """Check every signed note of an unpacked bundle; raise `ValueError` for the first that none of the keys signed."""
    return [f"{name:20} signed by {signer(note, vkeys)}" for name, note in _notes(directory)]


def _notes(directory: Path) -> Iterator[tuple[str, bytes]]:
    for name in _NOTES:
        if (directory / name).exists():
            yield name, (directory / name).read_bytes()
    for file in sorted(directory.glob("proofs/*.tlog-proof")):
        yield file.name, file.read_bytes().partition(b"\n\n")[2]
    if (directory / "records.jsonl").exists():
        with (directory / "records.jsonl").open("rb") as lines:
            keys = json.loads(lines.readline())["keys"]
        for key in keys:
            if key["endorsement"] is not None:
                yield "endorsement", key["endorsement"].encode()


def signer(note: bytes, vkeys: list[str]) -> str:
    """Return which of the keys signed a note (C2SP signed-note); raise `ValueError` if none did."""
    text, _, lines = note.rpartition(b"\n\n")
    for line in lines.decode().splitlines():
        name, encoded = line.removeprefix("— ").split(" ")
        blob = base64.b64decode(encoded)
        for vkey in vkeys:
            public = base64.b64decode(vkey.split("+", 2)[2])
            key_id = hashlib.sha256(name.encode() + b"\n" + public).digest()[:4]
            if vkey == f"{name}+{blob[:4].hex()}+{base64.b64encode(public).decode()}" and key_id == blob[:4]:
                try:
                    VerifyKey(public[1:]).verify(text + b"\n", blob[4:])
                except BadSignatureError:
                    raise ValueError(f"the signature by {name}+{key_id.hex()} does not verify") from None
                return f"{name}+{key_id.hex()}"
    raise ValueError("none of the keys that were given has signed it")
