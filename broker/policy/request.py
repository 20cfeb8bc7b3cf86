"""What is decided: who asks to do what with which resource, with which arguments, and under which circumstances."""

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from broker.identity import Agent, OnBehalfOf, WorkloadIdentity


@dataclass(frozen=True, slots=True)
class Context:
    """The circumstances of a request that neither the proof nor the registry says.

    `client` is what the client calls itself: nobody has proved it. Without a time, what is only valid for a while
    permits nothing, and denies all the same.
    """

    time: datetime.datetime | None = None
    transport: str | None = None
    client: str | None = None


NO_CONTEXT = Context()


@dataclass(frozen=True, slots=True)
class AccessRequest:
    """Subject, action, resource and context (OpenID AuthZEN Authorization API §5), and what the call is given.

    `agent` is the registry's entry of the subject: facts that the proof does not carry.
    """

    subject: WorkloadIdentity
    action: str
    resource: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    agent: Agent | None = None
    context: Context = NO_CONTEXT
    unknown: frozenset[tuple[str, ...]] = frozenset()
    """Of a request that is only told of: ("arguments",), or members such as ("on_behalf_of", "email")."""

    @property
    def on_behalf_of(self) -> OnBehalfOf | None:
        """The person or workload that delegated, as the subject's proof says it."""
        return self.subject.on_behalf_of
