"""The judge of OCSF events: the published 1.8.0 schemas, each class with the profiles that an event names."""

import functools
from typing import Any

import jsonschema_rs
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema  # type: ignore[import-untyped]


@functools.cache
def _schemas() -> OcsfJsonSchemaEmbedded:
    return OcsfJsonSchemaEmbedded(get_ocsf_schema("1.8.0"))


@functools.cache
def _validator(class_uid: int, profiles: tuple[str, ...]) -> Any:
    name = _schemas().lookup_class_name_from_uid(class_uid)
    return jsonschema_rs.Draft202012Validator(_schemas().get_class_schema(name, list(profiles)))


def mistakes(event: dict[str, Any]) -> list[str]:
    """Return what is wrong with an event; its class closes its objects, so that what it does not know is wrong."""
    validator = _validator(event["class_uid"], tuple(event["metadata"].get("profiles", ())))
    found = [f"{'/'.join(map(str, one.instance_path))}: {one.message[:200]}" for one in validator.iter_errors(event)]
    if event["type_uid"] != event["class_uid"] * 100 + event["activity_id"]:  # no schema of one class can say this
        found.append("type_uid: does not fit class and activity")
    return found
