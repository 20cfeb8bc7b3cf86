"""What people decide while calls run: whom they have cut off, and which calls they approve."""

from broker.control.approvals import Approvals
from broker.control.asked import Asked
from broker.control.switch import Barred, Cut, KillSwitch
from broker.control.webhooks import Webhooks

__all__ = ["Approvals", "Asked", "Barred", "Cut", "KillSwitch", "Webhooks"]
