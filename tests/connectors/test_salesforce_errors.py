"""The service's failures: each becomes one of our codes, none brings the service's own words."""

from collections.abc import Callable
from typing import Any

import pytest

from broker.errors import Refusal
from broker.testing.salesforce.faults import Answer, Delay, Drop, Fault, Flood, Gzip, Malformed, Redirect
from connectors.salesforce.service import expired

Call = Callable[..., Any]
Failing = Callable[..., Refusal]

THEIR_WORDS = "org 00Dxx secret SERVICE TEXT"
DATA = "/services/data/"


def error(status: int, code: str, path: str = DATA, times: int = 1) -> Answer:
    """Answer as the service does, with its own words."""
    return Answer(path=path, status=status, body=[{"errorCode": code, "message": THEIR_WORDS}], times=times)


@pytest.fixture
def failing(call: Call, org: Any) -> Failing:
    """Make a call that fails, and return how."""

    def failing(*faults: Fault, tool: str = "accounts_search", **arguments: Any) -> Refusal:
        for fault in faults:
            org.service.faults.add(fault)
        with pytest.raises(Refusal) as refused:
            call(tool, **arguments)
        return refused.value

    return failing


FAILURES: list[tuple[Fault, str]] = [
    (error(400, "MALFORMED_QUERY"), "upstream_rejected"),
    (error(400, "INVALID_FIELD"), "upstream_rejected"),
    (error(400, "INVALID_TYPE"), "upstream_rejected"),
    (error(400, "QUERY_TIMEOUT"), "upstream_rejected"),
    (error(403, "INSUFFICIENT_ACCESS"), "upstream_forbidden"),
    (error(403, "API_DISABLED_FOR_ORG"), "upstream_forbidden"),
    (error(403, "REQUEST_LIMIT_EXCEEDED"), "upstream_busy"),
    (error(404, "NOT_FOUND"), "upstream_not_found"),
    (error(405, "METHOD_NOT_ALLOWED"), "upstream_rejected"),
    (error(414, "URI_TOO_LONG"), "upstream_rejected"),
    (error(429, "TOO_MANY_REQUESTS"), "upstream_busy"),
    (error(500, "UNKNOWN_EXCEPTION"), "upstream_failed"),
    (error(503, "SERVER_UNAVAILABLE"), "upstream_failed"),
    (error(500, "not a code; " * 20), "upstream_failed"),
    (Answer(path=DATA, status=500, body=THEIR_WORDS), "upstream_failed"),
    (Answer(path=DATA, status=400, body={"error": THEIR_WORDS}), "upstream_rejected"),
    (Answer(path=DATA, status=400, body=[THEIR_WORDS]), "upstream_rejected"),
    (Answer(path=DATA, status=400, body=[]), "upstream_rejected"),
    (Answer(path=DATA, status=300, body=[THEIR_WORDS]), "upstream_failed"),
    (Answer(path=DATA, status=200, body=""), "upstream_malformed"),
    (Answer(path=DATA, status=200, body="<html>" + THEIR_WORDS), "upstream_malformed"),
    (Answer(path=DATA, status=200, body="[" * 100_000), "upstream_malformed"),
    (Answer(path=DATA, status=200, body=[]), "upstream_malformed"),
    (Answer(path=DATA, status=200, body=None), "upstream_malformed"),
    (Answer(path=DATA, status=200, body={"records": None, "done": True}), "upstream_malformed"),
    (Answer(path=DATA, status=200, body={"records": []}), "upstream_malformed"),
    (Answer(path=DATA, status=200, body={"records": [THEIR_WORDS], "done": True}), "upstream_malformed"),
    (Malformed(path=DATA), "upstream_malformed"),
    (Drop(path=DATA, times=2), "upstream_interrupted"),
    (Flood(path=DATA), "upstream_too_large"),
    (Redirect(path=DATA, location="https://example.com/"), "upstream_redirected"),
]


@pytest.mark.parametrize(("fault", "code"), FAILURES)
def test_a_failure_of_the_service_has_our_code_and_none_of_its_words(failing: Failing, fault: Fault, code: str) -> None:
    """architecture.md, Connectors: the service's own error text never goes to the agent."""
    refusal = failing(fault)

    assert refusal.code == code
    assert "SERVICE TEXT" not in f"{refusal.message} {refusal.detail} {refusal.facts} {refusal!r}"
    assert refusal.__cause__ is None
    assert refusal.__suppress_context__ or refusal.__context__ is None


@pytest.mark.parametrize("tool", ["accounts_read", "accounts_describe"])
@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (error(404, "NOT_FOUND"), "upstream_not_found"),
        (error(500, "UNKNOWN_EXCEPTION"), "upstream_failed"),
        (Answer(path=DATA, status=200, body=[THEIR_WORDS]), "upstream_malformed"),
        (Answer(path=DATA, status=200, body={"label": 5, "fields": [{"name": "Id"}]}), "upstream_malformed"),
        (Answer(path=DATA, status=200, body={"label": "x", "fields": None, "Name": {}}), "upstream_malformed"),
        (Malformed(path=DATA), "upstream_malformed"),
    ],
)
def test_every_tool_maps_failures_alike(failing: Failing, tool: str, fault: Fault, code: str) -> None:
    """architecture.md, Connectors: every tool is run against the same failures."""
    arguments = {"id": "001000000000000AAA", "fields": ["Id", "Name"]} if tool == "accounts_read" else {}

    assert failing(fault, tool=tool, **arguments).code == code


def test_a_slow_service_times_out(failing: Failing, org: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connector's own limit ends it; that the service may have acted is said."""
    monkeypatch.setattr(org.held, "client", org.impatient())

    assert failing(Delay(path=DATA, seconds=3)).code == "upstream_timeout"


def test_a_compressed_bomb_is_cut_short(failing: Failing) -> None:
    """What counts is the size after decompression."""
    assert failing(Gzip(path=DATA), Flood(path=DATA)).code == "upstream_too_large"


def test_a_failure_names_the_services_own_code_to_the_operator(failing: Failing) -> None:
    """The code is from a list that Salesforce publishes; anything that is no such code is left out."""
    assert failing(error(403, "API_DISABLED_FOR_ORG")).detail == "HTTP 403 API_DISABLED_FOR_ORG"
    assert failing(error(403, "Ask ada@example.com")).detail == "HTTP 403"


def test_a_field_that_the_service_no_longer_shows_is_said_in_our_words(failing: Failing) -> None:
    """The agent can ask for less, and the operator can renew the snapshot."""
    assert "ask for fewer" in failing(error(400, "INVALID_FIELD")).message


# --- 401 --------------------------------------------------------------------------------------------------------------

NOT_EXPIRED = (
    "Connected app is not attached to Agent",
    "This session is not valid for use with the REST API",
    "BlackTab users cannot perform API operations",
)


def test_an_expired_session_is_renewed_once_and_the_call_succeeds(call: Call, org: Any) -> None:
    """credentials.md B2: HTTP 401 means expired; refresh at most once per call."""
    org.service.expire_tokens()

    assert call("accounts_search", limit=1, fields=["Id"])["records"]
    assert org.held.renewals == 1


def test_a_session_that_stays_expired_is_renewed_once_and_no_more(failing: Failing, org: Any) -> None:
    """credentials.md B2: at most once per call, whatever the service goes on saying."""
    refusal = failing(error(401, "INVALID_SESSION_ID", times=3))

    assert refusal.code == "upstream_unauthorized"
    assert org.held.renewals == 1


@pytest.mark.parametrize("message", NOT_EXPIRED)
def test_a_401_that_a_new_token_would_meet_again_is_not_renewed(failing: Failing, org: Any, message: str) -> None:
    """credentials.md B2, the skip-list of jsforce: refreshing those loops for ever."""
    body = [{"errorCode": "INVALID_SESSION_ID", "message": message}]

    refusal = failing(Answer(path=DATA, status=401, body=body))

    assert refusal.code == "upstream_unauthorized"
    assert org.held.renewals == 0


@pytest.mark.parametrize("status", [400, 403, 404, 500])
def test_nothing_but_401_means_expired(status: int, failing: Failing, org: Any) -> None:
    """credentials.md B2: 403 REQUEST_LIMIT_EXCEEDED is not an auth failure, and neither is any other."""
    failing(error(status, "INVALID_SESSION_ID"))

    assert org.held.renewals == 0
    assert expired(type("Response", (), {"status": 401, "body": b"[]"})())
