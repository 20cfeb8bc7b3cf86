"""The policy decision point: AgentPolicy documents in, decisions out; a pure function.

Permits of several policies unite, denies override, and no applicable rule means deny.
"""

from broker.policy.compiled import CompiledRule, WrittenPolicy
from broker.policy.condition import Condition, compile_condition
from broker.policy.decision import NO_OBLIGATIONS, UNNARROWED, Approval, Decision, Failed, Limit, Obligations, Rule
from broker.policy.document import AgentPolicyDocument
from broker.policy.filter import Filter, parse_filter
from broker.policy.request import AccessRequest, Context
from broker.policy.rule import ApprovalPart, LimitsPart, ToolRule, covers
from broker.policy.united import NO_POLICIES, NOTHING_OFFERED, AgentPolicies, Offered

__all__ = [
    "NOTHING_OFFERED",
    "NO_OBLIGATIONS",
    "NO_POLICIES",
    "UNNARROWED",
    "AccessRequest",
    "AgentPolicies",
    "AgentPolicyDocument",
    "Approval",
    "ApprovalPart",
    "CompiledRule",
    "Condition",
    "Context",
    "Decision",
    "Failed",
    "Filter",
    "Limit",
    "LimitsPart",
    "Obligations",
    "Offered",
    "Rule",
    "ToolRule",
    "WrittenPolicy",
    "compile_condition",
    "covers",
    "parse_filter",
]
