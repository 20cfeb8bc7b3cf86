"""A decision's scope, as the service takes it: which fields, conditions in SOQL, how many records.

What is outside a scope is as if it were not there: it is neither read, searched by, ordered by, written nor counted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from broker.connector import Comparison, Scope, errors
from connectors.salesforce.literals import literal
from connectors.salesforce.snapshot import Snapshot, SnapshotField, SnapshotObject

Fields = Mapping[str, SnapshotField]

_OPERATORS = {"=": "=", "!=": "!=", "<": "<", "<=": "<=", ">": ">", ">=": ">=", "in": "IN"}


@dataclass(frozen=True, slots=True)
class Narrowed:
    """A scope on one object. `conditions` must all stand in every query; `filters` are what they were made of."""

    fields: Fields
    conditions: tuple[str, ...]
    filters: tuple[Comparison, ...]
    records: int | None

    def wanted(self, names: Sequence[str] | None) -> Fields:
        """Return the fields that are asked for, all that are allowed if none are named; refuse others."""
        if names is None:
            return self.fields
        self.allow(names)
        return {name: self.fields[name] for name in names}

    def allow(self, names: Sequence[str]) -> None:
        """Return if every field may be used; name the first that may not otherwise."""
        for name in names:
            if name not in self.fields:
                allowed = ", ".join(self.fields)
                raise errors.AccessDenied(f"The agent's policies do not permit the field {name}. Permitted: {allowed}.")

    def limit(self, limit: int) -> int:
        """Return how many records may be returned."""
        return limit if self.records is None else min(limit, self.records)


def narrow(scope: Scope, pinned: SnapshotObject, snapshot: Snapshot) -> Narrowed:
    """Return a scope on one object; raise `AccessDenied` for a filter that the service could not be asked."""
    leaving = pinned.leaving()
    fields = leaving if scope.fields is None else {name: leaving[name] for name in leaving if name in scope.fields}
    if not fields:
        raise errors.AccessDenied("The agent's policies permit no field of this resource.")
    conditions = tuple(_condition(comparison, pinned, snapshot) for comparison in scope.filters)
    return Narrowed(fields, conditions, scope.filters, scope.records)


def filterable(pinned: SnapshotObject, snapshot: Snapshot) -> frozenset[str]:
    """Return what filters can speak of: the object's own fields, and those of records that it refers to."""
    own = {field.name for field in pinned.fields if _can_filter(field)}
    related = {
        f"{field.relationship}.{other.name}"
        for field in pinned.fields
        if (target := _target(field, snapshot)) is not None
        for other in target.fields
        if _can_filter(other)
    }
    return frozenset(own | related)


def field_at(path: str, pinned: SnapshotObject, snapshot: Snapshot) -> SnapshotField | None:
    """Return the field that a path of one or two names leads to, if it can be filtered by."""
    relationship, _, name = path.rpartition(".")
    if relationship:
        found = [field for field in pinned.fields if field.relationship == relationship]
        target = _target(found[0], snapshot) if found else None
        if target is None:
            return None
        pinned = target
    return next((field for field in pinned.fields if field.name == name and _can_filter(field)), None)


def check_new(narrowed: Narrowed, values: Mapping[str, Any], pinned: SnapshotObject, *, creating: bool) -> None:
    """Refuse to write a record that would be outside the scope, or of which that cannot be told.

    Of a new record every filter must be shown true by its values; of one that is there, those that it changes.
    """
    for comparison in narrowed.filters:
        name = comparison.field
        given = name in values
        leading = {field.name for field in pinned.fields if field.relationship == name.partition(".")[0]}
        moved = "." in name and not leading.isdisjoint(values)
        if (creating and not given) or moved or (given and not _holds(values[name], comparison)):
            raise errors.AccessDenied(
                f"The agent's policies permit only records with {name} as they filter it; this one would not be, or it "
                "cannot be told before it is written."
            )


def _holds(value: Any, comparison: Comparison) -> bool:
    """Tell whether a value meets a comparison, in the plainest way; what it cannot tell is false."""
    wanted = comparison.value
    if comparison.operator == "in":
        return isinstance(wanted, list) and value in wanted
    if isinstance(value, bool) or isinstance(wanted, bool) or isinstance(value, str) or isinstance(wanted, str):
        same = type(value) is type(wanted) and value == wanted
        return same if comparison.operator == "=" else False
    if not isinstance(value, int | float) or not isinstance(wanted, int | float):
        return False
    orders = {
        "=": value == wanted,
        "!=": value != wanted,
        "<": value < wanted,
        "<=": value <= wanted,
        ">": value > wanted,
        ">=": value >= wanted,
    }
    return orders[comparison.operator]


def _condition(comparison: Comparison, pinned: SnapshotObject, snapshot: Snapshot) -> str:
    refused = errors.AccessDenied(
        f"The agent's policies filter by {comparison.field} in a way that this service cannot be asked."
    )
    field = field_at(comparison.field, pinned, snapshot)
    values = comparison.value if isinstance(comparison.value, list) else [comparison.value]
    # An empty text equals null to the service: a person without an address would own what belongs to nobody
    if field is None or not values or "" in values:
        raise refused
    try:
        written = [literal(field, value) for value in values]
    except errors.InvalidArguments:
        raise refused from None
    one = f"({','.join(written)})" if comparison.operator == "in" else written[0]
    return f"{comparison.field} {_OPERATORS[comparison.operator]} {one}"


def _target(field: SnapshotField, snapshot: Snapshot) -> SnapshotObject | None:
    if field.relationship is None or len(field.references) != 1:
        return None
    return snapshot.find(field.references[0])


def _can_filter(field: SnapshotField) -> bool:
    return field.filterable and field.type not in {"time", "multipicklist"}
