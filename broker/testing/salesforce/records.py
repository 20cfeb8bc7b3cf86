"""What a request does to one record: by its Id or by an external Id, and only if a condition holds.

Sources: REST API Developer Guide, sObject Rows; sObject Rows by External ID; Conditional Request Headers
(`If-Unmodified-Since` and `If-Modified-Since`, in whole seconds; the bodies of 304 and 412 are not published, and are
empty here). Entity tags exist for accounts only, and are not offered.
"""

from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

from broker.testing.salesforce.errors import ServiceError, no_such_record_key
from broker.testing.salesforce.literals import read_datetime
from broker.testing.salesforce.org import Org, Record
from broker.testing.salesforce.schema import SObject

Answer = tuple[int, Any]


class ConditionError(ServiceError):
    """The record was changed (412), or was not (304), since the moment that the request names."""

    def body(self) -> Any:
        """Say nothing."""
        return None


def check(record: Record, headers: Mapping[str, str]) -> None:
    """Refuse where a conditional header does not hold of a record."""
    changed = read_datetime(record["LastModifiedDate"]).replace(microsecond=0)
    if (unmodified := headers.get("if-unmodified-since")) and changed > parsedate_to_datetime(unmodified):
        raise ConditionError(412, "PRECONDITION_FAILED", "")
    if (modified := headers.get("if-modified-since")) and changed <= parsedate_to_datetime(modified):
        raise ConditionError(304, "NOT_MODIFIED", "")


def create(org: Org, sobject: SObject, values: Mapping[str, Any]) -> Answer:
    """Create a record."""
    return 201, {"id": org.create(sobject, values), "success": True, "errors": []}


def update(org: Org, sobject: SObject, key: str, values: Mapping[str, Any], headers: Mapping[str, str]) -> Answer:
    """Change a record by its Id."""
    check(org.find(sobject, key), headers)
    org.update(sobject, key, values)
    return 204, None


def delete(org: Org, sobject: SObject, key: str, headers: Mapping[str, str]) -> Answer:
    """Delete a record by its Id."""
    check(org.find(sobject, key), headers)
    org.delete(sobject, key)
    return 204, None


def by_external_id(org: Org, sobject: SObject, field: str, value: str) -> Record:
    """Return the record that has an external Id, or refuse."""
    record = org.by_external_id(sobject, field, value)
    if record is None:
        raise ServiceError(404, "NOT_FOUND", "The requested resource does not exist")
    return record


def upsert(
    org: Org, sobject: SObject, field: str, value: str, values: Mapping[str, Any], headers: Mapping[str, str]
) -> Answer:
    """Update the record that has an external Id, or create it."""
    record = org.by_external_id(sobject, field, value)
    named = sobject.field(field)
    if named is None:
        raise no_such_record_key(field)
    if any(name.casefold() == field.casefold() for name in values):
        message = f"The {field} field should not be specified in the sobject data."
        raise ServiceError(400, "INVALID_FIELD", message)
    if record is None:
        created = org.create(sobject, {**values, named.name: value})
        return 201, {"id": created, "success": True, "errors": [], "created": True}
    check(record, headers)
    org.update(sobject, record["Id"], values)
    return 200, {"id": record["Id"], "success": True, "errors": [], "created": False}
