"""What is pinned of a database: its mapped tables and views, their columns, types and keys."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

Kind = Literal["integer", "number", "decimal", "boolean", "string", "moment", "json"]
WORKS = frozenset({"create", "update", "delete"})


class Settings(BaseModel):
    """Settings of a `sql` connector."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    writes: dict[str, list[Literal["create", "update", "delete"]]] = Field(
        default_factory=dict, description="Which resources may be written to, and how; none unless named."
    )


class Column(BaseModel):
    """A column as it was when the table was pinned; `type` is the database's own word."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    name: str = Field(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f\x7f]+$")
    type: str
    kind: Kind
    nullable: bool = True
    default: bool = False
    generated: bool = False


class Table(BaseModel):
    """A table or view; `key` are the columns of its primary key."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    schema_name: str
    name: str
    view: bool = False
    key: list[str] = Field(default_factory=list)
    columns: list[Column]

    @property
    def fields(self) -> Mapping[str, Column]:
        """The columns by name."""
        return {column.name: column for column in self.columns}


class Snapshot(BaseModel):
    """The pinned tables, by the names that the document has for them."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    service: Literal["sql"]
    dialect: Literal["postgres", "sqlite"]
    objects: dict[str, Table]


def read_snapshot(snapshot: Any) -> Snapshot:
    """Return the snapshot; raise `ValueError` for what is none."""
    try:
        return Snapshot.model_validate(snapshot)
    except ValidationError as error:
        place = ".".join(map(str, error.errors()[0]["loc"]))
        raise ValueError(f"the snapshot is none of a database ({place}); fetch it again") from None
