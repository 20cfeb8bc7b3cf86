"""The policy enforcement point: one call, start to end."""

from broker.pipeline.call import Pipeline
from broker.pipeline.consents import Consent, Consents
from broker.pipeline.ended import Ended
from broker.pipeline.models import ModelCalls
from broker.pipeline.reconciling import Reconciler
from broker.pipeline.recorder import Recorder
from broker.pipeline.request import (
    Answer,
    Emit,
    ModelAnswer,
    ModelRequest,
    Origin,
    Pass,
    Request,
    Transport,
    silent,
)
from broker.pipeline.resilience import Resilience
from broker.pipeline.service import harmless, service_of, session_of
from broker.pipeline.usage import Usages

__all__ = [
    "Answer",
    "Consent",
    "Consents",
    "Emit",
    "Ended",
    "ModelAnswer",
    "ModelCalls",
    "ModelRequest",
    "Origin",
    "Pass",
    "Pipeline",
    "Reconciler",
    "Recorder",
    "Request",
    "Resilience",
    "Transport",
    "Usages",
    "harmless",
    "service_of",
    "session_of",
    "silent",
]
