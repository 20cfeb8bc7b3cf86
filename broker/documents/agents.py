"""Who calls and who is asked: the registered agents and the operators, and that nobody is both."""

import contextlib
import grp
import os
import pwd
from collections.abc import Mapping

from broker.documents.findings import Findings, value_at
from broker.documents.parse import Document
from broker.documents.source import Source
from broker.documents.words import nearest
from broker.identity import Agent, AgentDocument, Registry, SpiffeId, TrustDomain

Operators = Mapping[int, tuple[str, str]]
"""(user, role) by user id."""


def check_operators(findings: Findings, broker: Document) -> Operators:
    """Return the operators that the Broker document names; a user that this machine does not have is left out."""
    found: dict[int, tuple[str, str]] = {}
    for number, operator in enumerate(broker.spec.operators):
        place = ("spec", "operators", number, "user")
        uid = user_id(operator.user)
        if uid is None:
            findings.warn(broker, place, f"there is no user {operator.user!r} on this machine")
        elif uid in found:
            findings.wrong(broker, place, f"{operator.user!r} is an operator already, as {found[uid][1]}")
        else:
            found[uid] = (operator.user, operator.role)
    return found


def check_registry(findings: Findings, domains: Mapping[str, TrustDomain], operators: Operators) -> Registry:
    """Return the registered agents, each in a configured trust domain and of its environment."""
    agents: dict[str, Agent] = {}
    for document in findings.of("Agent"):
        spec: AgentDocument = document.spec
        domain = _domain(findings, document, spec.workload, domains)
        if domain is not None:
            _of_its_environment(findings, document, spec.environment, domain)
            _not_an_operator(findings, document, operators, development=domain.development)
        if spec.workload in agents:
            findings.wrong(document, ("spec", "workload"), f"is registered already, as {agents[spec.workload].name!r}")
            continue
        agents[spec.workload] = Agent(
            document.name,
            spec.workload,
            spec.owner,
            spec.team,
            spec.environment,
            spec.deployment,
            spec.status,
            spec.valid_until,
            frozenset(spec.selectors),
            spec.tools.present,
        )
    for source in findings.with_mistakes("Agent"):
        workload, environment = (value_at(source.value, ("spec", key)) for key in ("workload", "environment"))
        with contextlib.suppress(ValueError, TypeError):  # the workload itself is the mistake
            domain = _domain(findings, source, workload, domains)
            if domain is not None and isinstance(environment, str):
                _of_its_environment(findings, source, environment, domain)
    return Registry(agents.values())


def _domain(
    findings: Findings, document: Document | Source, workload: str, domains: Mapping[str, TrustDomain]
) -> TrustDomain | None:
    name = SpiffeId.parse(workload).trust_domain
    if name not in domains and not findings.mistaken("TrustDomain", "metadata", "name", value=name):
        findings.wrong(document, ("spec", "workload"), f"there is no TrustDomain {name!r}{nearest(name, domains)}")
    return domains.get(name)


def _of_its_environment(findings: Findings, document: Document | Source, environment: str, domain: TrustDomain) -> None:
    if domain.environment != environment:
        findings.wrong(
            document,
            ("spec", "environment"),
            f"{environment!r}, but its trust domain {domain.name!r} is {domain.environment!r}",
        )


def _not_an_operator(findings: Findings, document: Document, operators: Operators, *, development: bool) -> None:
    """Refuse an agent that a process of an operator's could pass for; in development, warn."""
    selectors = document.spec.selectors
    note = findings.warn if development else findings.wrong
    for uid, (user, _) in operators.items():
        if selectors and all(could_be(selector, uid) for selector in selectors):
            note(
                document,
                ("spec", "selectors"),
                f"user {user!r} is an operator: a process of theirs could pass for this agent"
                + (" (allowed in a development trust domain only)" if development else ""),
            )


def could_be(selector: str, uid: int) -> bool:
    """Tell whether a selector can be true of some process of a user. Anybody may run a program of any path."""
    _, kind, value = selector.split(":", 2)
    match kind:
        case "uid":
            return value == str(uid)
        case "user":
            return user_id(value) == uid
        case "gid" | "group":
            return _may_have_group(uid, kind, value)
    return True


def _may_have_group(uid: int, kind: str, value: str) -> bool:
    """Tell whether a user may take on a group (with newgrp, say); one that this machine does not know may."""
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return True
    groups = os.getgrouplist(entry.pw_name, entry.pw_gid)
    if kind == "gid":
        return value in map(str, groups)
    return value in map(_group_name, groups)


def _group_name(gid: int) -> str | None:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return None


def user_id(user: str) -> int | None:
    """Return the id of a user of this machine, by name or number; None if there is no such user."""
    try:
        return pwd.getpwnam(user).pw_uid
    except (KeyError, ValueError):  # ValueError: half a character, or a NUL
        return int(user) if user.isascii() and user.isdecimal() and len(user) <= len(str(2**32)) else None
