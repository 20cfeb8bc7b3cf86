"""The connectors that are installed, found by entry point: ours and a stranger's through the same door."""

from importlib.metadata import EntryPoint, entry_points

from broker.connector import Connector

GROUP = "agent_access_manager.connectors"


def installed_types() -> list[str]:
    """Return the names under which connectors are installed."""
    return sorted(point.name for point in entry_points(group=GROUP))


def find_connector(name: str) -> Connector:
    """Load the connector installed under a name.

    Raises `LookupError` if there is none, and `TypeError` if what is installed there is no connector.
    """
    found: EntryPoint | None = next(iter(entry_points(group=GROUP, name=name)), None)
    if found is None:
        raise LookupError(name)
    connector = found.load()
    if not isinstance(connector, Connector):
        raise TypeError(f"{found.value} is a {type(connector).__name__}, not a Connector")
    return connector
