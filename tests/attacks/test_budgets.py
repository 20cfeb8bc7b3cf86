"""Alerts of budgets leave the broker: what they carry, whose signature they have, and that nobody waits for them."""

import base64
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import pytest

from broker.audit import VerifierKey
from broker.control.budgets import FORMAT
from tests.cli.test_budget_commands import call
from tests.conftest import Serve
from tests.support.broker import ServedBroker, until
from tests.support.documents import ANALYST, HEAD
from tests.support.webhook import WebhookService


@pytest.fixture
def hook(tmp_path: Path) -> Iterator[WebhookService]:
    """Take webhooks."""
    with WebhookService(tmp_path / "hook") as service:
        yield service


@pytest.fixture
def broker(serve: Serve, hook: WebhookService, tmp_path: Path) -> ServedBroker:
    """Serve a broker whose agent has a budget that is watched."""
    (tmp_path / "access").mkdir()
    (tmp_path / "access/hook.pem").write_text(hook.authority)
    broker = serve(approvals={"private_ranges": ["127.0.0.0/8"], "certificate_authority": "hook.pem"})
    before = broker.parts.documents.current.digest
    budget = f"{{daily_usd: 75, alerts: [50], webhook: '{hook.url}'}}"
    spec = f"{{identity: {{workload: '{ANALYST}'}}, models: {{budget: {budget}}}}}"
    broker.written.put("models.yaml", f"{HEAD}kind: AgentPolicy\nmetadata: {{name: models}}\nspec: {spec}\n")
    until(lambda: broker.parts.documents.current.digest != before)
    return broker


def test_an_alert_names_the_budget_and_no_amount_and_its_signature_holds(
    broker: ServedBroker, hook: WebhookService
) -> None:
    """Issue 7: alerts at thresholds; whoever has the log's public key can tell them from a stranger's."""
    call(broker, "one", 40_000, cost=40 * 10**9)
    headers, body = hook.came.get(timeout=60)
    until(lambda: broker.records(kind="budget_announced"))

    said = json.loads(body)
    assert (said["kind"], said["percent"]) == ("budget_alerted", 50)
    assert said["budget"].keys() == {"of", "name", "period", "resets_at"}
    told = json.dumps({name: value for name, value in said.items() if name not in {"id", "time"}})  # any digits
    assert not any(amount in told for amount in ("75", "40000", "usd"))
    name, signature = headers["aam-signature"].split(" ")
    text = f"{FORMAT}\n{said['log']}\n{hashlib.sha256(body).hexdigest()}\n"
    key, raw = VerifierKey.parse(str(broker.parts.signing.current)), base64.b64decode(signature)
    assert (name, raw[:4]) == (key.name, key.key_id)
    assert key.verifies(text.encode(), raw[4:])
    assert not key.verifies(text.replace("budget", "approval").encode(), raw[4:])


def test_an_alert_that_does_not_arrive_is_on_record_and_stops_nobody(
    broker: ServedBroker, hook: WebhookService
) -> None:
    """The trail knows of it, whoever was told; calls go on meanwhile."""
    hook.status = 500
    with patch("broker.control.webhooks._AGAIN_SECONDS", (0.0, 0.0)):
        call(broker, "one", 40_000, cost=40 * 10**9)
        call(broker, "one", 1_000)
        until(lambda: broker.records(kind="budget_announced"))

    (record,) = broker.records(kind="budget_announced")
    assert record["outcome"] == {"code": "upstream_rejected"}
    assert len(broker.records(kind="budget_alerted")) == 1
