"""A policy under which the analyst's writes need a person, and people who decide."""

from typing import Any

from tests.support.broker import Line
from tests.support.documents import ANALYST, HEAD, OTHER, Written

WRITE = "notes_notes_write"
APPROVER = {"user": "ann", "uid": 2000, "role": "approver"}
OWNER = {"user": "jane", "uid": 2001, "role": "approver"}


def approving_policies(**approval: Any) -> str:
    """Return policies under which writing needs an approval; `approval` says how."""
    words = ", ".join(f"{name}: {value}" for name, value in approval.items())
    return "---\n".join(
        f"{HEAD}kind: AgentPolicy\nmetadata: {{name: {name}-notes}}\nspec:\n  identity: {{workload: {workload}}}\n"
        f"  tools:\n  - {{resource: notes.notes, actions: [read, misbehave]}}\n"
        f"  - {{resource: notes.notes, actions: [write, archive], approval: {{{words}}}}}\n"
        for name, workload in (("analyst", ANALYST), ("other", OTHER))
    )


def need_approval(written: Written, **approval: Any) -> None:
    """Put such policies in place."""
    written.put("policies.yaml", approving_policies(**approval))


async def asked(line: Line, note: str = "n1", workload: str = ANALYST) -> str:
    """Call, be refused, and return the id of the request."""
    refusal = await line.refused(WRITE, {"id": note}, workload)
    assert refusal.code == "approval_needed", refusal
    return str(refusal.facts["approval"])


async def approve(line: Line, approval_id: str, actor: Any = None, *, reason: str = "Looks right") -> None:
    """Approve a request, as somebody who owns no agent."""
    await line.parts.approvals.decide(approval_id, "approved", reason, actor or APPROVER, owners(line))


async def refuse(line: Line, approval_id: str, actor: Any = None) -> None:
    """Refuse a request."""
    await line.parts.approvals.decide(approval_id, "refused", "No", actor or APPROVER, owners(line))


def owners(line: Line) -> dict[str, str]:
    """Return who owns which agent now."""
    agents = line.parts.documents.current.registry.agents
    return {workload: agent.owner for workload, agent in agents.items()}
