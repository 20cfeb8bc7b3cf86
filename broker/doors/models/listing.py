"""The models that an agent may use, as OpenAI's and Anthropic's clients list them, with prices and limits."""

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from broker.connector import INVOKE
from broker.documents import Documents, Snapshot
from broker.doors.models.shapes import Shape
from broker.errors import UnknownModel
from broker.models import Route, Target

_CREATED = 1767225600  # routes have no date of their own; clients want one
_DATE = "2026-01-01T00:00:00Z"
PriceOf = Callable[[Target], dict[str, Any] | None]


class Listing:
    """Lists models. `price_of` says what a target costs."""

    def __init__(self, documents: Documents, price_of: PriceOf) -> None:
        self._documents = documents
        self._price_of = price_of

    def of(self, workload: str, wanted: str | None, shape: Shape) -> bytes:
        """Return the list, or one model of it; raise `UnknownModel`."""
        found = [self._model(route, shape) for route in permitted(self._documents.current, workload)]
        if wanted is not None:
            one = next((model for model in found if model["id"] == wanted), None)
            if one is None:
                raise UnknownModel
            return msgspec.json.encode(one)
        if shape == "anthropic":
            ends = {"first_id": found[0]["id"], "last_id": found[-1]["id"]} if found else {}
            return msgspec.json.encode({"data": found, "has_more": False, "first_id": None, "last_id": None, **ends})
        return msgspec.json.encode({"object": "list", "data": found})

    def _model(self, route: Route, shape: Shape) -> dict[str, Any]:
        prices = [price for target in route.targets if (price := self._price_of(target)) is not None]
        facts = {
            "apis": sorted(route.apis),
            "max_output_tokens": route.document.max_output_tokens,
            "pricing": prices[0] if prices else None,
        }
        if (reasoning := route.document.reasoning) is not None:
            facts["reasoning"] = reasoning.model_dump(exclude_none=True)
        if shape == "anthropic":
            return {"type": "model", "id": route.alias, "display_name": route.alias, "created_at": _DATE} | facts
        return {"id": route.alias, "object": "model", "created": _CREATED, "owned_by": "agent-access-manager"} | facts


def permitted(documents: Snapshot, workload: str) -> Iterator[Route]:
    """Yield the routes that some call of an agent could use, by name."""
    policies = documents.policies_of(workload)
    for _, route in sorted(documents.routes.items()):
        if policies.could_permit(route.resource, INVOKE):
            yield route
