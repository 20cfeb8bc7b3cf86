"""`aam metrics`, and what `aam status` and `aam doctor` say of what somebody must look at."""

from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import pytest

from broker.cli.daemon import Daemon
from broker.cli.examine import examine
from tests.support.metrics import Scraped

Aam = Callable[..., Any]
NOTICED = {"overruns": 2, "drifted": ["up_read_note"]}


def test_metrics_are_printed_as_prometheus_reads_them(aam: Aam, served: Any) -> None:
    """Issue 7, metrics: operators need no listener; the output is a file for a textfile collector, too."""
    ran = aam("metrics", "--dir", served.directory)

    found = Scraped.read(ran.out)
    assert ran.code == 0
    assert found.value("aam_ready") == 1
    assert found.value("aam_grants", connector="salesforce", status="active") == 1


def test_words_choose_metrics_in_both_forms(aam: Aam, served: Any) -> None:
    """What somebody looks for is found without grep, and as JSON without a parser."""
    text, as_json = (
        aam("metrics", "trail_rec", "ready", "--dir", served.directory, *more) for more in ((), ("--json",))
    )

    assert Scraped.read(text.out).kinds.keys() == {"aam_ready", "aam_trail_records"}
    assert {one["name"] for one in as_json.json} == {"aam_ready", "aam_trail_records"}
    assert as_json.json[0]["help"]


def test_words_that_fit_nothing_are_a_problem(aam: Aam, served: Any) -> None:
    """An empty answer would look like one."""
    assert aam("metrics", "no_such_metric", "--dir", served.directory).code == 1


def test_a_format_that_there_is_not_is_refused(served: Any) -> None:
    """The operators' door says what it understands."""
    with pytest.raises(Exception, match="'text' or 'json'"):
        served.daemon.get("/v1/metrics", format="xml")


def test_overruns_and_drift_show_in_status_and_doctor(aam: Aam, served: Any) -> None:
    """Issue 7: overruns are alarmed; issue 6: drift is said where people look."""
    get = Daemon.get

    def noticing(self: Any, path: str, **query: Any) -> Any:
        found = get(self, path, **query)
        return {**found, **NOTICED} if path == "/v1/status" else found

    with patch.object(Daemon, "get", noticing):
        status = aam("status", "--dir", served.directory)
        found = {one.what: one for one in examine(served.directory)}

    assert "2 calls cost more than was held: aam budget overruns" in status.out
    assert "up_read_note is refused" in status.out
    assert (found["budgets"].state, found["tool up_read_note"].state) == ("warning", "warning")
    assert "acknowledge" in found["budgets"].mend


def test_doctor_finds_a_token_that_would_keep_the_broker_from_starting(own: Any) -> None:
    """Everything that keeps a stopped broker from starting is found before it is started."""
    broker = own.directory / "broker.yaml"
    listen = "listen:\n    metrics: {http: '127.0.0.1:0', token_file: secrets/metrics.token}\n"
    broker.write_text(broker.read_text().replace("listen:\n", listen))
    missing = [one for one in examine(own.directory) if one.what == "metrics"]
    (own.directory / "secrets/metrics.token").write_text("0123456789abcdef" * 2)
    (own.directory / "secrets/metrics.token").chmod(0o600)

    assert [one.state for one in missing] == ["wrong"]
    assert "cannot be read" in missing[0].said
    assert not [one for one in examine(own.directory) if one.what == "metrics"]
