"""What an object and its fields are, and the describe answers that say so.

The keys of a describe answer are those of DescribeSObjectResult and Field in the SOAP API Developer Guide, which
the REST resource returns as JSON. A client may rely on: name, label, type, length, precision, scale, digits,
nillable, createable, updateable, filterable, sortable, groupable, picklistValues, referenceTo, relationshipName.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any, Final

LONGEST_SHORT_TEXT: Final = 255
TEXT_TYPES: Final = frozenset({"string", "textarea", "picklist", "phone", "url", "email"})
ID_TYPES: Final = frozenset({"id", "reference"})
NUMBER_TYPES: Final = frozenset({"int", "double", "currency", "percent"})
_UNGROUPABLE_TYPES: Final = frozenset({"double", "currency", "percent", "datetime"})
_SOAP_TYPES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "id": "tns:ID",
        "reference": "tns:ID",
        "int": "xsd:int",
        "double": "xsd:double",
        "currency": "xsd:double",
        "percent": "xsd:double",
        "boolean": "xsd:boolean",
        "date": "xsd:date",
        "datetime": "xsd:dateTime",
    },
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One field of an object. What is not stated is an optional field that clients may write."""

    name: str
    label: str
    type: str
    length: int = 0
    precision: int = 0
    scale: int = 0
    digits: int = 0
    nillable: bool = True
    createable: bool = True
    updateable: bool = True
    defaulted_on_create: bool = False
    name_field: bool = False
    auto_number: bool = False
    default: Any = None
    picklist: tuple[str, ...] = ()
    reference_to: tuple[str, ...] = ()
    relationship_name: str | None = None
    child_relationship: str | None = None
    external_id: bool = False
    restricted: bool = False

    @property
    def custom(self) -> bool:
        """Whether an administrator made it."""
        return self.name.endswith("__c")

    @property
    def long_text(self) -> bool:
        """A long text area: the service neither filters nor sorts on those (SOQL and SOSL Reference, WHERE)."""
        return self.type == "textarea" and self.length > LONGEST_SHORT_TEXT

    @property
    def required(self) -> bool:
        """Whether a create without it is refused (Object Reference, Required Fields)."""
        return self.createable and not self.nillable and not self.defaulted_on_create

    def describe(self) -> dict[str, Any]:
        """Write this field as an entry of a describe answer's `fields`."""
        reference = self.type == "reference"
        return _UNUSED_OF_A_FIELD | {
            "aggregatable": self.type != "boolean" and not self.long_text,
            "autoNumber": self.auto_number,
            "byteLength": self.length if self.type in ID_TYPES else 3 * self.length,
            "createable": self.createable,
            "custom": self.custom,
            "defaultValue": self.default,
            "defaultedOnCreate": self.defaulted_on_create,
            "digits": self.digits,
            "externalId": self.external_id,
            "filterable": not self.long_text,
            "groupable": not self.long_text and self.type not in _UNGROUPABLE_TYPES,
            "idLookup": self.type in {"id", "email"} or self.external_id,
            "label": self.label,
            "length": self.length,
            "name": self.name,
            "nameField": self.name_field,
            "namePointing": len(self.reference_to) > 1,
            "nillable": self.nillable,
            "permissionable": self.nillable and self.updateable,
            "picklistValues": [self._describe_value(value) for value in self.picklist],
            "polymorphicForeignKey": len(self.reference_to) > 1,
            "precision": self.precision,
            "referenceTo": list(self.reference_to),
            "relationshipName": self.relationship_name if reference else None,
            "restrictedPicklist": self.restricted,
            "scale": self.scale,
            "soapType": _SOAP_TYPES.get(self.type, "xsd:string"),
            "sortable": not self.long_text,
            "type": self.type,
            "unique": self.external_id,
            "updateable": self.updateable,
        }

    def _describe_value(self, value: str) -> dict[str, Any]:
        return {
            "active": True,
            "defaultValue": value == self.default,
            "label": value,
            "validFor": None,
            "value": value,
        }


@dataclass(frozen=True, slots=True)
class Child:
    """The records of another object that refer to one of this, by one of their fields."""

    relationship: str
    sobject: str
    field: str

    def describe(self) -> dict[str, Any]:
        """Write this relationship as an entry of a describe answer's `childRelationships`."""
        return {
            "cascadeDelete": False,
            "childSObject": self.sobject,
            "deprecatedAndHidden": False,
            "field": self.field,
            "junctionIdListNames": [],
            "junctionReferenceTo": [],
            "relationshipName": self.relationship,
            "restrictedDelete": False,
        }


@dataclass(frozen=True)
class SObject:
    """An object type: its names, its Ids' key prefix and its fields in describe order."""

    name: str
    label_plural: str
    key_prefix: str
    fields: tuple[Field, ...]
    label: str = ""

    def field(self, name: str) -> Field | None:
        """Find a field; API names are compared without case, as SOQL does."""
        return self._by_name.get(name.casefold())

    @cached_property
    def _by_name(self) -> dict[str, Field]:
        return {field.name.casefold(): field for field in self.fields}

    def summarise(self, data_path: str) -> dict[str, Any]:
        """Write this object as the global describe lists it."""
        sobject = f"{data_path}/sobjects/{self.name}"
        return _UNUSED_OF_AN_OBJECT | {
            "custom": self.name.endswith("__c"),
            "keyPrefix": self.key_prefix,
            "label": self.label or self.name,
            "labelPlural": self.label_plural,
            "name": self.name,
            "urls": {
                "describe": f"{sobject}/describe",
                "rowTemplate": sobject + "/{ID}",
                "sobject": sobject,
            },
        }

    def describe(self, data_path: str, children: tuple[Child, ...] = ()) -> dict[str, Any]:
        """Write the whole describe answer. Layouts and record types are left empty."""
        return self.summarise(data_path) | {
            "actionOverrides": [],
            "childRelationships": [child.describe() for child in children],
            "compactLayoutable": True,
            "fields": [field.describe() for field in self.fields],
            "listviewable": None,
            "lookupLayoutable": None,
            "namedLayoutInfos": [],
            "networkScopeFieldName": None,
            "recordTypeInfos": [],
            "searchLayoutable": True,
            "supportedScopes": [{"label": f"All {self.label_plural}", "name": "everything"}],
        }


_UNUSED_OF_A_FIELD: Final[MappingProxyType[str, Any]] = MappingProxyType(
    dict.fromkeys(
        (
            "aiPredictionField",
            "calculated",
            "cascadeDelete",
            "caseSensitive",
            "dependentPicklist",
            "deprecatedAndHidden",
            "displayLocationInDecimal",
            "encrypted",
            "formulaTreatNullNumberAsZero",
            "highScaleNumber",
            "htmlFormatted",
            "queryByDistance",
            "restrictedDelete",
            "searchPrefilterable",
            "writeRequiresMasterRead",
        ),
        False,
    )
    | dict.fromkeys(
        (
            "calculatedFormula",
            "compoundFieldName",
            "controllerName",
            "defaultValueFormula",
            "extraTypeInfo",
            "filteredLookupInfo",
            "inlineHelpText",
            "mask",
            "maskType",
            "referenceTargetField",
            "relationshipOrder",
        ),
    ),
)
_UNUSED_OF_AN_OBJECT: Final[MappingProxyType[str, Any]] = MappingProxyType(
    dict.fromkeys(
        (
            "createable",
            "deletable",
            "feedEnabled",
            "layoutable",
            "mergeable",
            "mruEnabled",
            "queryable",
            "replicateable",
            "retrieveable",
            "searchable",
            "triggerable",
            "undeletable",
            "updateable",
        ),
        True,
    )
    | dict.fromkeys(
        (
            "activateable",
            "customSetting",
            "deepCloneable",
            "deprecatedAndHidden",
            "hasSubtypes",
            "isInterface",
            "isSubtype",
        ),
        False,
    ),
)
