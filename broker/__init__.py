"""Agent Access Manager: agents get tools, never credentials."""

__version__ = "0.1.0"
