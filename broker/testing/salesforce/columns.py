"""What a query names: a field of the object, or of a record that it refers to, as `Owner.Email`.

Source: SOQL and SOSL Reference, Relationship Queries: child-to-parent, five levels up at most.
"""

from dataclasses import dataclass
from typing import Any, Final

from broker.testing.salesforce.objects import find_object
from broker.testing.salesforce.org import Org, Record
from broker.testing.salesforce.schema import Field, SObject
from broker.testing.salesforce.statement import Statement, Token

_MOST_LEVELS: Final = 5
APPEND_C: Final = (
    "If you are attempting to use a custom {what}, be sure to append the '{suffix}' after the {place} name. Please "
    "reference your WSDL or the describe call for the appropriate names."
)


@dataclass(frozen=True, slots=True)
class Column:
    """A field, and the references that lead to its record."""

    path: tuple[Field, ...]
    field: Field
    owner: SObject

    @property
    def text(self) -> str:
        """How it is written, as a column of a CSV file has it."""
        return ".".join([*(str(reference.relationship_name) for reference in self.path), self.field.name])

    def value(self, org: Org, record: Record) -> Any:
        """Return its value for a record; null where a reference on the way is."""
        for reference in self.path:
            related = org.related(reference.reference_to[0], record[reference.name])
            if related is None:
                return None
            record = related
        return record[self.field.name]


def column(statement: Statement, sobject: SObject, token: Token) -> Column:
    """Find what a name stands for, or refuse it."""
    *relationships, name = token.text.split(".")
    path: list[Field] = []
    owner = sobject
    for relationship in relationships:
        found = _reference(owner, relationship)
        target = None if found is None else find_object(found.reference_to[0])
        if found is None or target is None or len(path) == _MOST_LEVELS:
            hint = APPEND_C.format(what="relationship", suffix="__r", place="custom relationship")
            sentence = f"Didn't understand relationship '{relationship}' in field path. {hint}"
            raise statement.refuse("INVALID_FIELD", token, sentence)
        path.append(found)
        owner = target
    field = owner.field(name)
    if field is None:
        hint = APPEND_C.format(what="field", suffix="__c", place="custom field")
        raise statement.refuse("INVALID_FIELD", token, f"No such column '{name}' on entity '{owner.name}'. {hint}")
    return Column(tuple(path), field, owner)


def _reference(sobject: SObject, relationship: str) -> Field | None:
    wanted = relationship.casefold()
    return next((field for field in sobject.fields if (field.relationship_name or "").casefold() == wanted), None)
