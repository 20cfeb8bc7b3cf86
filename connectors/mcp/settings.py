"""What a Connector document says of an MCP server beside what it says of any service."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from broker.connector import ConnectorDocument

Let = Literal["elicitation", "sampling", "roots", "logging"]
Word = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$", examples=["files"])]


class ToolSettings(BaseModel):
    """How one of the server's tools is called here, where that is not as it follows from its definition."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    resource: Word | None = Field(default=None, description="What policies call what it works on.")
    action: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,30}$", examples=["read"])] | None = None
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$", examples=["read"])] | None = Field(
        default=None, description="What clients call it, behind the connector's name."
    )
    reads_only: bool | None = Field(default=None, description="Whether it only reads, whatever the server says.")
    offered: bool = Field(default=True, description="False: it is offered to nobody.")


class McpSettings(BaseModel):
    """`settings` of a Connector document of type `mcp`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    transport: Literal["streamable-http", "sse"] = "streamable-http"
    names: Literal["prefixed", "upstream"] = Field(
        default="prefixed", description="'upstream': tools and prompts keep the server's own names."
    )
    lets: list[Let] = Field(
        default_factory=list,
        description="What the server may ask or tell the client that called; nothing unless named.",
    )
    sessions: Literal["call", "caller"] = Field(
        default="call",
        description="How long a session over HTTP lasts: one call, or on, for one agent and person. For servers of the "
        "handshake era that keep something between calls.",
    )
    tools: dict[str, ToolSettings] = Field(default_factory=dict, description="By the server's own names of its tools.")
    check_seconds: Annotated[float, Field(ge=0, le=86_400)] = Field(
        default=60.0,
        description="For so long a definition that was as approved is taken to be so still; 0 looks before each call.",
    )


def settings_of(document: ConnectorDocument) -> McpSettings:
    """Return a document's settings; they have been checked."""
    return McpSettings.model_validate(document.settings)
