"""The trail: canonical records, hash-linked, the leaves of an RFC 6962 tree; and the check that needs nobody's trust.

Imports nothing of ours but errors, so that an auditor can read this room alone.
"""

from broker.audit.canonical import canonical
from broker.audit.filter import Filter
from broker.audit.record import NO_HASH, Record, Sealed, new_id, seal, timestamp
from broker.audit.tree import Head, leaf_hash
from broker.audit.verify import Report, Statement, read_export, verify

__all__ = [
    "NO_HASH",
    "Filter",
    "Head",
    "Record",
    "Report",
    "Sealed",
    "Statement",
    "canonical",
    "leaf_hash",
    "new_id",
    "read_export",
    "seal",
    "timestamp",
    "verify",
]
