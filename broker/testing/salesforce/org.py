"""An org: records in memory, found, created, changed and deleted as the sObject resources do it.

A record maps every field name of its object to the JSON value the REST API answers: currency as a float, a date as
`2024-05-31`, a datetime as `2024-05-31T09:30:00.000+0000`. An empty text is stored as null, as in Salesforce.
"""

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime
from types import MappingProxyType
from typing import Any, Final

from broker.testing.salesforce.errors import ServiceError, no_such_record_key, resource_missing
from broker.testing.salesforce.ids import parse_id, record_id
from broker.testing.salesforce.objects import CASE, CONTACT, OBJECTS, OPPORTUNITY, STAGES, USER
from broker.testing.salesforce.schema import NUMBER_TYPES, TEXT_TYPES, Field, SObject
from broker.testing.salesforce.users import FIRST_NUMBER, NUMBER_STEP, USER_IDS

Record = dict[str, Any]

_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}")
_JSON_KINDS: Final = MappingProxyType(
    {bool: "BOOLEAN", int: "NUMBER_INT", float: "NUMBER_FLOAT", str: "STRING", list: "ARRAY", dict: "OBJECT"},
)


class Org:
    """The records of each object, in the order they were created."""

    def __init__(self) -> None:
        self._records: dict[str, dict[str, Record]] = {sobject.name: {} for sobject in OBJECTS}
        self._created = dict.fromkeys(self._records, 0)

    def records(self, sobject: SObject) -> list[Record]:
        """List all records of an object; the order is that of their Ids."""
        return list(self._records[sobject.name].values())

    def find(self, sobject: SObject, key: str) -> Record:
        """Return the record with this 15- or 18-character Id, or raise the service's own 404."""
        identifier = parse_id(key)
        if identifier is None:
            raise no_such_record_key(key)
        record = self._records[sobject.name].get(identifier)
        if record is None:
            raise resource_missing()
        return record

    def create(self, sobject: SObject, values: Mapping[str, Any], at: datetime | None = None) -> str:
        """Add a record and return its Id, or refuse it whole."""
        changes = _accepted(sobject, values, writable=lambda field: field.createable)
        self._check_unique(sobject, changes, None)
        missing = tuple(field.name for field in sobject.fields if field.required and changes.get(field.name) is None)
        if missing:
            message = f"Required fields are missing: [{', '.join(missing)}]"
            raise ServiceError(400, "REQUIRED_FIELD_MISSING", message, missing)

        number = self._created[sobject.name]
        self._created[sobject.name] += 1
        moment = written(at or datetime.now(UTC))
        record = {field.name: field.default for field in sobject.fields}
        stamps = {
            "Id": record_id(sobject.key_prefix, FIRST_NUMBER + NUMBER_STEP * number),
            "OwnerId": USER_IDS[0],
            "CreatedDate": moment,
            "CreatedById": USER_IDS[0],
            "LastModifiedById": USER_IDS[0],
        }
        record |= {name: value for name, value in stamps.items() if name in record}
        if sobject is CASE:
            record["CaseNumber"] = f"{number + 1001:08}"
        _change(sobject, record, changes, moment)
        self._records[sobject.name][record["Id"]] = record
        return str(record["Id"])

    def update(self, sobject: SObject, key: str, values: Mapping[str, Any]) -> None:
        """Change the named fields of a record, all or none."""
        record = self.find(sobject, key)
        changes = _accepted(sobject, values, writable=lambda field: field.updateable)
        self._check_unique(sobject, changes, record["Id"])
        emptied = tuple(name for name, value in changes.items() if value is None and _field(sobject, name).required)
        if emptied:
            message = f"Required fields are missing: [{', '.join(emptied)}]"
            raise ServiceError(400, "REQUIRED_FIELD_MISSING", message, emptied)
        _change(sobject, record, changes, written(datetime.now(UTC)))

    def delete(self, sobject: SObject, key: str) -> None:
        """Remove a record for good; this org has no recycle bin."""
        record = self.find(sobject, key)
        del self._records[sobject.name][record["Id"]]

    def by_external_id(self, sobject: SObject, field_name: str, value: str) -> Record | None:
        """Return the record that has this value of an external Id field, or None; refuse any other field."""
        field = sobject.field(field_name)
        if field is None or not field.external_id:
            raise no_such_record_key(field_name)
        wanted = value.casefold()
        records = self._records[sobject.name].values()
        return next((one for one in records if (one[field.name] or "").casefold() == wanted), None)

    def related(self, sobject_name: str, record_id: str | None) -> Record | None:
        """Return a record that another refers to."""
        return self._records.get(sobject_name, {}).get(record_id or "")

    @contextlib.contextmanager
    def all_or_none(self) -> Iterator[None]:
        """Undo everything that is done within, if it ends with an error."""
        before = {name: {key: dict(one) for key, one in records.items()} for name, records in self._records.items()}
        created = dict(self._created)
        try:
            yield
        except BaseException:
            self._records, self._created = before, created
            raise

    def _check_unique(self, sobject: SObject, changes: Mapping[str, Any], but: str | None) -> None:
        for name, value in changes.items():
            if value is None or not _field(sobject, name).external_id:
                continue
            other = self.by_external_id(sobject, name, value)
            if other is not None and other["Id"] != but:
                message = f"duplicate value found: {name} duplicates value on record with id: {other['Id'][:15]}"
                raise ServiceError(400, "DUPLICATE_VALUE", message, ())


def written(moment: datetime) -> str:
    """Write a datetime as the REST API does: milliseconds, and an offset without a colon."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03}+0000"


def _change(sobject: SObject, record: Record, changes: Mapping[str, Any], moment: str) -> None:
    if "StageName" in changes:
        record["Probability"] = STAGES.get(changes["StageName"])
    record |= changes
    record |= {"LastModifiedDate": moment, "SystemModstamp": moment}
    if sobject is USER:
        record["Name"] = " ".join(part for part in (record["FirstName"], record["LastName"]) if part)
    if sobject is CONTACT:
        record["Name"] = " ".join(part for part in (record["FirstName"], record["LastName"]) if part)
    if sobject is OPPORTUNITY:
        record["IsClosed"] = record["StageName"] in {"Closed Won", "Closed Lost"}
        record["IsWon"] = record["StageName"] == "Closed Won"
    if sobject is CASE:
        record["IsClosed"] = record["Status"] == "Closed"
        record["ClosedDate"] = (record["ClosedDate"] or moment) if record["IsClosed"] else None


def _field(sobject: SObject, name: str) -> Field:
    field = sobject.field(name)
    if field is None:
        raise ServiceError(400, "INVALID_FIELD", f"No such column '{name}' on sobject of type {sobject.name}")
    return field


def _accepted(sobject: SObject, values: Mapping[str, Any], *, writable: Callable[[Field], bool]) -> dict[str, Any]:
    if any(name.casefold() == "id" for name in values):
        raise ServiceError(400, "INVALID_FIELD", "The Id field should not be specified in the sobject data.")
    changes = {}
    for name, value in values.items():
        if name == "attributes":  # clients send records back as they got them
            continue
        field = _field(sobject, name)
        if not writable(field):
            message = (
                f"Unable to create/update fields: {field.name}. Please check the security settings of this field and "
                "verify that it is read/write for your profile or permission set."
            )
            raise ServiceError(400, "INVALID_FIELD_FOR_INSERT_UPDATE", message, (field.name,))
        changes[field.name] = None if value in (None, "") else _value(field, value)
    return changes


def _value(field: Field, value: Any) -> Any:
    if field.type == "boolean" and isinstance(value, bool):
        return value
    if field.type == "int" and isinstance(value, int) and not isinstance(value, bool):
        return value
    if field.type in NUMBER_TYPES - {"int"} and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, str):
        return _text_value(field, value)
    raise _undeserialisable(field, value)


def _text_value(field: Field, value: str) -> str:
    if field.type in TEXT_TYPES:
        if len(value) > field.length:
            message = f"{field.label}: data value too large: {value} (max length={field.length})"
            raise ServiceError(400, "STRING_TOO_LONG", message, (field.name,))
        if field.restricted and value not in field.picklist:
            message = f"{field.label}: bad value for restricted picklist field: {value}"
            raise ServiceError(400, "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST", message, (field.name,))
        return value
    if field.type == "reference":
        identifier = parse_id(value)
        if identifier is None:
            message = f"{field.label}: id value of incorrect type: {value}"
            raise ServiceError(400, "MALFORMED_ID", message, (field.name,))
        return identifier
    if field.type == "date" and _DATE.fullmatch(value):
        try:
            return date.fromisoformat(value).isoformat()
        except ValueError:
            raise _undeserialisable(field, value) from None
    raise _undeserialisable(field, value)


def _undeserialisable(field: Field, value: Any) -> ServiceError:
    kind = _JSON_KINDS[type(value)]
    return ServiceError(
        400,
        "JSON_PARSER_ERROR",
        f"Cannot deserialize instance of {field.type} from VALUE_{kind} value {value} or request may be missing a "
        "required field",
    )
