"""Descriptions of every version, as their authors write them: what is pinned of them, and what requests come of it."""

from typing import Any

import pytest

from broker.connector import ConnectorDocument
from broker.errors import InvalidArguments
from connectors.openapi import CONNECTOR
from connectors.openapi.description import Description, read_description
from connectors.openapi.encoding import prepare
from connectors.openapi.pinning import pin
from connectors.openapi.settings import Settings
from connectors.openapi.snapshot import Snapshot, read_snapshot

SWAGGER = """
swagger: "2.0"
info: {title: Old, version: "1"}
host: old.example
basePath: /api
consumes: [application/json]
securityDefinitions:
  basic: {type: basic}
  key: {type: apiKey, in: query, name: key}
  login: {type: oauth2, flow: accessCode, authorizationUrl: "https://l.example/a", tokenUrl: "https://l.example/t"}
paths:
  /pets:
    get:
      security: [{login: [pets.read]}]
      parameters:
        - {name: tags, in: query, type: array, items: {type: string}, collectionFormat: multi}
        - {name: ids, in: query, type: array, items: {type: integer}, collectionFormat: pipes}
        - {name: names, in: query, type: array, items: {type: string}}
        - {$ref: "#/parameters/Limit"}
      responses: {200: {description: pets, schema: {type: array, items: {$ref: "#/definitions/Pet"}}}}
    post:
      parameters: [{name: pet, in: body, required: true, schema: {$ref: "#/definitions/Pet"}}]
      responses: {201: {$ref: "#/responses/Made"}}
  /pets/{id}:
    get:
      parameters: [{name: id, in: path, required: true, type: integer}]
      responses: {200: {description: pet, schema: {$ref: "#/definitions/Pet"}}}
    post:
      consumes: [application/x-www-form-urlencoded]
      parameters:
        - {name: id, in: path, required: true, type: integer}
        - {name: name, in: formData, type: string, required: true}
      responses: {default: {description: none}}
  /pets/{id}/photo:
    post:
      parameters: [{name: id, in: path, required: true, type: integer}, {name: photo, in: formData, type: file}]
      responses: {200: {description: none}}
definitions:
  Pet:
    type: object
    required: [name]
    properties: {name: {type: string}, age: {type: integer, x-nullable: true}, secret: {type: string}}
parameters:
  Limit: {name: limit, in: query, type: integer, maximum: 30}
responses:
  Made: {description: made, schema: {$ref: "#/definitions/Pet"}}
"""


def pinned(description: Description, resources: Any = None, **settings: Any) -> Snapshot:
    """Pin what is below /pets, and read it as it would be read from its file."""
    found = pin(description, resources or {"pets": "/pets"}, Settings.model_validate(settings))
    return read_snapshot(found)


def one(operation: Any, path: str = "/pets", method: str = "get", **root: Any) -> Description:
    """Describe one operation."""
    responses = {"200": {"description": ""}}
    return Description(
        {"openapi": "3.1.0", "info": {"title": "T"}, "paths": {path: {method: {"responses": responses, **operation}}}}
        | root
    )


def answering(schema: Any, headers: Any = None) -> dict[str, Any]:
    """Return what an operation answers."""
    content = {"application/json": {"schema": schema}}
    return {"200": {"description": "", "content": content, "headers": headers or {}}}


def test_a_swagger_description_in_yaml_is_pinned() -> None:
    """Issue 6, openapi: Swagger 2.0; YAML; collection formats, bodies, forms, shared parameters and responses."""
    snapshot = pinned(read_description(SWAGGER.encode()))
    actions = snapshot.resources["pets"]

    search = prepare(actions["search"], {"tags": ["a", "b"], "ids": [1, 2], "names": ["c", "d"]}, frozenset())
    changed = prepare(actions["update"], {"id": 7, "body": {"name": "x"}}, frozenset())

    assert snapshot.place == "/api"
    assert search.query == ["tags=a", "tags=b", "ids=1%7C2", "names=c,d"]
    assert (changed.path, changed.body) == ("/pets/7", b"name=x")
    assert actions["search"].scopes == ["pets.read"]
    assert (actions["search"].records, actions["create"].records) == ("", "")
    assert snapshot.left_out == {"POST /pets/{id}/photo": "its body holds files"}


def test_the_snapshot_says_which_grants_the_service_takes() -> None:
    """Issue 6, openapi: security schemes to kinds of grants, in the words of a Connector document."""
    security = pinned(read_description(SWAGGER.encode())).security

    assert security.kinds == ["basic", "authorization-code"]
    assert (security.token_endpoint, security.authorization_endpoint) == ("https://l.example/t", "https://l.example/a")
    assert security.not_supported == ["key: apiKey in query"]


@pytest.mark.parametrize(
    ("scheme", "kinds", "facts"),
    [
        (
            {"type": "http", "scheme": "bearer"},
            ["api-key"],
            {"api_key_header": "Authorization", "api_key_prefix": "Bearer "},
        ),
        ({"type": "http", "scheme": "Basic"}, ["basic"], {}),
        ({"type": "apiKey", "in": "header", "name": "X-Key"}, ["api-key"], {"api_key_header": "X-Key"}),
        ({"type": "apiKey", "in": "cookie", "name": "sid"}, [], {}),
        ({"type": "mutualTLS"}, [], {}),
        (
            {"type": "oauth2", "flows": {"clientCredentials": {"tokenUrl": "https://t.example"}}},
            ["client-credentials"],
            {"token_endpoint": "https://t.example"},
        ),
    ],
)
def test_a_security_scheme_is_a_kind_of_grant_or_said_not_to_be(scheme: Any, kinds: list[str], facts: Any) -> None:
    """What the vault has no kind for is named under `not_supported`."""
    security = pinned(one({}, components={"securitySchemes": {"s": scheme}})).security

    assert security.kinds == kinds
    assert {name: getattr(security, name) for name in facts} == facts
    assert bool(security.not_supported) == (not kinds)


@pytest.mark.parametrize(
    ("security", "scopes"),
    [
        ([{"o": ["a", "b"]}, {"o": ["c"]}], ["c"]),
        ([{"o": ["a"], "k": []}], ["a"]),
        ([{"o": ["a"]}, {}], []),
        ([{"k": ["role"]}], []),
        (None, ["root"]),
        ([], []),
    ],
)
def test_scopes_are_those_of_the_way_that_needs_the_fewest(security: Any, scopes: list[str]) -> None:
    """Issue 6, openapi: scopes per operation become the tool's; the operation's own word counts before the whole's."""
    schemes = {"o": {"type": "oauth2", "flows": {}}, "k": {"type": "apiKey", "in": "header", "name": "K"}}
    operation = {} if security is None else {"security": security}
    root: dict[str, Any] = {"components": {"securitySchemes": schemes}, "security": [{"o": ["root"]}]}

    assert pinned(one(operation, **root)).resources["pets"]["read"].scopes == scopes


@pytest.mark.parametrize(
    ("servers", "url", "path"),
    [
        ([{"url": "https://x.example/v2"}], "https://a.example", "/v2/pets"),
        ([{"url": "/v2/"}], "https://a.example/", "/v2/pets"),
        ([{"url": "https://x.example/v2"}], "https://a.example/proxy/v2", "/pets"),
        ([{"url": "https://x.example/{v}", "variables": {"v": {"default": "v3"}}}], "https://a.example", "/v3/pets"),
        ([{"url": "https://x.example/{unknown}"}], "https://a.example", "/pets"),
        ([], "https://a.example", "/pets"),
    ],
)
def test_paths_are_below_the_documents_url_or_else_the_descriptions_path(servers: Any, url: str, path: str) -> None:
    """The document's URL has the last word; a description's server adds its path where the URL has none."""
    document = ConnectorDocument.model_validate(
        {"type": "openapi", "url": url, "resources": {"pets": "/pets"}, "snapshot": "p.json"}
    )
    (tool,) = CONNECTOR.tools(document, one({}, servers=servers).root)

    assert tool.run is not None
    assert tool.run.__self__.operation.path == path  # type: ignore[attr-defined]


LIST = {"type": "array", "items": {"type": "object", "properties": {"id": {}}}}


@pytest.mark.parametrize(
    ("parameters", "schema", "headers", "expected"),
    [
        (["page", "per_page"], LIST, {"Link": {}}, ("link", None, "per_page")),
        (["page", "per_page"], LIST, {}, ("page", "page", "per_page")),
        (["offset", "limit"], LIST, {}, ("offset", "offset", "limit")),
        (["$skip", "$top"], LIST, {}, ("offset", "$skip", "$top")),
        (["pageToken", "pageSize"], {"items": LIST, "nextPageToken": {}}, {}, ("token", "pageToken", "pageSize")),
        (["cursor"], {"data": LIST, "meta": {"properties": {"next_cursor": {}}}}, {}, ("token", "cursor", None)),
        (
            ["continue", "limit"],
            {"items": LIST, "metadata": {"properties": {"continue": {}}}},
            {},
            ("token", "continue", "limit"),
        ),
        (["starting_after", "limit"], {"data": LIST, "has_more": {}}, {}, ("last", "starting_after", "limit")),
        (["_token", "_limit"], {"data": LIST}, {}, ("link", None, "_limit")),
        ([], {"results": LIST, "next": {}}, {}, ("link", None, None)),
        ([], {"value": LIST, "@odata.nextLink": {}}, {}, ("link", None, None)),
        (["filter"], LIST, {}, None),
    ],
)
def test_how_a_list_goes_on_is_told_from_names(parameters: Any, schema: Any, headers: Any, expected: Any) -> None:
    """Issue 6, openapi: Link header, cursor or next token, page or offset, detected."""
    answer = schema if schema.get("type") == "array" else {"type": "object", "properties": schema}
    stated = [{"name": name, "in": "query", "schema": {"type": "string"}} for name in parameters]

    operation = pinned(one({"parameters": stated, "responses": answering(answer, headers)})).resources["pets"]["search"]

    pages = operation.pages
    assert (None if pages is None else (pages.by, pages.parameter, pages.size)) == expected
    assert [parameter.name for parameter in operation.parameters] == (parameters if expected is None else [])


def test_the_document_says_how_lists_go_on_where_nothing_tells() -> None:
    """`settings.pages`, and for one operation."""
    stated: list[dict[str, Any]] = [{"name": name, "in": "query", "schema": {}} for name in ("weiter", "page")]
    operation = one({"parameters": stated, "responses": answering({"type": "object", "properties": {"x": LIST}})})
    pages = {"by": "token", "parameter": "weiter", "found": "naechste"}

    for settings in ({"pages": pages}, {"operations": {"GET /pets": {"pages": pages, "records": "x"}}}):
        found = pinned(operation, **settings).resources["pets"]["search"]
        assert found.pages is not None
        assert (found.pages.by, found.pages.found) == ("token", "naechste")
        assert [parameter.name for parameter in found.parameters] == ["page"]


def test_a_free_object_leaves_only_where_the_document_says_so() -> None:
    """Absent means less: `type: object` and nothing more declares no members."""
    operation = one({"responses": answering({"type": "object", "properties": {"labels": {"type": "object"}}})})

    strict, free = (pinned(operation, free_form=free).resources["pets"]["read"].result for free in (False, True))

    assert strict == {"properties": {"labels": {}}}
    assert free == {"properties": {"labels": {"$ref": "#/$defs/any"}}}


def test_headers_that_the_document_sets_are_no_arguments() -> None:
    """`settings.headers`: an API version, sent with every call."""
    stated = [{"name": "X-Version", "in": "header", "required": True, "schema": {"type": "string"}}]

    assert pinned(one({"parameters": stated}), headers={"x-version": "2"}).resources["pets"]["read"].parameters == []


def test_arguments_of_one_name_in_two_places_are_two_arguments() -> None:
    """And none is called as what the broker adds."""
    stated = [
        {"name": "id", "in": "path", "required": True, "schema": {}},
        *({"name": name, "in": "query", "schema": {}} for name in ("id", "filter[name]", "body", "größe")),
    ]

    operation = pinned(one({"parameters": stated}, path="/pets/{id}")).resources["pets"]["read"]

    assert [parameter.argument for parameter in operation.parameters] == [
        *("id", "id_query", "filter_name", "body_query", "gr_e"),
    ]


@pytest.mark.parametrize(
    ("selector", "message"),
    [
        ("pets", "neither a path"),
        ("tags:x", "neither a path"),
        ("tag:", "neither a path"),
        ("FETCH /x", "neither a path"),
    ],
)
def test_a_selector_that_could_select_nothing_is_a_mistake(selector: str, message: str) -> None:
    """The document is told what could stand there."""
    with pytest.raises(ValueError, match=message):
        pinned(one({}), resources={"pets": selector})


def test_grants_from_a_token_endpoint_need_to_know_it() -> None:
    """`aam check` says so, and nobody waits for a call to find out."""
    document = ConnectorDocument.model_validate(
        {
            "type": "openapi",
            "url": "https://a.example",
            "resources": {"pets": "/pets"},
            "snapshot": "p.json",
            "grants": {"kinds": ["client-credentials"]},
        }
    )

    with pytest.raises(ValueError, match=r"oauth\.token_endpoint"):
        CONNECTOR.tools(document, None)


def test_before_anything_is_pinned_policies_can_name_the_usual_actions() -> None:
    """What is not pinned is not built; nothing can be called."""
    document = ConnectorDocument.model_validate(
        {"type": "openapi", "url": "https://a.example", "resources": {"pets": "/pets"}, "snapshot": "p.json"}
    )

    tools = CONNECTOR.tools(document, None)

    assert {tool.action for tool in tools} == {"search", "read", "create", "update", "delete"}
    assert all(tool.run is None for tool in tools)


def test_a_large_schema_is_cut_where_a_listing_would_suffer(reader: Any) -> None:
    """Measured: Kubernetes' deepest bodies are 100 kB; what is cut the service checks."""
    reader.library.description["components"]["schemas"]["Person"]["properties"] = {
        f"p{number}": {"type": "string", "maxLength": 5, "description": "x" * 200} for number in range(100)
    }

    schema = reader.tools["books_create"].tool.input_schema

    assert schema["$defs"]["Person"] == {"type": "object"}
    with pytest.raises(InvalidArguments):
        reader.tools["books_create"].check({"body": {"title": ""}})
