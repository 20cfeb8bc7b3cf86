"""Every refusal and its stable code.

A refusal has a *message* for whoever asked, which says what to do, and a *detail* for the operator, which never reaches
an agent. The docstring of a class is its message when none is given. `docs/errors.md` has a heading for each code.
"""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Self


class Refusal(Exception):  # noqa: N818 - refusing is what we do; an Error suffix would hide it
    """The broker refused."""

    code: ClassVar[str] = ""

    def __init__(self, message: str | None = None, *, detail: str | None = None, **facts: Any) -> None:
        # Under `python -OO` there are no docstrings; a refusal must not fail for want of words
        self.message = message or (type(self).__doc__ or self.code or "refused").strip().splitlines()[0]
        self.detail = detail
        self.facts: Mapping[str, Any] = facts
        self.call_id: str | None = None
        super().__init__(self.message)

    def anew(self) -> Self:
        """Return an equal refusal without history: several callers may share a failure, but not its call or frames."""
        return type(self)(self.message, detail=self.detail, **self.facts)


def codes(family: type[Refusal] = Refusal) -> Iterator[type[Refusal]]:
    """Every refusal of a family that has a code, in the order in which they are defined."""
    for kind in family.__subclasses__():
        if kind.__dict__.get("code"):
            yield kind
        yield from codes(kind)


# --- Who calls -------------------------------------------------------------------------------------------------------


class Unauthenticated(Refusal):
    """The caller did not prove which agent it is."""


class ProofMissing(Unauthenticated):
    """Send a JWT-SVID as 'Authorization: Bearer <token>', or connect through 'aam stdio'."""

    code = "proof_missing"


class ProofMalformed(Unauthenticated):
    """The token is not one that this broker takes: a JWT-SVID, a JWT of a configured issuer, or an access key."""

    code = "proof_malformed"


class ProofExpired(Unauthenticated):
    """The token has expired; fetch a new one and send the request again."""

    code = "proof_expired"


class ProofNotYetValid(Unauthenticated):
    """The token is not valid yet; compare the clocks of the issuer and the broker."""

    code = "proof_not_yet_valid"


class ProofLivesTooLong(Unauthenticated):
    """The token lives longer than this broker accepts; ask for a shorter lifetime."""

    code = "proof_lives_too_long"


class ProofForAnotherAudience(Unauthenticated):
    """The token was issued for another audience; request one for this broker's audience."""

    code = "proof_for_another_audience"


class ProofUntrusted(Unauthenticated):
    """No key that this broker trusts has signed the token."""

    code = "proof_untrusted"


class ProofRevoked(Unauthenticated):
    """This access key has been revoked; ask an administrator for another, or better for an SVID."""

    code = "proof_revoked"


class AssertionReplayed(Unauthenticated):
    """The assertion has been used before; each is good for one use. Get a new one."""

    code = "assertion_replayed"


class InsufficientScope(Unauthenticated):
    """The token lacks a scope that this broker asks for; authorize again with the scopes that the answer names."""

    code = "insufficient_scope"


class ProxyUnknown(Unauthenticated):
    """This listener is for the proxy alone; connect to the proxy, or to the broker's own address."""

    code = "proxy_unknown"


class PeerUnknown(Unauthenticated):
    """No registered agent has selectors that match this local process."""

    code = "peer_unknown"


class PeerAmbiguous(Unauthenticated):
    """Several agents match this local process; name one with 'aam stdio --agent NAME'."""

    code = "peer_ambiguous"


class DevelopmentOnly(Unauthenticated):
    """This trust domain is for development; start the broker with 'aam serve --development' to let its agents in."""

    code = "development_only"


class SessionOfAnother(Unauthenticated):
    """This connection belongs to another identity; open a new one."""

    code = "session_of_another"


class AgentBarred(Refusal):
    """The agent is known for what it is, and may not call."""


class AgentUnregistered(AgentBarred):
    """No agent is registered for this workload identity; ask an administrator to register it."""

    code = "agent_unregistered"


class IdentityUnmapped(AgentBarred):
    """The token is genuine, but no rule of its issuer maps it to an agent; ask an administrator for one."""

    code = "identity_unmapped"


class IdentityAmbiguous(AgentBarred):
    """The token is genuine, but several rules of its issuer map it to an agent; an administrator must decide."""

    code = "identity_ambiguous"


class AgentSuspended(AgentBarred):
    """This agent is suspended; its owner or an administrator can say why."""

    code = "agent_suspended"


class AgentRetired(AgentBarred):
    """This agent is retired."""

    code = "agent_retired"


class AgentExpired(AgentBarred):
    """This agent's registration has run out; its owner must renew it."""

    code = "agent_expired"


# --- What it asks for ------------------------------------------------------------------------------------------------


class UnknownTool(Refusal):
    """There is no such tool for this agent; list the tools to see which there are."""

    code = "unknown_tool"


class AccessDenied(Refusal):
    """The agent's policies do not permit this action."""

    code = "access_denied"


class ConditionFailed(Refusal):
    """A condition of the agent's policies cannot be evaluated for this call; an administrator must look at it."""

    code = "condition_failed"


class ApprovalNeeded(Refusal):
    """An operator must approve this call before it is made."""

    code = "approval_needed"


class ApprovalRefused(Refusal):
    """An operator has refused this call; do not repeat it as it is."""

    code = "approval_refused"


class TooManyApprovals(Refusal):
    """Too many calls of this agent wait for an operator's approval; wait until some are decided."""

    code = "too_many_approvals"


class InvalidArguments(Refusal):
    """The arguments do not match the tool's input schema."""

    code = "invalid_arguments"


class RequestStateInvalid(Refusal):
    """The request state is not the one that this agent was given for this call; make the call anew, without it."""

    code = "request_state_invalid"


class CursorInvalid(Refusal):
    """The cursor is not one of this agent, tool and query, or has expired; begin again without it."""

    code = "cursor_invalid"


class ArgumentsTooLarge(Refusal):
    """The arguments are larger than this broker accepts; send less in one call."""

    code = "arguments_too_large"


class ActionNotBuilt(Refusal):
    """This connector names the action so that policies can speak of it, but does not perform it yet."""

    code = "action_not_built"


class LimitReached(Refusal):
    """A limit of the agent's policies is reached; wait before trying again."""

    code = "limit_reached"


class OverBudget(Refusal):
    """The call may cost more than the agent may spend."""


class BudgetExhausted(OverBudget):
    """The budget does not cover this call before it begins anew; do not repeat the call until then, or ask for less."""

    code = "budget_exhausted"


class BudgetHeld(OverBudget):
    """What is left of the budget is held for calls that run; try again when some of them have ended."""

    code = "budget_held"


class PriceUnknown(OverBudget):
    """Nobody knows what this model costs, and a budget applies; an administrator can state its price in the route."""

    code = "price_unknown"


class TargetOverran(OverBudget):
    """This model has cost more than its price and cap allow; it is not used until an operator has looked at that."""

    code = "target_overran"


class TooManyCalls(Refusal):
    """Too many calls are running at once; wait for one to end, then try again."""

    code = "too_many_calls"


class TooManyConnections(Refusal):
    """Too many connections or requests are open; close some, or wait for some to end, then try again."""

    code = "too_many_connections"


class Cut(Refusal):
    """The request was cut off: its agent may no longer call, or the broker stops. Connect again to see which."""

    code = "cut"


class Draining(Refusal):
    """The broker is shutting down; connect again in a moment."""

    code = "draining"


class UnknownModel(Refusal):
    """There is no such model for this agent; GET /v1/models lists those that there are."""

    code = "unknown_model"


class ModelRequestInvalid(Refusal):
    """The request is not one of this API."""

    code = "model_request_invalid"


class ModelFieldRefused(Refusal):
    """The request sets what the model's route decides."""

    code = "model_field_refused"


class ReasoningContradictory(Refusal):
    """The request says two different things of how much the model is to think; send one of them."""

    code = "reasoning_contradictory"


class ReasoningUnavailable(Refusal):
    """No target of this model can think as was asked."""

    code = "reasoning_unavailable"


class UnknownGeneration(Refusal):
    """There is no such call of yours that has ended."""

    code = "unknown_generation"


class UnknownApi(Refusal):
    """There is no such API of models here."""

    code = "unknown_api"


class ModelApiRefused(Refusal):
    """This model does not answer on this API."""

    code = "model_api_refused"


# --- Credentials -----------------------------------------------------------------------------------------------------


class GrantUnavailable(Refusal):
    """No account is connected for this service; an administrator can add one with 'aam grants add'."""

    code = "grant_unavailable"


class ReauthorizationNeeded(Refusal):
    """The service no longer honours the connected account; an administrator must connect it again."""

    code = "reauthorization_needed"


class ConsentNeeded(Refusal):
    """The person on whose behalf the agent acts must connect their own account first; show them the link."""

    code = "consent_needed"


class ConsentRefused(Refusal):
    """The consent could not be completed; begin again, in one browser and as the person whom it is for."""

    code = "consent_refused"


class GrantMisplaced(Refusal):
    """The stored account belongs to another connector or another host and is not used here."""

    code = "grant_misplaced"


class VaultUnreadable(Refusal):
    """The stored account cannot be opened; an administrator must look at the vault."""

    code = "vault_unreadable"


# --- The outside -----------------------------------------------------------------------------------------------------


class Upstream(Refusal):
    """The service behind the tool did not do what was asked."""


class EgressDenied(Upstream):
    """The call would leave for a place that this connector may not reach."""

    code = "egress_denied"


class UpstreamUnreachable(Upstream):
    """The service cannot be reached; try again later."""

    code = "upstream_unreachable"


class UpstreamTimeout(Upstream):
    """The service did not answer in time. Whether it acted is unknown; check before you repeat a change."""

    code = "upstream_timeout"


class UpstreamInterrupted(Upstream):
    """The connection broke after the request was sent. Whether the service acted is unknown."""

    code = "upstream_interrupted"


class UpstreamRedirected(Upstream):
    """The service answered with a redirect, which the broker never follows."""

    code = "upstream_redirected"


class UpstreamTooLarge(Upstream):
    """The service's answer is larger than the broker takes; ask for less."""

    code = "upstream_too_large"


class UpstreamMalformed(Upstream):
    """The service's answer could not be understood."""

    code = "upstream_malformed"


class UpstreamUnauthorized(Upstream):
    """The service refused the broker's credential; an administrator must look at the grant."""

    code = "upstream_unauthorized"


class UpstreamForbidden(Upstream):
    """The connected account may not do this at the service."""

    code = "upstream_forbidden"


class UpstreamNotFound(Upstream):
    """The service has no such record."""

    code = "upstream_not_found"


class UpstreamChanged(Upstream):
    """The record was changed meanwhile; read it again before you change it."""

    code = "upstream_changed"


class UpstreamRejected(Upstream):
    """The service rejected the request as invalid."""

    code = "upstream_rejected"


class UpstreamBusy(Upstream):
    """The service's rate or usage limit is reached; wait before trying again."""

    code = "upstream_busy"


class UpstreamFailed(Upstream):
    """The service failed; try again later."""

    code = "upstream_failed"


class DefinitionDrifted(Upstream):
    """The server now describes this tool otherwise than was approved; an administrator must look at it."""

    code = "definition_drifted"


class ClientCannot(Upstream):
    """The server asks the client for what it cannot do, or for what the connector's document does not let through."""

    code = "client_cannot"


class CircuitOpen(Upstream):
    """The service has failed several times in a row and is left alone for a moment; try again later."""

    code = "circuit_open"


class ConnectorBusy(Upstream):
    """The limit that is set for calls of this service is reached; wait before trying again."""

    code = "connector_busy"


class ModelUnavailable(Upstream):
    """No provider of this model can answer now; try again later."""

    code = "model_unavailable"


class ModelRequestRejected(Upstream):
    """The model's provider rejected the request as invalid; compare its parameters with what the model supports."""

    code = "model_request_rejected"


class ContextTooLong(Upstream):
    """The prompt is longer than the model takes; send less."""

    code = "context_length_exceeded"


class ModelContentRefused(Upstream):
    """The model's provider refuses this content."""

    code = "model_content_refused"


class StreamBroken(Upstream):
    """The provider failed in the midst of its answer; what was received is not all of it."""

    code = "stream_broken"


class StreamTruncated(StreamBroken):
    """The provider's stream stopped before its end; what was received is not all of it."""

    code = "stream_truncated"


class OutputOverCap(Upstream):
    """The provider went on beyond the output cap, so the answer was cut; what was received is not all of it."""

    code = "output_over_cap"


# --- What comes back -------------------------------------------------------------------------------------------------


class ResultTooLarge(Refusal):
    """The result is larger than this broker releases; ask for fewer fields or records."""

    code = "result_too_large"


class LeakBlocked(Refusal):
    """The result held credential material and was withheld; an administrator has been told."""

    code = "leak_blocked"


class AuditUnavailable(Refusal):
    """The broker cannot record calls at the moment and therefore makes none; try again later."""

    code = "audit_unavailable"


class InternalError(Refusal):
    """The broker failed; an administrator can find the call by its id."""

    code = "internal_error"


# --- Operators -------------------------------------------------------------------------------------------------------


class OperatorRefusal(Refusal):
    """An operator's request was refused."""


class OperatorUnknown(OperatorRefusal):
    """This user is not an operator of the broker; name it under 'operators' in the Broker document."""

    code = "operator_unknown"


class OperatorForbidden(OperatorRefusal):
    """This operator's role does not allow the request."""

    code = "operator_forbidden"


class OperatorRequestInvalid(OperatorRefusal):
    """The request is not one that the operators' door understands."""

    code = "operator_request_invalid"


class NotFound(OperatorRefusal):
    """There is no such thing."""

    code = "not_found"


class AlreadyExists(OperatorRefusal):
    """There is one already."""

    code = "already_exists"


class IndexUnavailable(OperatorRefusal):
    """The search index cannot be used now; the broker mends it by itself. Try again in a moment."""

    code = "index_unavailable"


class RollbackUnderWay(OperatorRefusal):
    """Somebody is rolling the documents back already; wait until that set is in force, or two minutes."""

    code = "rollback_under_way"


class HistoryDamaged(OperatorRefusal):
    """The history of the documents is not what was written; take these documents from version control or a backup."""

    code = "history_damaged"


# --- Starting --------------------------------------------------------------------------------------------------------


class CannotStart(Refusal):
    """The broker does not start."""


class DocumentsInvalid(CannotStart):
    """The documents have mistakes; 'aam check DIR' lists them all."""

    code = "documents_invalid"


class StoreInUse(CannotStart):
    """Another broker is using this store; stop it first."""

    code = "store_in_use"


class StoreUnusable(CannotStart):
    """The store cannot be opened or is not what it was when it was closed."""

    code = "store_unusable"


class TrailRolledBack(CannotStart):
    """The store's trail is older than a head of it that was signed, or is another one."""

    code = "trail_rolled_back"


class KeyUnavailable(CannotStart):
    """The key-encryption key cannot be read from its configured source."""

    code = "key_unavailable"


class KeyMismatch(CannotStart):
    """The key-encryption key is not the one that sealed this store."""

    code = "key_mismatch"


class ExtraMissing(CannotStart):
    """The documents ask for what an optional part of the installation brings; install it."""

    code = "extra_missing"


class ListenerRefused(CannotStart):
    """A listener cannot be opened as configured."""

    code = "listener_refused"


class DaemonUnreachable(Refusal):
    """No broker answers on the operators' socket; start one with 'aam serve DIR'."""

    code = "daemon_unreachable"
