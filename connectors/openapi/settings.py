"""`spec.settings` of an OpenAPI connector: where its description is, and what its document says otherwise than it."""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from broker.connector import HttpsUrl

WORD = r"^[a-z][a-z0-9_]{0,30}$"
ServicePath = Annotated[str, Field(pattern=r"^/([A-Za-z0-9_~-][A-Za-z0-9._~/-]*)?$")]
FIELD_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")  # RFC 9110 §5.1

# Headers by which a request would be another one, go elsewhere, or come from somebody else: none of them is an argument
_NOT_TO_BE_SET = re.compile(
    r"accept|accept-encoding|authorization|connection|content-(?!language).*|cookie2?|date|expect|forwarded|front-end-https|host"
    r"|http2-settings|keep-alive|origin|proxy-.*|referer|sec-.*|te|trailer|transfer-encoding|upgrade|via"
    r"|x-forwarded-.*|x-http-method.*|x-method-override|x-original-.*|x-real-ip|x-rewrite-.*|.*-client-ip|x-client-.*",
    re.IGNORECASE,
)


def may_be_set(name: str) -> bool:
    """Tell whether a header is one that an argument, or the document, may fill."""
    return FIELD_NAME.fullmatch(name) is not None and _NOT_TO_BE_SET.fullmatch(name) is None


def _headers(value: dict[str, str]) -> dict[str, str]:
    for name, text in value.items():
        if not may_be_set(name) and name.lower() != "accept":
            raise ValueError(f"{name!r} is no header that a document may set")
        if not text.isascii() or not text.isprintable():
            raise ValueError(f"the value of {name!r} must be printable ASCII")
    return value


class Pages(BaseModel):
    """How a list goes on, where that cannot be told from the description."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    by: Literal["none", "link", "token", "last", "page", "offset"] = Field(
        description="A link in a header; a token, or the last record's id, in a parameter; the number of a page or of "
        "a record in a parameter."
    )
    parameter: str | None = Field(default=None, description="The query parameter that takes it.", examples=["cursor"])
    size: str | None = Field(default=None, description="The query parameter for how many.", examples=["per_page"])
    most: Annotated[int, Field(ge=1, le=10_000)] = Field(default=100, description="The most that a page may have.")
    found: str | None = Field(
        default=None, description="Where the token, or the link, stands in the answer.", examples=["meta.next_cursor"]
    )


class Override(BaseModel):
    """What one operation is, where it is not what its path and method say."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    resource: Annotated[str, Field(pattern=WORD)] | None = None
    action: Annotated[str, Field(pattern=WORD)] | None = None
    reads_only: bool | None = Field(default=None, description="For a search that is a POST.")
    leave_out: bool = False
    records: str | None = Field(default=None, description="The member of the answer that holds its records.")
    pages: Pages | None = None


class Settings(BaseModel):
    """`spec.settings` of an OpenAPI connector."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    description: HttpsUrl | ServicePath | None = Field(
        default=None,
        description="Where 'aam connector snapshot' finds the description: a URL, or a path at the service; without "
        "it, give it a file with --from.",
        examples=["/openapi.json"],
    )
    description_with_grant: bool = Field(
        default=False, description="Whether the description is shown only to who has an account."
    )
    probe: ServicePath | None = Field(
        default=None,
        description="What 'aam connector test' asks for, below the service's URL; without it, the URL itself is asked "
        "for, and need not be there.",
        examples=["/user"],
    )
    others: Literal["left-out", "by-tag", "by-path"] = Field(
        default="left-out",
        description="What becomes of operations that no resource takes: nothing, or a resource for each tag, or for "
        "each first word of a path.",
    )
    operations: dict[str, Override] = Field(
        default_factory=dict, description="By 'METHOD /path' or by operationId.", examples=["POST /search"]
    )
    headers: Annotated[dict[str, str], AfterValidator(_headers)] = Field(
        default_factory=dict, description="Headers that every call has.", examples=["X-Api-Version"]
    )
    idempotency_header: Annotated[str, Field(pattern=FIELD_NAME.pattern)] | None = Field(
        default=None, description="The header by which the service knows a repeated POST.", examples=["Idempotency-Key"]
    )
    slashes: frozenset[str] = Field(
        default=frozenset(), description="Path parameters whose values may have slashes, such as paths of files."
    )
    pages: Pages | None = Field(default=None, description="How every list goes on that does not say otherwise.")
    most_pages: Annotated[int, Field(ge=1, le=100)] = Field(default=20, description="How many pages one call fetches.")
    free_form: bool = Field(
        default=False,
        description="Whether what is described as an object, and no more, may leave with all its members.",
    )

    def override(self, method: str, path: str, name: str | None) -> Override:
        """Return what the document says of an operation."""
        found = self.operations.get(f"{method} {path}") or self.operations.get(name or "")
        return found or _NOTHING


_NOTHING = Override()


def settings_of(settings: Any) -> Settings:
    """Return the settings of a document, whose mistakes were told before."""
    return Settings.model_validate(settings)
