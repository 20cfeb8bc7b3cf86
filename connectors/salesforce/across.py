r"""Searches for words across objects (SOSL), each object within its own scope.

{"text": "O'Brien", "resources": ["accounts", "contacts"], "limit": 5}
FIND {O\'Brien} IN ALL FIELDS RETURNING Account(Id, Name LIMIT 5), Contact(Id, Name LIMIT 5)
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from broker.connector import Session, ToolCall, Touch, errors
from connectors.salesforce.pages import fitting, limit_of
from connectors.salesforce.scope import Narrowed
from connectors.salesforce.search import sized
from connectors.salesforce.service import ask, only
from connectors.salesforce.sobject import SObject

_SPECIAL = re.compile(r"""([?&|!{}\[\]()^~*:\\"'+-])""")  # SOSL Syntax, Reserved Characters
_WORDS = frozenset({"and", "or", "not"})


@dataclass(frozen=True, slots=True)
class Across:
    """A search across the mapped objects."""

    objects: Mapping[str, SObject]
    version: str

    def touches(self, arguments: Mapping[str, Any]) -> list[Touch]:
        """Name the search of each resource."""
        wanted = {resource: self._wanted(resource, arguments) for resource in arguments["resources"]}
        limit = limit_of(arguments)
        return [
            Touch(resource, "search", frozenset(fields), {"fields": fields, "limit": limit})
            for resource, fields in wanted.items()
        ]

    async def find(self, call: ToolCall, session: Session) -> Any:
        """Search, and answer what each resource has of it."""
        limit = limit_of(call.arguments)
        scopes = {
            resource: self.objects[resource].narrowed(call.scope_of(number))
            for number, resource in enumerate(call.arguments["resources"])
        }
        wanted = {resource: self._wanted(resource, call.arguments) for resource in scopes}
        for resource, scope in scopes.items():
            scope.allow(wanted[resource])
        returning = [self._returning(one, scope, wanted[one], scope.limit(limit)) for one, scope in scopes.items()]
        sosl = sized(f"FIND {{{_escaped(call.arguments['text'])}}} IN ALL FIELDS RETURNING {', '.join(returning)}")
        answer = await ask(session, self.version, lambda salesforce: salesforce.search(sosl))
        return self._answer(answer, scopes, wanted, limit, call.most_bytes)

    def check(self, arguments: Mapping[str, Any]) -> None:
        """Raise `InvalidArguments` for words that the index does not know, or fields that no resource has."""
        words = re.findall(r"\w+", arguments["text"])
        if not any(len(word) > 1 and word.lower() not in _WORDS for word in words):
            raise errors.InvalidArguments("The text needs a word of two letters or more.")
        known = {name for resource in arguments["resources"] for name in self.objects[resource].fields}
        if unknown := [name for name in arguments["fields"] if name not in known]:
            raise errors.InvalidArguments(f"None of these resources has a field {unknown[0]}.")

    def _wanted(self, resource: str, arguments: Mapping[str, Any]) -> list[str]:
        return [name for name in arguments["fields"] if name in self.objects[resource].fields]

    def _returning(self, resource: str, scope: Narrowed, names: list[str], limit: int) -> str:
        conditions = f" WHERE {' AND '.join(scope.conditions)}" if scope.conditions else ""
        selected = ", ".join(dict.fromkeys(["Id", *names]))
        return f"{self.objects[resource].name}({selected}{conditions} LIMIT {limit + 1:d})"

    def _answer(
        self,
        answer: Any,
        scopes: Mapping[str, Narrowed],
        wanted: Mapping[str, list[str]],
        limit: int,
        most_bytes: int | None,
    ) -> Any:
        found = answer.get("searchRecords") if isinstance(answer, dict) else None
        if not isinstance(found, list):
            raise errors.UpstreamMalformed(detail="a search without searchRecords")
        by_name = {self.objects[resource].name: resource for resource in scopes}
        results: list[dict[str, Any]] = []
        counts: dict[str, int] = dict.fromkeys(scopes, 0)
        more = False
        for record in found:
            resource = by_name.get(str((record.get("attributes") or {}).get("type")))
            if resource is None:
                raise errors.UpstreamMalformed(detail="a record of an object that was not asked for")
            counts[resource] += 1
            if counts[resource] > scopes[resource].limit(limit):
                more = True
                continue
            fields = {name: scopes[resource].fields[name] for name in wanted[resource]}
            results.append({"resource": resource, "record": only(record, fields)})
        kept = fitting(results, most_bytes)
        return {"results": results[:kept], "more": more or kept < len(results)}


def _escaped(text: str) -> str:
    r"""Return words as SOSL takes them: every reserved character escaped, and AND, OR and NOT words like others."""
    words = (f'"{word}"' if word.lower() in _WORDS else _SPECIAL.sub(r"\\\1", word) for word in text.split())
    return " ".join(words)
