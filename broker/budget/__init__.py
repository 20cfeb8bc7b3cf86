"""What must be counted: calls at once, calls that rules permit in a time, and the money that models cost."""

from broker.budget.bounds import Ask, input_bound
from broker.budget.hold import Hold, Source, Target
from broker.budget.ledger import Ledger, Recovered
from broker.budget.limits import CallLimits
from broker.budget.money import Money, nanos, usd
from broker.budget.prices import Rates, Tier, load_prices, rates_of
from broker.budget.slots import CallSlots
from broker.budget.usage import Shape, Usage, UsageUnusable, cost_of, usage_of

__all__ = [
    "Ask",
    "CallLimits",
    "CallSlots",
    "Hold",
    "Ledger",
    "Money",
    "Rates",
    "Recovered",
    "Shape",
    "Source",
    "Target",
    "Tier",
    "Usage",
    "UsageUnusable",
    "cost_of",
    "input_bound",
    "load_prices",
    "nanos",
    "rates_of",
    "usage_of",
    "usd",
]
