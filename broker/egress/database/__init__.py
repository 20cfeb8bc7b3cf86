"""Databases, reached as services are: within a reach, under caps, with a credential that the connector never has.

A connector gets a `DatabaseSession`. It hands over one statement, its parameters, and what the statement may touch;
what comes back are rows, or one of our refusals: no driver's object, and no word of the database's.
"""

from broker.egress.database.permitted import Changed, Permitted, Rows
from broker.egress.database.place import DatabasePlace, database_place
from broker.egress.database.session import DatabaseSession

__all__ = ["Changed", "DatabasePlace", "DatabaseSession", "Permitted", "Rows", "database_place"]
