"""Judges a connector: its names, schemas and scopes, and every tool against whatever a service may answer."""

import asyncio
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from broker.connector import Connector, ConnectorDocument, Tool
from broker.connector.asking import spec_of
from broker.testing.checking.declared import declared_problems
from broker.testing.checking.service import AnsweringService, Example
from broker.testing.checking.trials import Bench

__all__ = ["Example", "check_connector"]

_NONE: Mapping[str, Any] = MappingProxyType({})


def check_connector(
    connector: Connector,
    document: Mapping[str, Any] | None = None,
    snapshot: Any = None,
    *,
    examples: Mapping[str, Example] = MappingProxyType({}),
) -> None:
    """Raise `AssertionError` with everything that is wrong with a connector.

    `document` is the `spec` of a Connector document (without one: what the connector's own questions make of their
    examples). `examples` say by `resource_action`, or `probe` and `describe`, with which arguments a tool is tried and
    what the service answers then; without one, they are made up from the tool's schemas.
    """
    with tempfile.TemporaryDirectory() as place, AnsweringService(Path(place)) as service:
        spec = _spec(connector, document or _NONE, service)
        tools = list(connector.tools(spec, snapshot))
        problems = [*declared_problems(connector, tools), *_unknown(examples, tools)]
        bench = Bench(connector, spec, service, examples)
        problems += asyncio.run(bench.problems(tools))
    if problems:
        raise AssertionError(f"{connector.name} is not right yet:\n" + "\n".join(f"- {one}" for one in problems))


def _spec(connector: Connector, document: Mapping[str, Any], service: AnsweringService) -> ConnectorDocument:
    """Return the document as it is tried: at the service that answers here."""
    examples = {one.place: one.read(one.example) for one in connector.asks if one.usual is None and one.example}
    spec = spec_of(connector.asks, examples, connector.name) | dict(document)
    path = urlsplit(str(spec.get("url", ""))).path.rstrip("/")
    return ConnectorDocument.model_validate({**spec, "type": "tried", "url": service.url + path})


def _unknown(examples: Mapping[str, Example], tools: list[Tool]) -> list[str]:
    known = {f"{tool.resource}_{tool.action}" for tool in tools} | {"probe", "describe"}
    return [f"there is an example of {name!r}, and no such tool" for name in examples if name not in known]
