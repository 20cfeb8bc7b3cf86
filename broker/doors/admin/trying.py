"""A connector's test: a harmless real call, and where it fails, at which step and what to do about it."""

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from broker import errors
from broker.audit import Record
from broker.documents import Connection
from broker.doors.admin.operators import Operators
from broker.egress import Response as Answer
from broker.egress import knock
from broker.errors import InternalError, Refusal
from broker.pipeline import service_of

_BY_TOKEN = frozenset({"api-key", "basic"})
"""Kinds of grants that need no token endpoint."""

DO = {
    "reach": "The call would leave for a host that is not the connector's: look at 'url', or name it in 'reach.hosts'.",
    "dns": "The name has no address: look at the host in 'url' (or 'oauth.token_endpoint'), and at this machine's DNS.",
    "address": "The name stands for an address that is not public: if it is meant, name its range under "
    "'reach.private_ranges'.",
    "connect": "Nothing answers there: is the service up, is the port right, and does a firewall let the broker out?",
    "tls": "Its certificate is not believed: if an authority of your own signed it, name its PEM file under "
    "'reach.certificate_authority'; otherwise it has expired or is for another name.",
    "grant": "Connect an account first: aam grants add {name} --help, or aam grants connect {name}.",
    "token": "The account's credential is not taken: look at it with aam grants show {name}, give its new secret with "
    "aam grants rotate {name}, or connect the account again.",
    "scope": "The token lacks a scope: let the service's app have it, and connect the account again with --scope.",
    "permission": "The account is known, but may not do this at the service: its administrator must permit it.",
    "not_found": "The service has no such place: look at the path and the version in 'url' and 'settings'.",
    "rate_limit": "The service's rate or usage limit is reached: wait, or ask the service for more.",
    "outage": "The service itself fails: look at its status page, and try again later.",
    "timeout": "The service was reached and did not answer in time: try again, or raise 'limits.total_seconds'.",
    "redirect": "The service sends callers elsewhere, and the broker does not follow: name the right place in 'url'.",
    "answer": "Something else than this service answered: look at 'url' and 'type'.",
    "connector": "The connector itself failed: tell whoever wrote it; the broker's log has the place.",
}
"""What to do about a failure at each step."""

_STEPS: tuple[tuple[type[Refusal], str], ...] = (
    (errors.EgressDenied, "reach"),
    (errors.UpstreamUnreachable, "connect"),
    (errors.UpstreamTimeout, "timeout"),
    (errors.UpstreamInterrupted, "timeout"),
    (errors.UpstreamRedirected, "redirect"),
    (errors.UpstreamUnauthorized, "token"),
    (errors.ReauthorizationNeeded, "token"),
    (errors.GrantMisplaced, "token"),
    (errors.VaultUnreadable, "token"),
    (errors.GrantUnavailable, "grant"),
    (errors.ConsentNeeded, "grant"),
    (errors.UpstreamForbidden, "permission"),
    (errors.UpstreamNotFound, "not_found"),
    (errors.UpstreamBusy, "rate_limit"),
    (errors.UpstreamFailed, "outage"),
    (errors.Upstream, "answer"),
)


class Trial:
    """One test: which steps were gone through, and what the service answered last."""

    def __init__(self, operators: Operators, connection: Connection) -> None:
        self._operators = operators
        self._connection = connection
        self._last: Answer | None = None
        self.passed: list[str] = []

    async def run(self, actor: Record) -> str:
        """Go through every step, and return what the probe says; raise the refusal that ended it."""
        connection = self._connection
        await self._knock()
        async with self._operators.calling(connection, "grant_tested", actor, noting=self._note) as call:
            if connection.kinds:  # a file takes no grant
                await call.credential.header()
                self.passed.append("token")
            answer = call.release(await connection.connector.probe(call.session, connection.document))
        self.passed.append("call")
        self._operators.resilience.revived(connection)
        return answer

    def failed_at(self, refusal: Refusal) -> str:
        """Return the step at which it failed: what the service said last tells more than what was made of it."""
        step = refusal.facts.get("step")
        if step is not None:
            return str(step)
        scope = self._last is not None and self._last.challenge == "insufficient_scope"
        if scope or refusal.facts.get("oauth") == "invalid_scope":
            return "scope"
        return next((step for kind, step in _STEPS if isinstance(refusal, kind)), "connector")

    async def _knock(self) -> None:
        """Reach the service, and the token endpoint if there is an account that needs it."""
        connection = self._connection
        service = service_of(connection, self._operators.egress)
        if service.url.startswith(("https://", "http://")):  # a program or a database is reached otherwise
            self.passed += await knock(service.client, service.url)
        kinds = {grant.kind for grant in self._operators.vault.grants() if grant.connector == connection.name}
        if kinds - _BY_TOKEN:
            await knock(service.client, connection.token_endpoint)

    def _note(self, answer: Answer) -> None:
        self._last = answer


async def try_connector(operators: Operators, request: Request, actor: Record) -> Response:
    """Make the connector's harmless call with the organisation's account; say what failed, and what to do."""
    connection = operators.connection(request.path_params["name"])
    trial = Trial(operators, connection)
    said: dict[str, Any] = {"connector": connection.name, "works": False, "answer": None, "failed": None}
    try:
        said |= {"works": True, "answer": await trial.run(actor)}
    except Refusal as refusal:
        said["failed"] = _failure(trial, connection, refusal)
    except Exception as error:  # noqa: BLE001 - a connector's own mistake, of whatever kind
        said["failed"] = _failure(trial, connection, InternalError(detail=type(error).__name__))
    return JSONResponse(said | {"passed": trial.passed})


def _failure(trial: Trial, connection: Connection, refusal: Refusal) -> dict[str, Any]:
    step = trial.failed_at(refusal)
    return {
        "at": step,
        "code": refusal.code,
        "message": refusal.message,
        "detail": refusal.detail,
        "do": DO[step].format(name=connection.name),
    }
