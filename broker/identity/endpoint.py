"""Where a Workload API is: `SPIFFE_ENDPOINT_SOCKET` (SPIFFE_Workload_Endpoint §4)."""

import ipaddress
import re
from dataclasses import dataclass
from typing import Self

_UNIX = re.compile(r"unix:(?://)?(/[^?#\s]+)")
_TCP = re.compile(r"tcp://(\[[0-9a-fA-F:.]+\]|[0-9.]+):([0-9]{1,5})")
_LARGEST_PORT = 65535


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A Workload API's address, as gRPC writes it."""

    target: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the endpoint of a URI; raise `ValueError` for one that the standard does not allow.

        `unix:///run/spire/agent.sock` has no authority, `tcp://127.0.0.1:8081` an address, a port and nothing else.
        """
        if found := _UNIX.fullmatch(text):
            if not found[1].startswith("//"):
                return cls(f"unix:{found[1]}")
        elif found := _TCP.fullmatch(text):
            ipaddress.ip_address(found[1].strip("[]"))
            if 0 < int(found[2]) <= _LARGEST_PORT:
                return cls(f"{found[1]}:{found[2]}")
        raise ValueError("must be unix:///an/absolute/path or tcp://address:port, as SPIFFE_ENDPOINT_SOCKET is")
