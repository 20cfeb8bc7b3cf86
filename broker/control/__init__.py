"""What people decide while calls run: whom they have cut off."""

from broker.control.switch import Barred, Cut, KillSwitch

__all__ = ["Barred", "Cut", "KillSwitch"]
