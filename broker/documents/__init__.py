"""YAML documents in, one checked immutable snapshot out: loaded whole or not at all."""

from broker.documents.asking import Ran, Tested, request_of, run_tests
from broker.documents.check import load
from broker.documents.comparing import Difference, compare
from broker.documents.memory import Memory
from broker.documents.models import API_VERSION, KINDS, BrokerDocument, CapsPart, schema
from broker.documents.snapshot import Announcing, Connection, FindConnector, Invalid, SinkSource, Snapshot
from broker.documents.source import Problem
from broker.documents.watch import Documents, load_settled

__all__ = [
    "API_VERSION",
    "KINDS",
    "Announcing",
    "BrokerDocument",
    "CapsPart",
    "Connection",
    "Difference",
    "Documents",
    "FindConnector",
    "Invalid",
    "Memory",
    "Problem",
    "Ran",
    "SinkSource",
    "Snapshot",
    "Tested",
    "compare",
    "load",
    "load_settled",
    "request_of",
    "run_tests",
    "schema",
]
