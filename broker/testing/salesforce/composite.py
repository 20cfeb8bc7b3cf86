"""Several writes in one request, `POST /composite`, each of which may use what one before it answered.

    {"allOrNone": true, "compositeRequest": [
        {"method": "POST", "url": "/services/data/v59.0/sobjects/Account", "referenceId": "acme", "body": {"Name":
        "Acme"}}, {"method": "POST", "url": ".../sobjects/Contact", "referenceId": "ada",
         "body": {"LastName": "Lovelace", "AccountId": "@{acme.id}"}}]}

Source: REST API Developer Guide, Composite, "Composite Request Body", "Using Reference IDs"; the words of those that
were rolled back are PROCESSING_HALTED's. Only the record resources are offered as subrequests.
"""

import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from broker.testing.salesforce import records
from broker.testing.salesforce.errors import ServiceError, resource_missing
from broker.testing.salesforce.objects import find_object
from broker.testing.salesforce.org import Org
from broker.testing.salesforce.shown import shown

MOST_SUBREQUESTS: Final = 25
_REFERENCE: Final = re.compile(r"@\{(\w+)\.(\w+)\}")
_ROWS: Final = re.compile(r"(/services/data/v\d+\.\d+)/sobjects/(\w+)(?:/([^/]+))?(?:/([^/]+))?/?")
_HALTED: Final = "The transaction was rolled back since another operation in the same transaction failed."


class _RolledBack(Exception):  # noqa: N818 - it ends a transaction, nobody sees it
    pass


def composite(org: Org, body: Mapping[str, Any]) -> dict[str, Any]:
    """Carry the subrequests out in their order, and answer each."""
    subrequests = body.get("compositeRequest")
    if not isinstance(subrequests, list) or not subrequests:
        raise ServiceError(400, "JSON_PARSER_ERROR", "compositeRequest must be a list")
    if len(subrequests) > MOST_SUBREQUESTS:
        message = f"The request can't be processed because it exceeds the limit of {MOST_SUBREQUESTS} subrequests."
        raise ServiceError(400, "LIMIT_EXCEEDED", message)
    answers: list[dict[str, Any]] = []
    if not body.get("allOrNone"):
        _carry_out(org, subrequests, answers)
        return {"compositeResponse": answers}
    try:
        with org.all_or_none():
            _carry_out(org, subrequests, answers)
            if any(answer["httpStatusCode"] >= 400 for answer in answers):
                raise _RolledBack
    except _RolledBack:
        answers = [answer if answer["httpStatusCode"] >= 400 else _halted(answer) for answer in answers]
    return {"compositeResponse": answers}


def _carry_out(org: Org, subrequests: list[Any], answers: list[dict[str, Any]]) -> None:
    answered: dict[str, Any] = {}
    for subrequest in subrequests:
        reference = str(subrequest.get("referenceId"))
        try:
            status, said = _one(org, _resolved(subrequest, answered))
        except ServiceError as refusal:
            status, said = refusal.status, refusal.body()
        answered[reference] = said
        answers.append({"body": said, "httpHeaders": {}, "httpStatusCode": status, "referenceId": reference})


def _one(org: Org, subrequest: Mapping[str, Any]) -> tuple[int, Any]:
    match = _ROWS.fullmatch(unquote(urlsplit(str(subrequest.get("url"))).path))
    sobject = find_object(match[2]) if match else None
    if match is None or sobject is None:
        raise resource_missing()
    headers = {name.lower(): value for name, value in subrequest.get("httpHeaders", {}).items()}
    values, key, external = subrequest.get("body", {}), match[3], match[4]
    match (subrequest.get("method"), key is not None, external is not None):
        case ("POST", False, False):
            return records.create(org, sobject, values)
        case ("GET", True, False):
            return 200, shown(match[1], sobject, sobject.fields, org.find(sobject, key))
        case ("PATCH", True, False):
            return records.update(org, sobject, key, values, headers)
        case ("PATCH", True, True):
            return records.upsert(org, sobject, key, external, values, headers)
        case ("DELETE", True, False):
            return records.delete(org, sobject, key, headers)
    raise ServiceError(405, "METHOD_NOT_ALLOWED", f"HTTP Method '{subrequest.get('method')}' not allowed.")


def _resolved(value: Any, answered: Mapping[str, Any]) -> Any:
    if isinstance(value, dict):
        return {name: _resolved(inner, answered) for name, inner in value.items()}
    if isinstance(value, list):
        return [_resolved(inner, answered) for inner in value]
    return _REFERENCE.sub(lambda match: _referred(match, answered), value) if isinstance(value, str) else value


def _referred(match: re.Match[str], answered: Mapping[str, Any]) -> str:
    said = answered.get(match[1])
    if not isinstance(said, dict) or match[2] not in said:
        message = f"Invalid reference specified. No value for {match[1]}.{match[2]} found in {match[1]}."
        raise ServiceError(400, "PROCESSING_HALTED", message)
    return str(said[match[2]])


def _halted(answer: Mapping[str, Any]) -> dict[str, Any]:
    return {**answer, "httpStatusCode": 400, "body": [{"errorCode": "PROCESSING_HALTED", "message": _HALTED}]}
