"""How each target is told how much to think: efforts and budgets of tokens, each written as the other where need be.

The shares are OpenRouter's (openrouter.ai/docs/guides/best-practices/reasoning-tokens): of the output cap, an effort
allots so much to thinking. The cap bounds both together, so that no effort costs more than what is held.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

from broker.errors import ReasoningUnavailable
from broker.models.document import Effort, ReasoningPart
from broker.models.reasoning import Reasoning
from broker.models.route import Route, Target
from broker.models.wanted import Wanted

SHARES: Mapping[Effort, Fraction] = {
    "minimal": Fraction(10, 100),
    "low": Fraction(20, 100),
    "medium": Fraction(50, 100),
    "high": Fraction(80, 100),
    "xhigh": Fraction(95, 100),
    "max": Fraction(95, 100),
}
_LEAST_BUDGET, _MOST_BUDGET = 1024, 128_000
_BY_ITSELF: Effort = "medium"  # what OpenRouter makes of `enabled` alone
_OF_CLAUDE: Effort = "high"  # what Anthropic's models do that are told no effort
_NO_THOUGHT = "it is no model that thinks"


@dataclass(frozen=True, slots=True)
class Written:
    """What a request to one target says of reasoning: its members there, and what the trail says of it."""

    members: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, Any] | None = None


_NOTHING = Written()


def written_for(wanted: Wanted, route: Route, target: Target, cap: int) -> Written:
    """Return how a target is told; raise `ReasoningUnavailable` where it cannot do what is asked."""
    part = target.part.reasoning or route.document.reasoning
    if (wanted.reasoning is None and part is None) or wanted.api == "embeddings":
        return _NOTHING
    asked = _with_default(wanted.reasoning or Reasoning(), part)
    takes = _takes(target)
    if not takes and asked.asks:
        raise ReasoningUnavailable(f"No target can do it: {_NO_THOUGHT}.", detail=f"{target.name}: {_NO_THOUGHT}")
    if wanted.api != "messages" and asked.mode == "on" and not target.provider.routes:
        asked = replace(asked, effort=asked.effort or (None if asked.budget else _BY_ITSELF))
    measured = _measured(asked, takes, cap, _OF_CLAUDE if wanted.api == "messages" else _BY_ITSELF)
    write = {"chat": _chat, "responses": _responses, "messages": _message}[wanted.api]
    return Written(write(measured, target, takes), _facts(measured))


def effort_of(budget: int, cap: int) -> Effort:
    """Return the largest effort whose share of the cap is no more than a budget."""
    fitting: list[Effort] = [effort for effort, share in SHARES.items() if effort != "max" and share * cap <= budget]
    return fitting[-1] if fitting else "minimal"


def budget_of(effort: Effort, cap: int) -> int:
    """Return an effort's budget of tokens, which is below the cap; raise `ReasoningUnavailable` if there is none."""
    return _fitting(min(int(SHARES[effort] * cap), _MOST_BUDGET), cap)


def _fitting(budget: int, cap: int) -> int:
    """Return as much of a budget as leaves room for an answer."""
    if cap <= _LEAST_BUDGET:
        raise ReasoningUnavailable(
            f"Thinking takes a budget of {_LEAST_BUDGET} tokens at least, below the output cap, which is {cap}: "
            "ask for more output, or for no reasoning."
        )
    return max(min(budget, int(SHARES["max"] * cap)), _LEAST_BUDGET)


def _with_default(asked: Reasoning, part: ReasoningPart | None) -> Reasoning:
    """Fill in what the caller says nothing of: how much, as a whole, and whether it is shown."""
    if part is None:
        return asked
    if asked.hidden is None and part.exclude and asked.summary is None:
        asked = replace(asked, hidden=True)
    if asked.says_how_much or not (part.effort or part.max_tokens):
        return asked
    if part.effort == "none":
        return replace(asked, mode="off")
    return replace(asked, mode="on", effort=part.effort, budget=part.max_tokens)


def _takes(target: Target) -> frozenset[str]:
    """Return how a model takes it: as an effort, as a budget, as either, or not at all."""
    said = target.part.reasoning_as
    if said is None:
        return target.provider.reasoning
    return frozenset() if said == "none" else frozenset({said})


def _measured(asked: Reasoning, takes: frozenset[str], cap: int, usual: Effort) -> Reasoning:
    """Say how much in the words that a model takes; `usual` is what is meant where it is only to think."""
    effort, budget = asked.effort, asked.budget
    if not takes or not asked.asks:
        return asked
    if "budget" not in takes:
        if effort is None and budget is not None:
            effort = effort_of(budget, cap)
        return replace(asked, effort=effort, budget=None)
    if budget is not None:
        budget = budget if budget < cap else _fitting(budget, cap)
        return replace(asked, budget=budget, effort=effort if "effort" in takes else None)
    if "effort" not in takes:
        return replace(asked, effort=None, budget=budget_of(effort or usual, cap))
    return asked


def _chat(asked: Reasoning, target: Target, takes: frozenset[str]) -> Mapping[str, Any]:
    if target.provider.routes:
        shown = {} if asked.hidden is None else {"exclude": asked.hidden}
        said = {**_amount(asked), **shown}
        return {"reasoning": said} if said and takes else {}
    members: dict[str, Any] = {}
    if asked.says_how_much and takes:
        members["reasoning_effort"] = _word(asked)
    if asked.hidden and takes and target.provider.shows_thoughts:
        members["include_reasoning"] = False
    return members


def _responses(asked: Reasoning, target: Target, takes: frozenset[str]) -> Mapping[str, Any]:
    if asked.hidden and takes and target.provider.shows_thoughts:
        words = "responses have no word for leaving thoughts out"
        raise ReasoningUnavailable(f"No target can do it: {words}.", detail=f"{target.name}: {words}")
    amount = _amount(asked) if target.provider.routes else {"effort": _word(asked)} if asked.says_how_much else {}
    said = amount | ({} if asked.summary is None else {"summary": asked.summary})
    return {"reasoning": said} if said and takes else {}


def _message(asked: Reasoning, _target: Target, takes: frozenset[str]) -> Mapping[str, Any]:
    thinking: dict[str, Any] | None = None
    if asked.mode == "off":
        thinking = {"type": "disabled"}
    elif asked.budget is not None:
        if asked.budget < _LEAST_BUDGET:
            raise ReasoningUnavailable(f"Thinking takes a budget of {_LEAST_BUDGET} tokens at least: ask for more.")
        thinking = {"type": "enabled", "budget_tokens": asked.budget}
    elif asked.mode == "on":
        thinking = {"type": "between_tools" if asked.kind == "between_tools" else "adaptive"}
    display = asked.display or ("omitted" if asked.hidden else None)
    if thinking and display and thinking["type"] in {"enabled", "adaptive"}:
        thinking["display"] = display
    effort = {} if asked.effort is None or "effort" not in takes else {"effort": _of_anthropic(asked.effort)}
    config = {**asked.config, **effort}
    return ({"thinking": thinking} if thinking and takes else {}) | ({"output_config": config} if config else {})


def _amount(asked: Reasoning) -> dict[str, Any]:
    """Say how much in OpenRouter's words."""
    if asked.mode == "off":
        return {"effort": "none"}
    if asked.budget is not None:
        return {"max_tokens": asked.budget}
    if asked.effort is not None:
        return {"effort": asked.effort}
    return {"enabled": True} if asked.mode == "on" else {}


def _word(asked: Reasoning) -> Effort:
    return "none" if asked.mode == "off" else asked.effort or _BY_ITSELF


def _of_anthropic(effort: Effort) -> Effort:
    return "low" if effort == "minimal" else effort


def _facts(asked: Reasoning) -> Mapping[str, Any] | None:
    """Say what a target was told, as records have it."""
    facts = {"off": asked.mode == "off" or None, "effort": asked.effort, "max_tokens": asked.budget}
    return {name: value for name, value in facts.items() if value is not None} or None
