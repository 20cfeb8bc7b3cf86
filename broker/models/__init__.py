"""Models: routes, what an agent may ask of one, what is sent to a provider, and what its answers say of themselves.

Bytes pass through as they are; only what policy and accounting need is read.
"""

from broker.models.answers import Said, said_of
from broker.models.document import ModelRouteDocument, PricesPart, ProviderPart, Trouble
from broker.models.health import Health
from broker.models.route import Route, Target, resource_of
from broker.models.streams import Broken, Watch, watch
from broker.models.thinking import Written, written_for
from broker.models.troubles import Failure, failure_of
from broker.models.upstream import body_of, cap_field, headers_of
from broker.models.wanted import Wanted, model_of, read

__all__ = [
    "Broken",
    "Failure",
    "Health",
    "ModelRouteDocument",
    "PricesPart",
    "ProviderPart",
    "Route",
    "Said",
    "Target",
    "Trouble",
    "Wanted",
    "Watch",
    "Written",
    "body_of",
    "cap_field",
    "failure_of",
    "headers_of",
    "model_of",
    "read",
    "resource_of",
    "said_of",
    "watch",
    "written_for",
]
