"""Doors translate, nothing else: bytes into one request with a verified identity, one answer back into bytes."""
