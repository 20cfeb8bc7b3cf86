"""The SPIFFE Workload API on the wire (SPIFFE_Workload_API.md, workloadapi.proto): the methods that are called here.

gRPC comes with the extra `workload-api`, and is imported only once somebody has a use for it.
"""

import functools
import importlib
import importlib.util
from dataclasses import dataclass
from typing import Any

from broker.errors import ExtraMissing

EXTRA = "agent-access-manager[workload-api]"
SECURITY = (("workload.spiffe.io", "true"),)  # SPIFFE_Workload_Endpoint §3: on every call
_SERVICE = "/SpiffeWorkloadAPI/"
_TEXT, _BYTES, _MESSAGE = 9, 12, 11  # descriptor.proto, FieldDescriptorProto.Type
_ONE, _MANY = 1, 3  # FieldDescriptorProto.Label
# Of each message what is read or written here: (name, number, label, type, the message's name)
_MESSAGES: dict[str, tuple[tuple[str, int, int, int, str | None], ...]] = {
    "JWTBundlesRequest": (),
    "X509BundlesRequest": (),
    "JWTSVIDRequest": (("audience", 1, _MANY, _TEXT, None), ("spiffe_id", 2, _ONE, _TEXT, None)),
    "Bundle": (("key", 1, _ONE, _TEXT, None), ("value", 2, _ONE, _BYTES, None)),  # an entry of map<string, bytes>
    "JWTBundlesResponse": (("bundles", 1, _MANY, _MESSAGE, "Bundle"),),
    "X509BundlesResponse": (("bundles", 2, _MANY, _MESSAGE, "Bundle"),),
    "JWTSVID": (("spiffe_id", 1, _ONE, _TEXT, None), ("svid", 2, _ONE, _TEXT, None)),
    "JWTSVIDResponse": (("svids", 1, _MANY, _MESSAGE, "JWTSVID"),),
}


@dataclass(frozen=True, slots=True)
class Method:
    """One method of the service, and its two messages."""

    path: str
    request: Any
    response: Any


def is_installed() -> bool:
    """Tell whether gRPC is there."""
    try:
        return all(importlib.util.find_spec(name) is not None for name in ("grpc", "google.protobuf"))
    except ModuleNotFoundError:  # not even 'google' is there
        return False


def grpc(name: str = "grpc") -> Any:
    """Return the gRPC library; raise `ExtraMissing` where it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError:
        raise ExtraMissing(f"The Workload API needs gRPC: install {EXTRA!r}.") from None


@functools.cache
def method(name: str, request: str, response: str) -> Method:
    """Return a method by its name in the specification."""
    messages = _messages()
    return Method(_SERVICE + name, messages[request], messages[response])


@functools.cache
def _messages() -> dict[str, Any]:
    descriptors, pools, factory = (
        grpc(f"google.protobuf.{name}") for name in ("descriptor_pb2", "descriptor_pool", "message_factory")
    )
    file = descriptors.FileDescriptorProto(name="workloadapi.proto", syntax="proto3")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, number, label, kind, of in fields:
            message.field.add(name=field, number=number, label=label, type=kind, type_name=f".{of}" if of else None)
    pool = pools.DescriptorPool()  # of our own: other packages bring messages of these names too
    pool.Add(file)
    return {name: factory.GetMessageClass(pool.FindMessageTypeByName(name)) for name in _MESSAGES}
