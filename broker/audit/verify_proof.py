"""The check of a proof of one record (C2SP tlog-proof), by itself."""

import json
from collections.abc import Sequence

from broker.audit.checkpoint import Checkpoint, open_checkpoint
from broker.audit.note import VerifierKey
from broker.audit.proof import RecordProof, includes
from broker.audit.tree import leaf_hash
from broker.audit.verify import Report

OTHERS = "What the other records say, and that the log was shown to others as it is shown here."


def verify_proof(text: str, trusted: Sequence[VerifierKey], held: Sequence[Checkpoint] = ()) -> Report:
    """Check a proof of one record, which it holds itself, against the heads that the auditor holds, if any."""
    report = Report()
    try:
        proof = RecordProof.parse(text)
        if proof.record is None:
            raise ValueError("the proof does not hold the record that it proves")
        checkpoint, signers = open_checkpoint(proof.checkpoint, trusted)
        check_proof(proof, proof.record, checkpoint)
        _check_held(checkpoint, held)
    except ValueError as error:
        return report.fail(None, str(error))
    report.records, report.root = 1, checkpoint.root.hex()
    by = ", ".join(f"{key.name} (key {key.key_id.hex()})" for key in signers)
    report.proved = [
        f"The record is number {proof.index} of the log {checkpoint.origin}, unchanged.",
        f"The head of {checkpoint.size} records was signed by {by}.",
        *(f"It is the head of {one.size} records that you hold." for one in held if one == checkpoint),
    ]
    report.open = [OTHERS]
    report.open += [f"That the head of {one.size} records that you hold fits." for one in held if one != checkpoint]
    return report


def check_proof(proof: RecordProof, body: bytes, checkpoint: Checkpoint) -> None:
    """Raise `ValueError` unless the record stands where the proof says, in the log that the checkpoint is of."""
    try:
        said = json.loads(body)
        numbered = (said["seq"], said["log"]) if isinstance(said, dict) else None
    except (ValueError, KeyError, RecursionError):
        numbered = None
    if numbered != (proof.index, checkpoint.origin):
        raise ValueError(f"the record does not say that it is number {proof.index} of {checkpoint.origin}")
    if not includes(leaf_hash(body), proof.index, checkpoint.size, proof.path, checkpoint.root):
        raise ValueError(f"the record is not number {proof.index} of the log whose head was signed")


def _check_held(checkpoint: Checkpoint, held: Sequence[Checkpoint]) -> None:
    for one in held:
        if one.origin != checkpoint.origin:
            raise ValueError(f"a head that you hold is of another log, {one.origin!r}")
        if one.size == checkpoint.size and one.root != checkpoint.root:
            raise ValueError(f"the head of {one.size} records that you hold has another root")
