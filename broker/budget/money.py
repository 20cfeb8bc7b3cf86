"""Money: integer nano-US-dollars. What is written as dollars is exact; what is rounded is rounded for the budget."""

from decimal import ROUND_CEILING, Decimal

Money = int
"""Nano-US-dollars."""

NANO = 10**9
MOST: Money = 9_000_000 * NANO
"""No call costs more: a provider that says so is not believed beyond it, and nothing overflows."""


def nanos(dollars: Decimal) -> Money:
    """Return dollars as money, rounded up, 0 at least and `MOST` at most."""
    if not dollars.is_finite():
        return MOST
    return min(max(int((dollars * NANO).to_integral_value(ROUND_CEILING)), 0), MOST) if dollars < MOST else MOST


def usd(money: Money) -> str:
    """Return money as dollars for people: two digits at least, and as many as it has."""
    whole, rest = divmod(abs(money), NANO)
    digits = f"{rest:09d}".rstrip("0").ljust(2, "0")
    return f"{'-' if money < 0 else ''}{whole}.{digits}"
