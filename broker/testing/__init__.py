"""For connector authors, tests and the demo. `check_connector` is an author's whole test."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from broker.testing.checking import Example, check_connector

__all__ = ["Example", "check_connector"]


def __getattr__(name: str) -> Any:
    """Load what judges connectors when it is asked for: it brings a server, of which the commands have no use."""
    if name in __all__:
        return getattr(import_module("broker.testing.checking"), name)
    raise AttributeError(name)
