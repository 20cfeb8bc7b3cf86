"""What must be counted: how many calls run at once, and how many each rule has permitted in a minute, hour or day."""

from broker.budget.limits import CallLimits
from broker.budget.slots import CallSlots

__all__ = ["CallLimits", "CallSlots"]
