"""The trail: canonical records, hash-linked, the leaves of an RFC 6962 tree; and the check that needs nobody's trust.

Imports nothing of ours but errors, so that an auditor can read this room alone.
"""

from broker.audit.canonical import canonical
from broker.audit.checkpoint import Checkpoint, LogKey, open_checkpoint
from broker.audit.filter import Filter
from broker.audit.note import VerifierKey
from broker.audit.proof import RecordProof
from broker.audit.record import NO_HASH, Record, Sealed, new_id, seal, timestamp
from broker.audit.statement import Gap, Statement
from broker.audit.tree import Head, leaf_hash
from broker.audit.verify import Report, read_export, verify

__all__ = [
    "NO_HASH",
    "Checkpoint",
    "Filter",
    "Gap",
    "Head",
    "LogKey",
    "Record",
    "RecordProof",
    "Report",
    "Sealed",
    "Statement",
    "VerifierKey",
    "canonical",
    "leaf_hash",
    "new_id",
    "open_checkpoint",
    "read_export",
    "seal",
    "timestamp",
    "verify",
]
