"""The connectors that come with the broker: one service, one file; each imports `broker.connector` only."""
