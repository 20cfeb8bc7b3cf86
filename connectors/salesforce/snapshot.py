"""The pinned snapshot: which objects there are, which of their fields may leave, and what type each is."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

ApiName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,79}$")]

# Field types by what their values are in JSON; address, location and base64 values are left out whole
TEXT = frozenset(
    {"string", "textarea", "picklist", "multipicklist", "combobox", "email", "phone", "url", "id", "reference"}
    | {"encryptedstring", "time"}
)
NUMBER = frozenset(("int", "long", "double", "currency", "percent"))


class Settings(BaseModel):
    """`spec.settings` of a Salesforce connector."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    api_version: Annotated[str, Field(pattern=r"^[0-9]{2,3}\.0$", examples=["59.0"])] = "59.0"
    idempotency_fields: dict[ApiName, ApiName] = Field(
        default_factory=dict,
        description="By object, an external Id field (text, 64 characters at least) that the broker writes when it "
        "creates a record, so that a repeated create is known for one.",
    )
    export_records: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        default=50_000, description="How many records one export may have."
    )
    export_seconds: Annotated[float, Field(gt=0, le=600)] = Field(
        default=120.0, description="How long one call waits for an export; after that it answers with a cursor."
    )


class SnapshotField(BaseModel):
    """One field of an object, as pinned: it may leave the broker because it is here.

    What a snapshot of earlier times does not say of writing means that the field is not written.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: ApiName
    label: str
    type: str
    filterable: bool
    sortable: bool
    picklist: list[str] = Field(default_factory=list)
    length: int = 0
    createable: bool = False
    updateable: bool = False
    nillable: bool = True
    defaulted_on_create: bool = False
    external_id: bool = False
    references: list[ApiName] = Field(default_factory=list)
    relationship: ApiName | None = None

    @property
    def required(self) -> bool:
        """Whether a record cannot be created without it."""
        return self.createable and not self.nillable and not self.defaulted_on_create


class SnapshotChild(BaseModel):
    """Records of another object that refer to one of this, as pinned: the relationship's name, and by which field."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: ApiName
    object: ApiName
    field: ApiName


class SnapshotObject(BaseModel):
    """One object, as pinned."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    label: str
    fields: list[SnapshotField]
    createable: bool = False
    updateable: bool = False
    deletable: bool = False
    children: list[SnapshotChild] = Field(default_factory=list)

    def leaving(self) -> dict[str, SnapshotField]:
        """Return the fields that may leave, by name."""
        return {field.name: field for field in self.fields if json_type(field.type)}


class Snapshot(BaseModel):
    """The pinned snapshot's file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    service: Literal["salesforce"]
    api_version: str
    objects: dict[ApiName, SnapshotObject]
    referenced: dict[ApiName, SnapshotObject] = Field(
        default_factory=dict, description="Objects by whose fields records can be filtered, and that are not mapped."
    )

    def find(self, name: str) -> SnapshotObject | None:
        """Return an object that conditions can speak of."""
        return self.objects.get(name) or self.referenced.get(name)


def read_snapshot(pinned: Any) -> Snapshot:
    """Return a pinned snapshot; raise `ValueError`, saying where, if it is none."""
    try:
        return Snapshot.model_validate(pinned)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "the whole of it"
        said = "is no name of Salesforce's" if first["type"] == "string_pattern_mismatch" else first["msg"]
        raise ValueError(f"the snapshot is not one of Salesforce: {place}: {said}") from None


def pin_object(described: Any) -> SnapshotObject:
    """Return what is pinned of an object's description; raise `ValueError` if it is not one."""
    try:
        fields = [_pin_field(field) for field in described["fields"] if json_type(field["type"])]
        return SnapshotObject(
            label=described["label"],
            fields=fields,
            createable=described.get("createable", False),
            updateable=described.get("updateable", False),
            deletable=described.get("deletable", False),
            children=[
                SnapshotChild(name=child["relationshipName"], object=child["childSObject"], field=child["field"])
                for child in described.get("childRelationships") or ()
                if child.get("relationshipName")
            ],
        )
    except (KeyError, TypeError, AttributeError, ValidationError) as error:
        raise ValueError(f"not a description of an object: {type(error).__name__}") from None


def json_type(kind: str) -> str | None:
    """Return the JSON type of a field's values; None for those that are left out."""
    if kind in TEXT or kind in {"date", "datetime"}:
        return "string"
    return "boolean" if kind == "boolean" else "number" if kind in NUMBER else None


def _pin_field(field: Mapping[str, Any]) -> SnapshotField:
    references = list(field.get("referenceTo") or ())
    return SnapshotField(
        name=field["name"],
        label=field["label"],
        type=field["type"],
        filterable=field["filterable"],
        sortable=field["sortable"],
        picklist=[value["value"] for value in field.get("picklistValues") or () if value.get("active", True)],
        length=field.get("length", 0),
        createable=field.get("createable", False),
        updateable=field.get("updateable", False),
        nillable=field.get("nillable", True),
        defaulted_on_create=field.get("defaultedOnCreate", False),
        external_id=field.get("externalId", False),
        references=references,
        relationship=field.get("relationshipName") if references else None,
    )
