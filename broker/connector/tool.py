"""What a connector can do: its tools, and what the function of one is given for a call."""

from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, Protocol

from broker import errors
from broker.connector.dialogue import Dialogue, NoDialogue
from broker.egress import Session

Emit = Callable[[int, int | None], Coroutine[Any, Any, None]]
"""Takes progress as it comes: how many, of how many if that is known."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One condition on the service's records: `Owner.Email = 'jane@example.com'`; `value` is a list for `in`."""

    field: str
    operator: Literal["=", "!=", "<", "<=", ">", ">=", "in"]
    value: str | int | bool | list[str]


@dataclass(frozen=True, slots=True)
class Scope:
    """What the decision narrows a call to. It must reach the service: what is outside is as if it were not there.

    `fields` are all that may leave, None where no rule narrows what the tool declares; `records` is the most that one
    call may return; `filters` must all be true of a record.
    """

    fields: frozenset[str] | None = None
    records: int | None = None
    filters: tuple[Comparison, ...] = ()


@dataclass(frozen=True, slots=True)
class Touch:
    """What a call does to a resource of the same connector beside its own: decided by itself, as a call of its own.

    `fields` are all that the call selects, compares, orders by or writes there: a call is refused by the first of them
    that no policy permits or that one masks. `arguments` are what the resource's own tool would have been given.
    """

    resource: str
    action: str
    fields: frozenset[str]
    arguments: Mapping[str, Any] = field(default_factory=dict)


WHOLE: Mapping[str, Any] = MappingProxyType({})
"""An output schema, or a part of one, of which everything leaves. It is compared by identity: no file can say it.

For what has been checked by other means, as the results of an MCP server are. Credentials are looked for all the same.
"""


class Cursors(Protocol):
    """Makes the cursors of one agent and tool: opaque to the agent, and of no use to another."""

    def seal(self, query: str, place: Any) -> str:
        """Return a cursor for a place, of JSON values, in the results of a query."""
        ...

    def open(self, query: str, cursor: str) -> Any:
        """Return the place; raise `CursorInvalid` if the cursor is not one of this agent, tool and query."""
        ...


class NoCursors:
    """For calls whose results are not handed over in pages: its cursors are empty, and it takes none."""

    def seal(self, query: str, place: Any) -> str:  # noqa: ARG002 - the protocol's own signature
        """Return none."""
        return ""

    def open(self, query: str, cursor: str) -> Any:  # noqa: ARG002
        """Refuse."""
        raise errors.CursorInvalid


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One permitted call: arguments that match the tool's input schema, where to tell progress, and its scope.

    `touched` has the scope of everything that the tool's `touches` named, by resource and action. `key` is the same
    for the same agent, tool and arguments, and for no others: by it a service can know a repeated write. `most_bytes`
    is the largest result that will be released, as JSON. `dialogue` is the way back to the client that called.
    `caller` is the same for the same agent, and the person for whom it acts, and for no others. `grant` is the id of
    the grant whose credential is used: with another, the service may be another.
    """

    arguments: Mapping[str, Any]
    emit: Emit
    scope: Scope = Scope()
    touched: Sequence[Scope] = ()
    key: str = ""
    cursors: Cursors = field(default_factory=NoCursors)
    most_bytes: int | None = None
    dialogue: Dialogue = field(default_factory=NoDialogue)
    caller: str = ""
    grant: str = ""

    def scope_of(self, touch: int) -> Scope:
        """Return the scope of a touch by its number; of what nobody has decided, one without any field."""
        return self.touched[touch] if touch < len(self.touched) else Scope(frozenset())


Run = Callable[[ToolCall, Session], Awaitable[Any]]
Touches = Callable[[Mapping[str, Any]], Sequence[Touch]]
"""Names everything that a call with these arguments touches beside its own resource; may refuse, as `Check` does."""
Check = Callable[[Mapping[str, Any]], None]
"""Raises `InvalidArguments` for what the input schema cannot say; called before anything is recorded as begun."""


@dataclass(frozen=True, slots=True)
class Tool:
    """One action on one resource.

    `output_schema` is what may leave: members that it does not declare are taken off the result. `run` is None for an
    action that exists so that policies can speak of it, but that the connector does not perform yet. `check` sees
    arguments that match the schema, before the call has begun. `filterable` are the fields by which `run` can narrow a
    call to a scope's filters; a policy that filters by another is refused when it is loaded. `records` is the member of
    the result that holds the record or the list of records, "" where the result itself is the record; a policy that
    narrows what may leave of a tool that names none is refused when it is loaded. What `touches` names is decided with
    the call, and the first that no policy permits refuses it. `told` is what clients are told of the result where
    `output_schema` is too much to tell: it must be true of every result.

    `name` is what clients call it, behind the connector's name unless it is not `prefixed`; without one it is called by
    its resource and action. `serves` is `tool`, or what else of MCP it stands behind, which is not among the tools that
    clients list: a `resource` is read with `uri`, a `subscription` to one runs until its dialogue has `ended`, a
    `prompt` is got with `name` and `arguments`, a `completion` made with `ref`, `argument` and `context`. `in_mcp` says
    that `run` returns what MCP calls a result, with `content`, and not just its data; `definition` is what clients are
    told of the tool beside its description and input schema, or of the resources, templates and prompts that there are.
    """

    resource: str
    action: str
    description: str
    input_schema: Mapping[str, Any]
    output_schema: Mapping[str, Any]
    reads_only: bool
    scopes: Sequence[str] = ()
    run: Run | None = None
    check: Check | None = None
    filterable: frozenset[str] = frozenset()
    records: str | None = None
    touches: Touches | None = None
    told: Mapping[str, Any] | None = None
    name: str | None = None
    prefixed: bool = True
    serves: Literal["tool", "resource", "subscription", "prompt", "completion"] = "tool"
    in_mcp: bool = False
    definition: Mapping[str, Any] = field(default_factory=dict)
