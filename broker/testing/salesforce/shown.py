"""Records and pages as the REST API writes them: `attributes` first, related records nested."""

from collections.abc import Iterable
from typing import Any

from broker.testing.salesforce.objects import find_object
from broker.testing.salesforce.org import Record
from broker.testing.salesforce.query import Selection, children
from broker.testing.salesforce.schema import Field, SObject


def shown(data_path: str, sobject: SObject, fields: Iterable[Field], record: Record) -> dict[str, Any]:
    """Write some fields of a record."""
    return {"attributes": _attributes(data_path, sobject, record)} | {
        field.name: record[field.name] for field in fields
    }


def row(data_path: str, selection: Selection, record: Record) -> dict[str, Any]:
    """Write one record of a query's answer; a reference to nothing, and no related records, are null."""
    written: dict[str, Any] = {"attributes": _attributes(data_path, selection.sobject, record)}
    for column in selection.columns:
        place: Any
        place, held, owner = written, record, selection.sobject
        for reference in column.path:
            found = selection.org.related(reference.reference_to[0], held[reference.name])
            target = find_object(reference.reference_to[0])
            name = str(reference.relationship_name)
            if found is None or target is None:
                place[name] = None
                break
            held, owner = found, target
            place = place.setdefault(name, {"attributes": _attributes(data_path, owner, held)})
        else:
            place[column.field.name] = held[column.field.name]
    for one in selection.related:
        inner = children(selection, one, record)
        page = {"totalSize": inner.total, "done": True, "records": [row(data_path, inner, each) for each in inner.rows]}
        written[one.child.relationship] = page if inner.rows else None
    return written


def _attributes(data_path: str, sobject: SObject, record: Record) -> dict[str, Any]:
    return {"type": sobject.name, "url": f"{data_path}/sobjects/{sobject.name}/{record['Id']}"}
