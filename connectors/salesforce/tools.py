"""The tools of every mapped object and of the connector as a whole: what an agent reads of them, and what they do."""

from collections.abc import Iterator, Mapping
from typing import Any

from broker.connector import ConnectorDocument, Tool
from connectors.salesforce import schemas
from connectors.salesforce.across import Across
from connectors.salesforce.composite import Composite
from connectors.salesforce.export import Export
from connectors.salesforce.free import FreeQuery
from connectors.salesforce.related import Related
from connectors.salesforce.scope import filterable
from connectors.salesforce.snapshot import Settings, Snapshot, SnapshotChild, read_snapshot
from connectors.salesforce.sobject import SObject
from connectors.salesforce.writes import Writer

READING = ("read", "search", "describe", "related", "export")
WRITING = ("create", "update", "upsert", "delete")
WHOLE = {"search": "find", "query": "run", "composite": "write"}
"""The resources that are no object, and what can be done with each."""
_NO_RECORD = "record"
"""For tools that narrow what they do by themselves, and whose result has no such member: no record leaves."""
_KEY_LENGTH = 64  # characters of an idempotency key


def tools(document: ConnectorDocument, snapshot: Any) -> list[Tool]:
    """Return the tools of every mapped object; those of an object that is not pinned yet are not built."""
    if document.snapshot is None:
        raise ValueError("'snapshot' is missing: name a JSON file here, and 'aam connector snapshot NAME' writes it")
    if taken := WHOLE.keys() & document.resources.keys():
        raise ValueError(f"'{min(taken)}' is the connector's own resource; call the object's resource something else")
    pinned = read_snapshot(snapshot) if snapshot is not None else None
    settings = Settings.model_validate(document.settings)
    objects = _objects(document, pinned, settings)
    found: list[Tool] = []
    for resource, name in document.resources.items():
        if resource in objects:
            found += _object_tools(objects[resource], objects)
        else:
            found += (_not_built(resource, action, name) for action in (*READING, *WRITING))
    return found + list(_whole_tools(objects, pinned, settings))


def _objects(document: ConnectorDocument, pinned: Snapshot | None, settings: Settings) -> dict[str, SObject]:
    """Return the mapped objects that are pinned and have a field that may leave, by resource."""
    if pinned is None:
        return {}
    objects = {
        resource: SObject(name, resource, pinned.objects[name], pinned, settings)
        for resource, name in document.resources.items()
        if name in pinned.objects and pinned.objects[name].leaving()
    }
    for one in objects.values():
        _check_key(one, settings.idempotency_fields.get(one.name))
    return objects


def _check_key(of: SObject, name: str | None) -> None:
    if name is None:
        return
    field = of.fields.get(name)
    if field is None or not field.external_id or not field.createable or field.length < _KEY_LENGTH:
        raise ValueError(
            f"'settings.idempotency_fields' names {of.name}.{name}, which is not pinned as an external id that can be "
            f"written and holds {_KEY_LENGTH} characters"
        )


# --- The tools of one object -----------------------------------------------------------------------------------------


def _object_tools(of: SObject, objects: Mapping[str, SObject]) -> Iterator[Tool]:
    label, by, record = of.pinned.label, filterable(of.pinned, of.snapshot), schemas.record(of.fields)
    yield Tool(
        of.resource,
        "read",
        f"Read one {label} record of Salesforce by its id.",
        schemas.read(of.fields),
        schemas.closed({"record": record}, required=["record"]),
        reads_only=True,
        run=of.read,
        filterable=by,
        records="record",
    )
    yield Tool(
        of.resource,
        "search",
        f"Search {label} records of Salesforce by conditions on their fields. "
        "Name the fields you need. 'more' in the answer says that there are others, 'cursor' leads to them.",
        schemas.search(of.fields),
        schemas.page(record),
        reads_only=True,
        run=of.search,
        check=of.check_search,
        filterable=by,
        records="records",
    )
    yield Tool(
        of.resource,
        "describe",
        f"List the fields of {label} in Salesforce: names, types, whether they can be searched, ordered by and "
        "written, and the values of picklists.",
        schemas.closed({}),
        schemas.closed({"label": {"type": "string"}, "fields": {"type": "array", "items": schemas.DESCRIBED_FIELD}}),
        reads_only=True,
        run=of.describe,
        filterable=by,
        records=_NO_RECORD,
    )
    yield from _listing_tools(of, objects)
    yield from _writing_tools(Writer(of))


def _listing_tools(of: SObject, objects: Mapping[str, SObject]) -> Iterator[Tool]:
    label, by = of.pinned.label, filterable(of.pinned, of.snapshot)
    export = Export(of)
    yield Tool(
        of.resource,
        "export",
        f"Export many {label} records of Salesforce, page by page: call again with 'cursor' until 'more' is false.",
        schemas.export(of.fields, of.settings.export_records),
        schemas.page(schemas.record(of.fields), state={"type": "string"}),
        reads_only=True,
        run=export.export,
        check=export.check,
        filterable=by,
        records="records",
    )
    children = _children(of, objects)
    if not children:
        yield _not_built(of.resource, "related", label)
        return
    related = Related(of, children)
    yield Tool(
        of.resource,
        "related",
        f"List the records that refer to one {label} record of Salesforce.",
        schemas.related(children),
        schemas.page(schemas.ROWS),
        reads_only=True,
        run=related.find,
        check=related.check,
        filterable=by,
        touches=related.touches,
    )


def _children(of: SObject, objects: Mapping[str, SObject]) -> dict[str, tuple[SnapshotChild, SObject]]:
    """Return the relationships that lead to a mapped object, which must show the field that refers."""
    by_name = {one.name: one for one in reversed(list(objects.values()))}
    return {
        child.name: (child, by_name[child.object])
        for child in of.pinned.children
        if child.object in by_name and child.field in by_name[child.object].fields
    }


def _writing_tools(writer: Writer) -> Iterator[Tool]:
    of, pinned, label = writer.of, writer.of.pinned, writer.of.pinned.label
    by = filterable(pinned, of.snapshot)
    if pinned.createable and writer.createable:
        known = of.name in of.settings.idempotency_fields
        yield Tool(
            of.resource,
            "create",
            f"Create a {label} record in Salesforce. "
            + (
                "Repeating the same call creates no second one."
                if known
                else "Repeating the call creates a second one: where the outcome is unknown, search first."
            ),
            schemas.create(writer.createable),
            schemas.written("created"),
            reads_only=False,
            run=writer.create,
            check=writer.check_create,
            filterable=by,
            records=_NO_RECORD,
        )
    else:
        yield _not_built(of.resource, "create", label)
    if pinned.updateable and writer.updateable:
        yield Tool(
            of.resource,
            "update",
            f"Change fields of one {label} record in Salesforce, unless somebody changes it at the same time.",
            schemas.update(writer.updateable),
            schemas.written("changed"),
            reads_only=False,
            run=writer.update,
            check=writer.check_update,
            filterable=by,
            records=_NO_RECORD,
        )
    else:
        yield _not_built(of.resource, "update", label)
    if pinned.createable and pinned.updateable and writer.external_ids:
        yield Tool(
            of.resource,
            "upsert",
            f"Change the {label} record in Salesforce that has an external id, or create it.",
            schemas.upsert(writer.updateable, writer.external_ids),
            schemas.written("created", "changed"),
            reads_only=False,
            run=writer.upsert,
            check=writer.check_upsert,
            filterable=by,
            records=_NO_RECORD,
        )
    else:
        yield _not_built(of.resource, "upsert", label)
    if pinned.deletable:
        yield Tool(
            of.resource,
            "delete",
            f"Delete one {label} record in Salesforce, unless somebody changes it at the same time.",
            schemas.delete(),
            schemas.written("deleted"),
            reads_only=False,
            run=writer.delete,
            check=writer.check_delete,
            filterable=by,
            records=_NO_RECORD,
        )
    else:
        yield _not_built(of.resource, "delete", label)


# --- The tools of the connector as a whole ---------------------------------------------------------------------------


def _whole_tools(objects: Mapping[str, SObject], pinned: Snapshot | None, settings: Settings) -> Iterator[Tool]:
    if pinned is None or not objects:
        yield from (_not_built(resource, action, "any") for resource, action in WHOLE.items())
        return
    across = Across(objects, settings.api_version)
    yield Tool(
        "search",
        "find",
        "Search Salesforce for words, across several resources at once.",
        schemas.across(list(objects)),
        schemas.FOUND,
        reads_only=True,
        run=across.find,
        check=across.check,
        touches=across.touches,
    )
    query = FreeQuery(objects, pinned, settings.api_version)
    yield Tool(
        "query",
        "run",
        "Run a SOQL query on Salesforce: SELECT fields (Owner.Name, subqueries) or COUNT() FROM one object WHERE ... "
        "ORDER BY ... LIMIT ... OFFSET; no functions, no grouping. You need the permission to search every object.",
        schemas.free(),
        schemas.page(schemas.QUERY_ROWS),
        reads_only=True,
        run=query.run,
        check=query.check,
        touches=query.touches,
    )
    writers = {
        resource: Writer(one)
        for resource, one in objects.items()
        if one.pinned.createable or one.pinned.updateable or one.pinned.deletable
    }
    if not writers:
        yield _not_built("composite", "write", "any")
        return
    composite = Composite(writers, settings.api_version)
    yield Tool(
        "composite",
        "write",
        "Create, change, upsert and delete several Salesforce records in one request, all or none. You need the "
        "permission for each of them.",
        schemas.composite(writers),
        schemas.RESULTS,
        reads_only=False,
        run=composite.write,
        check=composite.check,
        touches=composite.touches,
    )


def _not_built(resource: str, action: str, label: str) -> Tool:
    return Tool(
        resource,
        action,
        f"{action.capitalize()} {label} records of Salesforce.",
        {"type": "object"},
        schemas.closed({}),
        reads_only=action in (*READING, "find", "run"),
    )
