"""A Salesforce-shaped service that behaves: describe, records, SOQL, OAuth and, on demand, faults."""

from broker.testing.salesforce.faults import Answer, Delay, Drop, Echo, Flood, Gzip, Lose, Malformed, Redirect
from broker.testing.salesforce.service import SalesforceService

__all__ = [
    "Answer",
    "Delay",
    "Drop",
    "Echo",
    "Flood",
    "Gzip",
    "Lose",
    "Malformed",
    "Redirect",
    "SalesforceService",
]
