"""The policy decision point: AgentPolicy documents in, decisions out; a pure function.

Permits of several policies unite, denies override, and no applicable rule means deny.
"""

from broker.policy.case import PolicyTest
from broker.policy.compiled import CompiledRule, WrittenPolicy
from broker.policy.condition import Condition, compile_condition
from broker.policy.decision import NO_OBLIGATIONS, UNNARROWED, Approval, Decision, Failed, Limit, Obligations, Rule
from broker.policy.document import AgentPolicyDocument
from broker.policy.explaining import Considered, Explanation, explain
from broker.policy.filter import Filter, parse_filter
from broker.policy.index import NOTHING_OFFERED, Offered
from broker.policy.narrowing import Narrowing
from broker.policy.replaying import UNKNOWN, UNKNOWN_EMAIL, replayed
from broker.policy.request import AccessRequest, Context
from broker.policy.rule import ApprovalPart, LimitsPart, ToolRule, covers
from broker.policy.shadows import shadows
from broker.policy.spending import (
    NO_CAPS,
    Allowance,
    BudgetDocument,
    BudgetPart,
    Cap,
    ModelLimitsPart,
    count_caps,
    money_caps,
    tightest,
)
from broker.policy.united import NO_POLICIES, AgentPolicies, WrittenTest

__all__ = [
    "NOTHING_OFFERED",
    "NO_CAPS",
    "NO_OBLIGATIONS",
    "NO_POLICIES",
    "UNKNOWN",
    "UNKNOWN_EMAIL",
    "UNNARROWED",
    "AccessRequest",
    "AgentPolicies",
    "AgentPolicyDocument",
    "Allowance",
    "Approval",
    "ApprovalPart",
    "BudgetDocument",
    "BudgetPart",
    "Cap",
    "CompiledRule",
    "Condition",
    "Considered",
    "Context",
    "Decision",
    "Explanation",
    "Failed",
    "Filter",
    "Limit",
    "LimitsPart",
    "ModelLimitsPart",
    "Narrowing",
    "Obligations",
    "Offered",
    "PolicyTest",
    "Rule",
    "ToolRule",
    "WrittenPolicy",
    "WrittenTest",
    "compile_condition",
    "count_caps",
    "covers",
    "explain",
    "money_caps",
    "parse_filter",
    "replayed",
    "shadows",
    "tightest",
]
