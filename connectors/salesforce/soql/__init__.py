"""Free SOQL: a parser of the part that the broker lets through, and what a query touches, bound to what is pinned.

What is not understood is not sent: the query that the service runs is written anew from what was parsed.
"""

from connectors.salesforce.soql.bound import BoundQuery, bind
from connectors.salesforce.soql.parse import parse

__all__ = ["BoundQuery", "bind", "parse"]
