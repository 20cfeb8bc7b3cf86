"""Requests that nobody has made: for explaining, and for the tests that policies carry."""

import dataclasses
import datetime
from collections.abc import Iterator
from dataclasses import dataclass

from broker.documents.snapshot import Snapshot
from broker.identity import Agent, OnBehalfOf, SpiffeId, WorkloadIdentity
from broker.policy import AccessRequest, Context, Decision, PolicyTest, Rule


@dataclass(frozen=True, slots=True)
class Ran:
    """A test of a policy, what was decided, and what is wrong with that."""

    rule: Rule
    test: PolicyTest
    decision: Decision
    wrong: str | None


@dataclass(frozen=True, slots=True)
class Tested:
    """What came of all tests of a set, and the rules that decided none of them."""

    ran: tuple[Ran, ...]
    uncovered: tuple[Rule, ...]


def request_of(snapshot: Snapshot, workload: str, case: PolicyTest, now: datetime.datetime) -> AccessRequest:
    """Return the request that a test describes, of an agent as the registry has it but for what the test says."""
    delegated = case.on_behalf_of
    identity = WorkloadIdentity(
        workload,
        SpiffeId.parse(workload).trust_domain,
        case.context.method,
        case.context.assurance,
        "sha256:none",
        on_behalf_of=OnBehalfOf(delegated.issuer, delegated.subject, "id-jag", delegated.email) if delegated else None,
    )
    agent = snapshot.registry.agents.get(workload) or Agent("unregistered", workload, "nobody", "none", "none", "none")
    agent = dataclasses.replace(agent, **case.agent.model_dump(exclude_none=True))
    context = Context(case.context.time or now, case.context.transport, case.context.client)
    return AccessRequest(identity, case.action, case.resource, case.arguments, agent, context)


def run_tests(snapshot: Snapshot, now: datetime.datetime) -> Tested:
    """Run the tests of every policy, each against all policies of its agent."""
    ran = tuple(_ran(snapshot, now))
    covered = {(rule.policy, rule.place) for one in ran for rule in one.decision.rules}
    rules = [
        rule
        for policies in snapshot.policies.values()
        for one in policies.rules
        if not one.of_models
        for rule in one.places()
    ]
    uncovered = [rule for rule in rules if (rule.policy, rule.place) not in covered]
    return Tested(ran, tuple(sorted(uncovered, key=lambda rule: (rule.file, rule.line, rule.policy, rule.place))))


def _ran(snapshot: Snapshot, now: datetime.datetime) -> Iterator[Ran]:
    for workload, policies in sorted(snapshot.policies.items()):
        for one in policies.tests:
            decision = policies.decide(request_of(snapshot, workload, one.test, now))
            yield Ran(one.rule, one.test, decision, _wrong(one.test, decision))


def _wrong(test: PolicyTest, decision: Decision) -> str | None:
    if decision.effect != test.expect:
        return f"{test.expect} is expected; it is {decision.effect} ({decision.reason})"
    if test.fields is not None and decision.scope.fields != frozenset(test.fields):
        found = "all fields" if decision.scope.fields is None else ", ".join(sorted(decision.scope.fields)) or "none"
        return f"the fields {', '.join(sorted(test.fields))} are expected; it is {found}"
    if test.max_records is not None and decision.scope.records != test.max_records:
        found = "any number" if decision.scope.records is None else str(decision.scope.records)
        return f"{test.max_records} records at most are expected; it is {found}"
    return None
