"""Every request of the connector, and every answer of our own service, against GitHub's published description.

The description is npm's `@octokit/openapi`: GitHub's own OpenAPI files, of github.com and of Enterprise Server.
`AAM_DESCRIPTIONS` names the `node_modules` that have it.
"""

import json
import os
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import jsonschema_rs
import pytest

from tests.connectors.test_github import SITE, Account, account, everything
from tests.support.github import Exchange

pytestmark = pytest.mark.slow

__all__ = ["account"]  # a fixture

DESCRIPTIONS = ("api.github.com.json", "ghes-3.19.json")


@pytest.fixture(scope="module")
def package() -> Path:
    """Find GitHub's descriptions."""
    installed = os.environ.get("AAM_DESCRIPTIONS")
    if installed is None:
        missing = "AAM_DESCRIPTIONS names no node_modules with npm's @octokit/openapi"
        if os.environ.get("AAM_CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    return Path(installed) / "@octokit/openapi/generated"


class Described:
    """One description, against which exchanges are checked."""

    def __init__(self, file: Path) -> None:
        self.whole = json.loads(file.read_text())
        self._validators: dict[int, Any] = {}
        self._paths = [(_pattern(path), path) for path in self.whole["paths"]]
        self.used: set[tuple[str, str]] = set()

    def check(self, exchange: Exchange, base: str = "") -> None:
        """Fail where a request or its answer is not as described."""
        path = exchange.path.removeprefix(base)
        # Of several that match, the one with the fewest places is meant: /issues/comments/1 before /issues/{number}
        found = [one for pattern, one in self._paths if pattern.fullmatch(path)]
        found = [one for one in found if exchange.method.lower() in self.whole["paths"][one]]
        assert found, f"{exchange.method} {path} is not described"
        name = min(found, key=lambda one: (one.count("{"), len(one)))
        operation = self.whole["paths"][name][exchange.method.lower()]
        self.used.add((exchange.method, name))
        self._check_request(exchange, operation, name, path)
        described = self._resolved(operation["responses"].get(str(exchange.status)))
        assert described is not None, f"{exchange.method} {name} answers no {exchange.status}"
        content = described.get("content", {})
        kind = content.get("application/json") or next(iter(content.values()), None)
        if kind is not None:
            self._valid(kind["schema"], _public(exchange.answer), f"the answer of {exchange.method} {name}")

    def _check_request(self, exchange: Exchange, operation: Mapping[str, Any], name: str, path: str) -> None:
        parameters = [self._resolved(one) for one in operation.get("parameters", ())]
        known = {one["name"]: one for one in parameters if one["in"] == "query"}
        assert exchange.query.keys() <= known.keys(), f"{name} takes no {exchange.query.keys() - known.keys()}"
        for one, text in exchange.query.items():
            self._valid(known[one]["schema"], _typed(text, known[one]["schema"]), f"{one} of {name}")
        values = _pattern(name).fullmatch(path)
        assert values is not None
        places = list(re.findall(r"\{(\w+)\}", name))
        for one in parameters:
            if one["in"] == "path":
                value = unquote(values[places.index(one["name"]) + 1] or "")
                self._valid(one["schema"], _typed(value, one["schema"]), f"{one['name']} of {name}")
        described = operation.get("requestBody")
        if described is None:
            assert exchange.body is None
        elif exchange.body is not None:
            schema = described["content"]["application/json"]["schema"]
            self._valid(schema, exchange.body, f"the body of {name}")
            assert exchange.body.keys() <= self._members(schema), f"{name} takes no {exchange.body.keys()}"

    def _members(self, schema: Any) -> set[str]:
        schema = self._resolved(schema)
        found = set(schema.get("properties", ()))
        for part in ("allOf", "oneOf", "anyOf"):
            for one in schema.get(part, ()):
                found |= self._members(one)
        return found

    def _resolved(self, node: Any) -> Any:
        while isinstance(node, Mapping) and "$ref" in node:
            found: Any = self.whole
            for part in node["$ref"].removeprefix("#/").split("/"):
                found = found[part]
            node = found
        return node

    def _valid(self, schema: Any, value: Any, what: str) -> None:
        if id(schema) not in self._validators:
            self._validators[id(schema)] = jsonschema_rs.Draft4Validator(self._alone(schema))
        found = self._validators[id(schema)].iter_errors(value)
        errors = [f"{'/'.join(map(str, one.instance_path))}: {one.message[:200]}" for one in found]
        assert not errors, f"{what}: {errors[:5]}"

    def _alone(self, schema: Any) -> Any:
        """Return a schema with all that it refers to, and nothing of the rest."""
        known: dict[str, Any] = {}
        waiting = [schema]
        while waiting:
            for reference in re.findall(r'"\$ref": "(#/components/schemas/[^"]+)"', json.dumps(waiting.pop())):
                name = reference.rpartition("/")[2]
                if name not in known:
                    known[name] = self.whole["components"]["schemas"][name]
                    waiting.append(known[name])
        return _json_schema({**schema, "components": {"schemas": known}})


def _pattern(path: str) -> re.Pattern[str]:
    """Return what matches a path; GitHub's `path` and `ref` may have slashes."""
    root = path.endswith("/contents/{path}")  # "if you omit the path, you get the root": docs.github.com
    parts = re.split(r"(\{\w+\})", path.removesuffix("/{path}") if root else path)
    text = "".join("(.+)" if one == "{ref}" else "([^/]+)" if one[:1] == "{" else re.escape(one) for one in parts)
    return re.compile(text + "(?:/(.+))?" if root else text)


def _json_schema(node: Any) -> Any:
    """Return OpenAPI 3.0's schema as JSON Schema: `nullable` as a type, `oneOf` as `anyOf`, as they overlap."""
    if isinstance(node, list):
        return [_json_schema(one) for one in node]
    if not isinstance(node, dict):
        return node
    left_out = {"nullable", "example", "examples"}
    made = {
        "anyOf" if name == "oneOf" else name: _json_schema(member)
        for name, member in node.items()
        if name not in left_out
    }
    if node.get("nullable") is True:
        return {"anyOf": [made, {"type": "null"}]}
    return made


def _typed(text: str, schema: Mapping[str, Any]) -> Any:
    kinds = [schema.get("type"), *(one.get("type") for one in schema.get("oneOf", ()))]
    if "integer" in kinds and text.isdecimal():
        return int(text)
    return {"true": True, "false": False}.get(text, text) if "boolean" in kinds else text


def _public(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _public(member) for name, member in value.items() if not name.startswith("_") or name == "_links"}
    return [_public(one) for one in value] if isinstance(value, list) else value


@pytest.mark.parametrize("name", DESCRIPTIONS)
def test_every_exchange_is_as_github_describes_it(package: Path, account: Account, name: str) -> None:
    """Issue 6: say what was verified against what. Every tool is used; what is refused is described too."""
    described = Described(package / name)
    everything(account)
    for refused in (
        partial(account.refused, "issues_read", repository=SITE, number=99),
        partial(account.refused, "issues_create", repository=SITE, title=" "),
        partial(account.refused, "contents_update", repository=SITE, path="a", content="", message="x", sha="0" * 40),
        partial(account.refused, "pulls_create", repository=SITE, title="x", head="nowhere", base="main"),
        partial(account.refused, "pulls_merge", repository=SITE, number=6, sha="0" * 40),
    ):
        refused()

    for exchange in account.service.exchanges:
        if name.startswith("ghes") and exchange.path == "/rate_limit":
            continue
        described.check(exchange)

    assert len(described.used) >= 25
    assert {exchange.status for exchange in account.service.exchanges} >= {200, 201, 404, 409, 422}


def test_what_is_not_described_is_found_out(package: Path, account: Account) -> None:
    """A test that cannot fail is a defect."""
    described = Described(package / DESCRIPTIONS[0])
    account.call("issues_create", repository=SITE, title="x")
    good = account.service.exchanges[-1]
    described.check(good)

    for change in (
        {"path": "/repos/a/b/isues"},
        {"query": {"pages": "1"}},
        {"body": {"titel": "x"}},
        {"body": {"title": "x", "labels": 1}},
        {"status": 206},
        {"answer": {"number": 1}},
        {"method": "PUT"},
    ):
        with pytest.raises(AssertionError):
            described.check(Exchange(**{**{one: getattr(good, one) for one in Exchange.__slots__}, **change}))
