"""Refusals of the REST API: one HTTP status, and a JSON list that holds one error.

    [{"message": "The requested resource does not exist", "errorCode": "NOT_FOUND"}]

The texts are those that clients report from real orgs; where one was found in no report, its function says so.
"""

from typing import Any


class ServiceError(Exception):
    """A refusal with Salesforce's own code; `fields` is present only where the service names the fields at fault."""

    def __init__(self, status: int, code: str, message: str, fields: tuple[str, ...] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.fields = fields

    def body(self) -> Any:
        """Write the JSON body, as the REST API Developer Guide shows it under "Status Codes and Error Responses"."""
        error: dict[str, Any] = {"message": self.message, "errorCode": self.code}
        if self.fields is not None:
            error["fields"] = list(self.fields)
        return [error]


def session_expired() -> ServiceError:
    """Make the answer that jsforce's `http-api.js` takes as the sign to renew a session."""
    return ServiceError(401, "INVALID_SESSION_ID", "Session expired or invalid")


def resource_missing() -> ServiceError:
    """Answer an unknown path, object or API version, or a well-formed Id of no record."""
    return ServiceError(404, "NOT_FOUND", "The requested resource does not exist")


def no_such_record_key(key: str) -> ServiceError:
    """Answer a path that ends in no Id: the service reads it as the name of an external Id field.

    Observed with `-1`, `foo` and `001XXXXXXXXXXXXXXX` (its suffix is wrong): always 404, never MALFORMED_ID.
    """
    return ServiceError(
        404,
        "NOT_FOUND",
        f"Provided external ID field does not exist or is not accessible: {key}",
    )


def method_not_allowed(method: str, allowed: str) -> ServiceError:
    """Answer a method the resource lacks; `allowed` is the alphabetical list that the service recites."""
    return ServiceError(
        405,
        "METHOD_NOT_ALLOWED",
        f"HTTP Method '{method}' not allowed. Allowed are {allowed}",
    )
