"""A parsed query bound to what is pinned: every name found, every object's fields known, and the text written anew."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from broker.connector import errors
from connectors.salesforce.snapshot import Snapshot, SnapshotField, SnapshotObject
from connectors.salesforce.soql.tree import Comparison, Condition, Joined, Not, Query

Conditions = Callable[[str], tuple[str, ...]]
"""Returns the conditions that must hold of the records of an object, in SOQL."""
Fields = dict[str, SnapshotField]


@dataclass(frozen=True, slots=True)
class BoundQuery:
    """A query whose every name is known. `shown` are the fields of its rows, `nested` those of its subqueries."""

    query: Query
    object: str
    relationship: str
    shown: Fields
    nested: "tuple[BoundQuery, ...]"
    touched: Mapping[str, set[str]]
    """Every object, and the fields of it that are selected, compared or ordered by; subqueries' included."""
    looked_up: frozenset[str]
    """The objects of which related records are looked at, by a path."""
    _within: "Mapping[int, BoundQuery]"
    _names: Mapping[str, str]

    def text(
        self, conditions: Conditions, *, limit: int | None, offset: int = 0, also: str = "", order: str = ""
    ) -> str:
        """Write the query, with the conditions of each object in it."""
        items = [*self.shown, *(f"({inner.text(conditions, limit=inner.query.limit)})" for inner in self.nested)]
        selected = ", ".join(items) if items else "COUNT()"
        written = f"SELECT {selected} FROM {self.relationship}"  # noqa: S608 - every name is a pinned one
        own = [f"({self._condition(self.query.condition, conditions)})"] if self.query.condition else []
        if every := [*own, *conditions(self.object), *([also] if also else [])]:
            written += f" WHERE {' AND '.join(every)}"
        keys = [f"{self._names[key.path]} {key.how}" for key in self.query.order]
        written += f" ORDER BY {', '.join(keys)}" if keys else order
        written += f" LIMIT {limit:d}" if limit is not None else ""
        return written + (f" OFFSET {offset:d}" if offset else "")

    def _condition(self, condition: Condition, conditions: Conditions) -> str:
        match condition:
            case Not(left_out):
                return f"(NOT ({self._condition(left_out, conditions)}))"
            case Joined(joint, parts):
                return f" {joint} ".join(f"({self._condition(part, conditions)})" for part in parts)
            case Comparison(path, operator, literals, within):
                if within is not None:
                    inner = self._within[id(within)].text(conditions, limit=None)
                    return f"{self._names[path]} {operator} ({inner})"
                value = f"({','.join(literals)})" if operator in {"IN", "NOT IN"} else literals[0]
                return f"{self._names[path]} {operator} {value}"


def bind(query: Query, snapshot: Snapshot) -> BoundQuery:
    """Find everything that a query names; raise `InvalidArguments` for the first thing that is not pinned."""
    name = _named(query.source, snapshot.objects)
    if name is None:
        raise errors.InvalidArguments(f"There is no object {query.source} here.")
    return _Binder(snapshot).bind(query, name, name)


@dataclass(slots=True)
class _Binder:
    snapshot: Snapshot
    touched: dict[str, set[str]] = field(default_factory=dict)
    looked_up: set[str] = field(default_factory=set)

    def bind(self, query: Query, name: str, relationship: str) -> BoundQuery:
        pinned = self.snapshot.objects[name]
        names: dict[str, str] = {}
        within: dict[int, BoundQuery] = {}
        self.touched.setdefault(name, set())
        shown: Fields = {}
        for path in query.paths:
            names[path], found = self._field(name, pinned, path)
            if names[path] in shown:
                raise errors.InvalidArguments(f"{path} is selected twice.")
            shown[names[path]] = found
        for key in query.order:
            names[key.path], _ = self._field(name, pinned, key.path)
        if query.condition is not None:
            self._compared(query.condition, name, pinned, names, within)
        nested = tuple(self._child(inner, name, pinned) for inner in query.subqueries)
        looked_up = frozenset(self.looked_up)
        return BoundQuery(query, name, relationship, shown, nested, self.touched, looked_up, within, names)

    def _field(self, name: str, pinned: SnapshotObject, path: str) -> tuple[str, SnapshotField]:
        """Return a path as the service writes it and its field, noting what it touches."""
        relationship, _, last = path.rpartition(".")
        written = ""
        if relationship:
            by_relationship = {one.relationship: one for one in pinned.fields if one.relationship}
            found = _named(relationship, by_relationship)
            reference = by_relationship[found] if found else None
            if found is None or reference is None or len(reference.references) != 1:
                raise errors.InvalidArguments(f"{name} has no relationship {relationship} here.")
            self.touched.setdefault(name, set()).add(reference.name)
            written, name = f"{found}.", reference.references[0]
            self.looked_up.add(name)
            pinned_target = self.snapshot.objects.get(name)
            if pinned_target is None:
                # It may be there at the service; that it is not mapped means that no policy can permit it
                raise errors.AccessDenied(f"The agent's policies do not permit 'search' on {name}.")
            pinned = pinned_target
        leaving = pinned.leaving()
        field_name = _named(last, leaving)
        if field_name is None:
            raise errors.InvalidArguments(f"{name} has no field {last} here.")
        self.touched.setdefault(name, set()).add(field_name)
        return written + field_name, leaving[field_name]

    def _compared(
        self,
        condition: Condition,
        name: str,
        pinned: SnapshotObject,
        names: dict[str, str],
        within: dict[int, BoundQuery],
    ) -> None:
        match condition:
            case Not(inner):
                self._compared(inner, name, pinned, names, within)
            case Joined(_, parts):
                for part in parts:
                    self._compared(part, name, pinned, names, within)
            case Comparison(path, _, _, inner_query):
                names[path], _ = self._field(name, pinned, path)
                if inner_query is not None:
                    within[id(inner_query)] = self._semi_join(inner_query)

    def _semi_join(self, query: Query) -> BoundQuery:
        name = _named(query.source, self.snapshot.objects)
        if name is None:
            raise errors.InvalidArguments(f"There is no object {query.source} here.")
        if len(query.paths) != 1 or query.order or query.limit is not None or query.offset is not None:
            raise errors.InvalidArguments("A query after IN selects one field, without order, limit and offset.")
        return self.bind(query, name, name)

    def _child(self, query: Query, name: str, pinned: SnapshotObject) -> BoundQuery:
        children = {child.name: child for child in pinned.children}
        found = _named(query.source, children)
        if found is None:
            raise errors.InvalidArguments(f"{name} has no relationship {query.source} here.")
        child = children[found]
        if child.object not in self.snapshot.objects:
            raise errors.AccessDenied(f"The agent's policies do not permit 'search' on {child.object}.")
        if query.counts:
            raise errors.InvalidArguments("A subquery selects fields; COUNT() stands by itself.")
        self.touched.setdefault(child.object, set()).add(child.field)
        return self.bind(query, child.object, found)


def _named(name: str, known: Mapping[str, Any]) -> str | None:
    """Return a name as it is pinned; SOQL compares names without case."""
    if name in known:
        return name
    return next((one for one in known if one.casefold() == name.casefold()), None)
