"""Checks evidence of an Agent Access Manager with `aics-tlog`, and with nothing of ours: aics.py DIRECTORY VKEY...

DIRECTORY is an unpacked bundle, or less: a checkpoint, and what there is of records.jsonl, previous-checkpoint and
consistency, and proofs/*. Exit status 1, and the first check that failed, if one does. Runs in a Python of its own
(requirements/verifiers.txt).
"""

import base64
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

from aics_tlog import (
    MerkleTree,
    leaf_hash,
    node_hash,
    parse_checkpoint,
    parse_note,
    parse_vkey,
    verify_checkpoint,
    verify_consistency,
    verify_leaf_inclusion,
)

Key: TypeAlias = Any
Head: TypeAlias = Any


def main() -> int:
    """Run each check for which there is a file."""
    directory, keys = Path(sys.argv[1]), [parse_vkey(one) for one in sys.argv[2:]]
    checks: list[tuple[str, Callable[[Path, list[Key]], Iterator[str]]]] = [
        ("checkpoint", checkpoint),
        ("records.jsonl", records),
        ("previous-checkpoint", consistency),
        ("proofs", proofs),
    ]
    for name, check in checks:
        try:
            if (directory / name).exists():
                for line in check(directory, keys):
                    print(line)  # noqa: T201 - this is what the program is for
        except ValueError as error:
            print(f"refused: {check.__name__}: {error}")  # noqa: T201
            return 1
    return 0


def checkpoint(directory: Path, keys: list[Key]) -> Iterator[str]:
    """Check the signature (C2SP signed-note) and the form (C2SP tlog-checkpoint)."""
    head, signer = opened((directory / "checkpoint").read_bytes(), keys)
    root = base64.b64encode(head.root).decode()
    yield f"checkpoint   {head.origin}, {head.size} records, root {root}, signed by {signer}"


def opened(note: bytes, keys: list[Key]) -> tuple[Head, str]:
    """Return what a signed checkpoint says, and which key signed it."""
    parsed = parse_note(note)
    said = parse_checkpoint(parsed.text)
    for key in keys:
        if verify_checkpoint(parsed, key, expected_origin=said.origin).log_ok:
            return said, f"{key.name}+{key.key_id.hex()}"
    raise ValueError("no key that was given has signed it")


def records(directory: Path, keys: list[Key]) -> Iterator[str]:
    """Compute the root out of records and gaps (RFC 6962 §2.1); of records alone, `MerkleTree` computes it."""
    head, _ = opened((directory / "checkpoint").read_bytes(), keys)
    _, *lines = (directory / "records.jsonl").read_bytes().removesuffix(b"\n").split(b"\n")
    bodies = [line for line in lines if not line.startswith(b'{"gap":')]
    size, root = (len(bodies), MerkleTree(bodies).root()) if len(bodies) == len(lines) else grown(lines)
    if (size, root) != (head.size, head.root):
        raise ValueError(f"{size} records have the root {base64.b64encode(root).decode()}")
    yield f"records      {len(bodies)} of {size}, root {base64.b64encode(root).decode()}"


def grown(lines: list[bytes]) -> tuple[int, bytes]:
    """Return the size and root of records and gaps: complete subtrees, of which two of one size make one."""
    size, whole = 0, list[tuple[int, bytes]]()
    for line in lines:
        gap = json.loads(line)["gap"] if line.startswith(b'{"gap":') else None
        if gap is not None and gap["start"] != size:
            raise ValueError(f"a gap of {gap['start']} stands at {size}")
        for found in [leaf_hash(line)] if gap is None else map(bytes.fromhex, gap["hashes"]):
            longest = 0 if gap is None else (gap["stop"] - size).bit_length() - 1
            level = min(longest, (size & -size).bit_length() - 1) if size else longest
            size, node = size + (1 << level), found
            while whole and whole[-1][0] == level:
                level, node = level + 1, node_hash(whole.pop()[1], node)
            whole.append((level, node))
        if gap is not None and gap["stop"] != size:
            raise ValueError(f"a gap reaches to {size}, not {gap['stop']}")
    root = whole[-1][1]
    for _, node in reversed(whole[:-1]):
        root = node_hash(node, root)
    return size, root


def consistency(directory: Path, keys: list[Key]) -> Iterator[str]:
    """Check that the head grew out of the one before (RFC 9162 §2.1.4.2)."""
    head, _ = opened((directory / "checkpoint").read_bytes(), keys)
    before, _ = opened((directory / "previous-checkpoint").read_bytes(), keys)
    path = [base64.b64decode(line) for line in (directory / "consistency").read_text().split()]
    if before.origin != head.origin or not verify_consistency(before.size, head.size, before.root, head.root, path):
        raise ValueError(f"{head.size} records did not grow out of {before.size}")
    yield f"consistency  {head.size} records grew out of {before.size}, by {len(path)} hashes"


def proofs(directory: Path, keys: list[Key]) -> Iterator[str]:
    """Check each C2SP tlog-proof (RFC 9162 §2.1.3.2): a header, the record, its index, the path, a checkpoint."""
    for name in sorted((directory / "proofs").iterdir()):
        above, _, signed = name.read_text().partition("\n\n")
        header, extra, index, *path = above.split("\n")
        head, _ = opened(signed.encode(), keys)
        record, number = base64.b64decode(extra.removeprefix("extra ")), int(index.removeprefix("index "))
        hashes = [base64.b64decode(line) for line in path]
        if header != "c2sp.org/tlog-proof@v1" or not verify_leaf_inclusion(
            record, number, head.size, hashes, head.root
        ):
            raise ValueError(f"{name.name} proves nothing")
        yield f"proof        record {number} of {head.size}, by {len(hashes)} hashes"


if __name__ == "__main__":
    sys.exit(main())
