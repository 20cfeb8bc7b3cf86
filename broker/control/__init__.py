"""What people decide while calls run: whom they have cut off, which calls they approve, which budgets they raise."""

from broker.control.approvals import Approvals
from broker.control.asked import Asked
from broker.control.budgets import Budgets, Standing
from broker.control.switch import Barred, Cut, KillSwitch
from broker.control.webhooks import Webhooks

__all__ = ["Approvals", "Asked", "Barred", "Budgets", "Cut", "KillSwitch", "Standing", "Webhooks"]
