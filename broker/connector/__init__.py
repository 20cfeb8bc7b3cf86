"""What a connector is, for those who write one.

A connector is a value in one file: a name, the hosts that it may call, where the service's OAuth endpoints are, and
`tools(document, snapshot)`, which lists what can be done. A tool's function gets one `ToolCall` and a `Session` that is
already authorised; it never sees a token.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ConfigDict

from broker import errors
from broker.connector.answers import checked, list_of, object_of, retry_after
from broker.connector.asking import USUAL_QUESTIONS, Question
from broker.connector.dialogue import Dialogue, NoDialogue
from broker.connector.document import (
    ApiKeyDocument,
    BreakerDocument,
    ConnectorDocument,
    FileName,
    GrantKind,
    Host,
    HttpsUrl,
    LimitsDocument,
    Name,
    ScopeName,
)
from broker.connector.models import APIS, INVOKE, MODELS, Api, ModelProvider
from broker.connector.process import ProcessDocument
from broker.connector.tool import (
    WHOLE,
    Comparison,
    Cursors,
    Emit,
    Scope,
    Tool,
    ToolCall,
    Touch,
    Touches,
)
from broker.egress import Process, Response, Session, Streamed
from broker.egress.database import DatabaseSession, Permitted, Rows

__all__ = [
    "APIS",
    "INVOKE",
    "MODELS",
    "WHOLE",
    "Api",
    "ApiKeyDocument",
    "BreakerDocument",
    "Comparison",
    "Connector",
    "ConnectorDocument",
    "Cursors",
    "DatabaseSession",
    "Dialogue",
    "Emit",
    "Endpoints",
    "FileName",
    "GrantKind",
    "Host",
    "HttpsUrl",
    "LimitsDocument",
    "ModelProvider",
    "Name",
    "NoDialogue",
    "Permitted",
    "Process",
    "ProcessDocument",
    "Question",
    "Response",
    "Rows",
    "Scope",
    "ScopeName",
    "Session",
    "Streamed",
    "Tool",
    "ToolCall",
    "Touch",
    "Touches",
    "Usage",
    "checked",
    "errors",
    "list_of",
    "object_of",
    "retry_after",
]


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where a service's OAuth endpoints are (RFC 8414 §2 names), and the audience of assertions made for them."""

    token_endpoint: str
    revocation_endpoint: str | None = None
    audience: str | None = None
    authorization_endpoint: str | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """How much of what a service allows in its own period is used."""

    used: int
    most: int


class NoSettings(BaseModel):
    """For connectors that have no settings of their own."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True, slots=True)
class Connector:
    """What one type of service is, to the broker.

    `tools` raises `ValueError` with words for the administrator where the document or snapshot does not fit; what is
    only not pinned yet (no snapshot, or none of a resource) it lists as not built, so that policies can name it.
    `grant` is how it is usually connected, `further_grants` how else it can be.
    `expired` tells whether a response means "renew the token and try again" (asked once a call). `describe` fetches
    what the service says of itself, to be pinned; `probe` is a harmless call that shows whether a grant works. `usage`
    reads from a response how much of the service's allowance is used, where it says so. `processes` says that its
    service may be a program, `discovers` that its snapshot says which resources there are. `about` is a line for
    whoever chooses a connector, `asks` what `aam connector add` asks them. `described_at` says where `describe` finds
    what everybody may see: it is given a session without any credential then. `pin` makes a snapshot of a description
    that an operator hands in. `models` makes it a service of models, which `ModelRoute` documents name; `api_key` is
    how a key is sent unless the document says otherwise.
    """

    name: str
    hosts: Sequence[str]
    endpoints: Endpoints
    grant: GrantKind
    tools: Callable[[ConnectorDocument, Any], Sequence[Tool]]
    expired: Callable[[Response], bool]
    probe: Callable[[Session, ConnectorDocument], Awaitable[str]]
    describe: Callable[[Session, ConnectorDocument], Awaitable[Any]] | None = None
    settings: type[BaseModel] = NoSettings
    usage: Callable[[Response], Usage | None] | None = None
    further_grants: Sequence[GrantKind] = ()
    processes: bool = False
    discovers: bool = False
    about: str = ""
    asks: Sequence[Question] = USUAL_QUESTIONS
    described_at: Callable[[ConnectorDocument], str | None] | None = None
    pin: Callable[[ConnectorDocument, bytes], Awaitable[Any]] | None = None
    models: ModelProvider | None = None
    api_key: ApiKeyDocument = field(default_factory=ApiKeyDocument)
