"""The rules for alerts that operations.md offers: Prometheus reads them, and every metric in them is there."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.support.broker import ServedBroker
from tests.support.metrics import scraped

EXAMPLES = Path(__file__).parents[2] / "docs/examples"
OPERATIONS = Path(__file__).parents[2] / "docs/operations.md"
PROMISED = {"AamBudgetOverrun", "AamStoreFailing", "AamCheckpointOld", "AamGrantDead"}


def example(name: str) -> Any:
    """Return what an example holds."""
    return YAML(typ="safe", pure=True).load(EXAMPLES / name)


def rules() -> Iterator[dict[str, Any]]:
    """Yield every rule."""
    for group in example("aam-alerts.yml")["groups"]:
        yield from group["rules"]


@pytest.fixture(scope="module")
def there(shared_broker: ServedBroker) -> set[str]:
    """Return every metric that a broker has, by the names that its samples may have."""
    kinds = scraped(shared_broker).kinds
    endings = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count", "")}
    return {name.removesuffix("_total") + end for name, kind in kinds.items() for end in endings.get(kind, ("",))} | {
        "aam_build_info"
    }


def test_the_rules_are_ones_and_watch_what_was_promised() -> None:
    """Issue 7: overruns are alarmed; and failing stores, old heads and dead grants."""
    found = list(rules())

    assert {rule["alert"] for rule in found} >= PROMISED
    assert len({rule["alert"] for rule in found}) == len(found)
    for rule in found:
        assert rule.keys() <= {"alert", "expr", "for", "labels", "annotations"}
        assert rule["labels"]["severity"] in {"page", "ticket"}
        assert rule["annotations"]["summary"]
        assert all(rule["expr"].count(one) == rule["expr"].count(other) for one, other in ("()", "{}", "[]"))


def test_every_metric_of_a_rule_is_there(there: set[str]) -> None:
    """An alert on a metric that was renamed never fires, and nobody notices."""
    named = {name for rule in rules() for name in re.findall(r"\baam_[a-z_]+", rule["expr"])}

    assert named
    assert named <= there


def test_every_metric_of_the_page_is_there(there: set[str]) -> None:
    """What operations.md lists is what there is."""
    section = OPERATIONS.read_text().split("\n## Metrics\n")[1].split("\n## ")[0]
    named = set(re.findall(r"`(aam_[a-z_]+)`", section))

    assert len(named) > 40
    assert named <= there


def test_prometheus_is_told_of_the_rules_and_the_token() -> None:
    """The two examples belong together."""
    told = example("prometheus.yml")

    assert told["rule_files"] == ["aam-alerts.yml"]
    assert told["scrape_configs"][0]["authorization"]["credentials_file"]
