"""What is drafted: documents that load, and a list of what did not fit into them."""

import datetime
import re
from typing import Any

_API = "access.envisionai.dev/v1"
_OBSERVED_DAYS = 30
_URLS = {
    "openai": "https://api.openai.com/v1",
    "anthropic": "https://api.anthropic.com",
    "openrouter": "https://openrouter.ai/api/v1",
}
_LONGEST_CAP = 1_000_000


class Draft:
    """Documents of one import. Nothing secret is ever taken over."""

    def __init__(self, trust_domain: str) -> None:
        self.not_mapped: list[tuple[str, str]] = []
        self.steps: list[str] = []
        self._trust_domain = trust_domain
        self._connectors: dict[str, Any] = {}
        self._routes: dict[str, Any] = {}
        self._agents: dict[str, Any] = {}
        self._policies: dict[str, Any] = {}

    @property
    def routes(self) -> dict[str, Any]:
        """The routes so far, by name: their `spec`."""
        return self._routes

    @property
    def documents(self) -> list[Any]:
        """Every document."""
        return [document for documents in self.files().values() for document in documents]

    def files(self) -> dict[str, list[Any]]:
        """Return the documents by the files that they belong into."""
        kinds = (
            ("connectors.yaml", "Connector", self._connectors),
            ("routes.yaml", "ModelRoute", self._routes),
            ("agents.yaml", "Agent", self._agents),
            ("policies.yaml", "AgentPolicy", self._policies),
        )
        return {
            file: [_document(kind, name, spec) for name, spec in found.items()] for file, kind, found in kinds if found
        }

    def note(self, place: str, why: str) -> None:
        """Note what could not be mapped, once."""
        if (place, why) not in self.not_mapped:
            self.not_mapped.append((place, why))

    def connector(self, kind: str, url: str | None = None) -> str:
        """Return the name of the connector of a service, drafting it if it is new."""
        where = url or _URLS.get(kind, "https://models.example.com/v1")
        for name, spec in self._connectors.items():
            if (spec["type"], spec["url"]) == (kind, where):
                return name
        base = kind.replace("-", "_")
        name = base if base not in self._connectors else f"{base}_{len(self._connectors) + 1}"
        self._connectors[name] = {"type": kind, "url": where}
        return name

    def route(self, name: str, spec: dict[str, Any]) -> str:
        """Add a route under a name that it can have; equal ones are one."""
        alias = as_name(name)
        number = 2
        while alias in self._routes and self._routes[alias] != spec:
            alias, number = f"{as_name(name)}-{number}", number + 1
        self._routes[alias] = spec
        return alias

    def agent(self, name: str, owner: str, team: str, models: dict[str, Any]) -> None:
        """Add an agent and its policy, which lets through and records for a month what it does not permit."""
        short = as_name(name)
        workload = f"spiffe://{self._trust_domain}/agent/{short}"
        self._agents[short] = {
            "workload": workload,
            "owner": owner,
            "team": team,
            "environment": "production",
            "deployment": "imported",
        }
        until = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=_OBSERVED_DAYS)
        self._policies[f"{short}-models"] = {
            "identity": {"workload": workload},
            "models": models,
            "enforcement": "observe",
            "observe": {"until": until.strftime("%Y-%m-%dT00:00:00Z")},
        }

    def finish(self) -> None:
        """Draft an agent if there is none, and say what is to be done next."""
        if self._routes and not self._agents:
            self.agent("imported", "owner@example.com", "imported", {"allow": sorted(self._routes)})
            self.note("agents", "nothing says who calls: the agent 'imported' stands for all; name owner and team")
        for name in self._connectors:
            self.steps.append(f"connect its account: aam grants add {name} --kind api-key --secret-file FILE")
        if self._routes:
            self.steps.append("look at regions, labels and prices of each target, then: aam check DIR")


def as_name(text: str) -> str:
    """Return a name as documents can have it."""
    name = re.sub(r"[^a-z0-9._-]+", "-", text.lower()).strip("-._")[:90]
    return name or "model"


def cap_of(value: Any) -> int | None:
    """Return an output cap, if it is one."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= _LONGEST_CAP else None


def _document(kind: str, name: str, spec: Any) -> dict[str, Any]:
    return {"apiVersion": _API, "kind": kind, "metadata": {"name": name}, "spec": spec}
