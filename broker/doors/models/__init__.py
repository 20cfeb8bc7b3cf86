"""The models door: OpenAI's and Anthropic's APIs, as their clients speak them. HTTP stops here."""

from broker.doors.models.door import ModelsDoor
from broker.doors.models.generation import Generations
from broker.doors.models.listing import Listing, permitted

__all__ = ["Generations", "Listing", "ModelsDoor", "permitted"]
