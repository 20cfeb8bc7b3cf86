"""Records that refer to one record: the contacts of an account. They are decided as a search of their own resource."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from broker.connector import Session, ToolCall, Touch
from connectors.salesforce.snapshot import SnapshotChild
from connectors.salesforce.sobject import ID, SObject


@dataclass(frozen=True, slots=True)
class Related:
    """What refers to the records of one mapped object, by the relationship's name."""

    of: SObject
    children: Mapping[str, tuple[SnapshotChild, SObject]]

    def touches(self, arguments: Mapping[str, Any]) -> list[Touch]:
        """Name the search of the other resource, with the fields that it shows and the one that refers."""
        child, other = self.children[arguments["relationship"]]
        refers = {"field": child.field, "operator": "equals", "value": arguments["id"]}
        as_search = {name: arguments[name] for name in ("fields", "limit") if name in arguments} | {"filters": [refers]}
        return [Touch(other.resource, "search", frozenset({*arguments["fields"], child.field}), as_search)]

    async def find(self, call: ToolCall, session: Session) -> Any:
        """Answer a page of what refers to a record, where the record itself is within the scope."""
        child, other = self.children[call.arguments["relationship"]]
        own = self.of.narrowed(call.scope)
        if own.conditions:
            await self.of.one(call, session, own, call.arguments["id"], {"Id": ID})
        scope = other.narrowed(call.scope_of(0))
        return await other.page(call, session, scope, call.arguments, [f"{child.field} = '{call.arguments['id']}'"])

    def check(self, arguments: Mapping[str, Any]) -> None:
        """Raise `InvalidArguments` for fields that the other resource does not have."""
        _, other = self.children[arguments["relationship"]]
        other.check_fields(arguments["fields"])
