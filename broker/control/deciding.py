"""Who may decide a request, and whether it is to be decided."""

from broker.audit import Record, timestamp
from broker.errors import OperatorForbidden
from broker.store import ApprovalRow


def check_may_decide(row: ApprovalRow, actor: Record, owner: str | None) -> None:
    """Return if an operator may decide; raise `OperatorForbidden`.

    `owner` is who answers for the agent now; who did when it asked counts as well.
    """
    if actor["role"] not in row.roles:
        raise OperatorForbidden(f"{actor['user']} has the role {actor['role']}; this needs {' or '.join(row.roles)}.")
    if row.exclude_owner and any(is_owner(actor["user"], one) for one in (row.owner, owner) if one is not None):
        raise OperatorForbidden(f"{actor['user']} answers for the agent {row.agent}; somebody else must decide.")


def is_open(row: ApprovalRow) -> bool:
    """Tell whether a request is to be decided."""
    return row.status == "pending" and row.expires > timestamp()


def is_owner(user: str, owner: str) -> bool:
    """Tell whether an owner is this user: by the name, or by what stands before an address's '@'."""
    return user.casefold() in {owner.casefold(), owner.partition("@")[0].casefold()}
