"""The pinned snapshot: every operation that is mapped, under its resource and action, with all that it needs."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from connectors.openapi.settings import WORD

Word = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
Place = Literal["path", "query", "header", "cookie"]
Style = Literal["simple", "label", "matrix", "form", "spaceDelimited", "pipeDelimited", "deepObject", "json"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Parameter(_Part):
    """One parameter: its name at the service, where it stands and how it is written, and the argument that fills it."""

    name: str
    argument: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
    place: Place
    style: Style
    explode: bool = False
    reserved: bool = False
    """Whether reserved characters stand as they are."""
    members: frozenset[str] = frozenset()
    """Of an object that is exploded: the members that it may have, each a parameter of the request by itself."""
    required: bool = False
    of: dict[str, Any] = Field(alias="schema")


class Body(_Part):
    """What an operation is sent."""

    kind: Literal["json", "form", "text"]
    media_type: str
    required: bool = False
    deep: frozenset[str] = frozenset()
    """Members of a form that are written as deepObject."""
    of: dict[str, Any] = Field(alias="schema")


class Paging(_Part):
    """How a list goes on. `found` is where the answer has the token or link: a path of members."""

    by: Literal["link", "token", "last", "page", "offset"]
    parameter: str | None = None
    size: str | None = None
    most: int = 100
    first: int = 0
    found: str | None = None
    more: str | None = None
    """The member that says whether there is more."""


class Operation(_Part):
    """One operation, as pinned."""

    method: Literal["GET", "PUT", "POST", "DELETE", "PATCH"]
    path: str
    id: str | None = None
    description: str
    reads_only: bool
    parameters: list[Parameter] = Field(default_factory=list)
    body: Body | None = None
    accepts: str | None = None
    result: dict[str, Any] = Field(default_factory=dict)
    records: str | None = None
    """Where its records are: "" for the whole answer, None where that is not known."""
    lists: bool = False
    pages: Paging | None = None
    idempotency: str | None = None
    scopes: list[str] = Field(default_factory=list)


class Security(_Part):
    """How the service wants to know who calls, in the words of a Connector document: for who writes one."""

    kinds: list[str] = Field(default_factory=list)
    api_key_header: str | None = None
    api_key_prefix: str | None = None
    token_endpoint: str | None = None
    authorization_endpoint: str | None = None
    not_supported: list[str] = Field(default_factory=list)


class Snapshot(_Part):
    """The pinned snapshot's file."""

    service: Literal["openapi"]
    title: str
    resources: dict[Annotated[str, Field(pattern=WORD)], dict[Word, Operation]]
    inputs: dict[str, dict[str, Any]]
    results: dict[str, dict[str, Any]]
    security: Security
    place: str = ""
    left_out: dict[str, str] = Field(default_factory=dict)


def read_snapshot(pinned: Mapping[str, Any]) -> Snapshot:
    """Return a pinned snapshot; raise `ValueError`, saying where, if it is none."""
    try:
        return Snapshot.model_validate(pinned)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "the whole of it"
        raise ValueError(f"the snapshot is not one of an OpenAPI description: {place}: {first['msg']}") from None
