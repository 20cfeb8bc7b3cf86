import asyncio
import contextlib
import functools
import random
import signal
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from broker.budget import Ledger
from broker.store import Store
from broker.testing.models import KEY, Behaviour, ModelService
from tests.support.broker import BrokerProcess, until
from tests.support.documents import write_documents
from tests.support.models import PROVIDERS, model_documents
from tests.support.notes import NotesService
from tests.support.spender import CAPS, LOG

pytestmark = pytest.mark.slow

KILLS = 12
LIMITS = {cap.key: cap.amount for cap in CAPS}


def bills_of(path: Path) -> dict[str, int]:
    """Return what the provider has billed, by hold."""
    if not path.exists():
        return {}
    return {hold: int(cost) for hold, cost in (line.split() for line in path.read_text().splitlines())}


def is_in_the_midst(child: "subprocess.Popen[bytes]", path: Path, some: int) -> bool:
    """Tell whether there are as many bills, or the child has spent all that there was before anybody looked."""
    return len(bills_of(path)) >= some or child.poll() is not None


def check_the_law(path: Path) -> None:
    """Read what is on disk, as a dead process left it."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        for key, spent, held in connection.execute("SELECT key, spent, held FROM budget_windows"):
            assert held >= 0
            assert spent + held <= LIMITS[key]


@pytest.mark.parametrize("round_", range(3))
def test_a_spender_killed_at_any_moment_has_spent_all_that_was_billed_and_no_more_than_it_might(
    tmp_path: Path, round_: int
) -> None:
    """Issue 7: the law under random kills; a crash after dispatch charges the full hold, and gives nothing back."""
    random.seed(round_)
    store, bills = tmp_path / "broker.db", tmp_path / "bills"
    killed = 0
    for day in range(KILLS):
        before = len(bills_of(bills))
        command = [sys.executable, "-m", "tests.support.spender", str(store), str(bills), str(day), str(round_)]
        child = subprocess.Popen(command)
        until(functools.partial(is_in_the_midst, child, bills, before + random.randint(1, 80)))  # noqa: S311 - no secret
        threading.Event().wait(random.random() / 50)  # noqa: S311 - any moment after it
        child.kill()
        killed += child.wait() == -signal.SIGKILL
        check_the_law(store)
    assert killed > KILLS / 2

    async def recover() -> dict[str, tuple[str, int]]:
        opened = Store.open(store, LOG)
        await Ledger(opened).recover()
        query = "SELECT id, state, cost FROM budget_holds"
        rows = opened.read(lambda connection: connection.execute(query).fetchall())
        opened.close()
        return {hold: (state, cost) for hold, state, cost in rows}

    holds = asyncio.run(recover())

    check_the_law(store)
    billed = bills_of(bills)
    assert set(billed) <= set(holds)
    for hold, cost in billed.items():
        state, spent = holds[hold]
        assert (state, spent >= cost) == ("settled", True)
    with contextlib.closing(sqlite3.connect(store)) as connection:
        days = "SELECT sum(spent), sum(held) FROM budget_windows WHERE key LIKE 'nano_usd:agent:day:%'"
        assert connection.execute(days).fetchone() == (sum(cost for _, cost in holds.values()), 0)
        found = connection.execute("SELECT count(*) FROM budget_holds WHERE source = 'found_at_start'").fetchone()[0]
    assert found > 0


def test_a_broker_killed_while_a_model_answers_has_spent_all_that_the_call_held(
    tmp_path: Path, notes_service: NotesService
) -> None:
    """model-gateway.md §6: kill -9 between dispatch and settle, restart: no money returned."""
    directory = tmp_path / "access"
    written = write_documents(directory, notes_service)
    with ModelService(tmp_path / "models") as service, ThreadPoolExecutor(1) as pool:
        (directory / "models-ca.pem").write_text(service.authority)
        for name, text in model_documents(service.url, budget="{daily_usd: 1}"):
            written.put(name, text)
        with BrokerProcess(written) as broker:
            for name in PROVIDERS:
                broker.operators.post("/v1/grants", {"connector": name, "kind": "api-key", "key": KEY})
            service.behaves = Behaviour(holds_after=0)
            pool.submit(ask, broker)
            service.arrived.get(timeout=60)
            (before,) = broker.operators.get("/v1/budgets")

            broker.kill()
            service.free.set()
            broker.start()

            (after,) = broker.operators.get("/v1/budgets")
            (spent,) = broker.operators.get("/v1/spend", by="model")["rows"]
            (recovered,) = [one for one in broker.records() if one["kind"] == "budget_recovered"]
            again = ask(broker)

    assert before["held_usd"] != "0.00"
    assert (after["spent_usd"], after["held_usd"]) == (before["held_usd"], "0.00")
    assert (spent["cost_usd"], spent["at_upper_bound"]) == (before["held_usd"], 1)
    assert (recovered["charged"], recovered["released"]) == (1, 0)
    assert again == 200


def ask(broker: BrokerProcess) -> int:
    """Ask a model something; return the answer's status, or 0 where none comes."""
    body = {"model": "small", "messages": [{"role": "user", "content": "How did we do?"}]}
    headers = {"Authorization": f"Bearer {broker.token()}"}
    try:
        return requests.post(f"{broker.url}/v1/chat/completions", json=body, headers=headers, timeout=60).status_code
    except requests.RequestException:
        return 0
