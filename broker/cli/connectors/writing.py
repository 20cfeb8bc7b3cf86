"""What `aam connector add` writes, and what it says comes next."""

import io
from typing import Any

from ruamel.yaml import YAML

from broker.documents import API_VERSION, Snapshot

_GRANT = {
    "jwt-bearer": ("aam grants add {name} --client-id ID --subject USER --key-file KEY.pem",),
    "client-credentials": ("aam grants add {name} --kind client-credentials --client-id ID --secret-file FILE",),
    "authorization-code": (
        "aam grants client {name} --client-id ID --secret-file FILE",
        "aam grants connect {name}",
    ),
    "token-exchange": ("aam grants add {name} --kind token-exchange --client-id ID --secret-file SUBJECT_TOKEN",),
    "id-jag": ("aam grants add {name} --kind id-jag --client-id ID --secret-file SUBJECT_TOKEN",),
    "api-key": ("aam grants add {name} --kind api-key --secret-file FILE",),
    "basic": ("aam grants add {name} --kind basic --username USER --secret-file FILE",),
}
"""How an account is connected, by the kind of grant that is usual."""


def document_text(name: str, spec: dict[str, Any]) -> bytes:
    """Return the Connector document, as it is written."""
    text = io.StringIO()
    writer = YAML(pure=True)
    writer.default_flow_style = False
    writer.width = 100
    writer.indent(mapping=2, sequence=4, offset=2)
    document = {"apiVersion": API_VERSION, "kind": "Connector", "metadata": {"name": name}, "spec": spec}
    writer.dump(document, text)
    return f"# A service that agents may use. Policies name its resources {name}.RESOURCE.\n{text.getvalue()}".encode()


def next_steps(after: Snapshot, name: str, where: str) -> tuple[list[str], str]:
    """Return the commands that connect the service, and lines for a policy that lets an agent read."""
    connection = after.connections[name]
    steps = [step.format(name=name) + where for kind in connection.kinds[:1] for step in _GRANT.get(kind, ())]
    if connection.snapshot_file is not None and connection.connector.describe is not None:
        steps.append(f"aam connector snapshot {name}{where}")
    steps.append(f"aam connector test {name}{where}")
    return steps, _policy(after, name)


def _policy(after: Snapshot, name: str) -> str:
    """Return a rule for one resource: what only reads; or for a model, once a route names it."""
    if after.connections[name].connector.models is not None:
        return "models:\n  allow: [ROUTE]        # a ModelRoute document names its models: docs/models.md\n"
    reads: dict[str, list[str]] = {}
    for tool in after.catalog:
        if tool.connector == name and tool.tool.reads_only:
            reads.setdefault(tool.resource, []).append(tool.action)
    usual = {f"{name}.{resource}": ["read"] for resource in after.connections[name].document.resources}
    resource, actions = next(iter((reads or usual or {f"{name}.RESOURCE": ["read"]}).items()))
    return f"tools:\n  - resource: {resource}\n    actions: [{', '.join(actions)}]\n"
