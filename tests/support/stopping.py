"""The kill switch in tests: suspending and resuming, as `aam agents` asks for it."""

from typing import Any

from tests.support.operators import OperatorsClient

ANALYST_NAME = "analyst"


def suspend(operators: OperatorsClient, **whom: Any) -> Any:
    """Suspend the analyst, or whom the test names."""
    return operators.post("/v1/agents/suspend", {"reason": "Case 17", **(whom or {"agent": ANALYST_NAME})})


def resume(operators: OperatorsClient, **whom: Any) -> Any:
    """Resume the analyst, or whom the test names."""
    return operators.post("/v1/agents/resume", {"reason": "Case 17 is closed", **(whom or {"agent": ANALYST_NAME})})
