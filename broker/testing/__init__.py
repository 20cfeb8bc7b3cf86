"""Services that behave, for connector authors, for the demo and for our own tests."""
