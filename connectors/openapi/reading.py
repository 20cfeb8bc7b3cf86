"""One operation of a description, in the terms of the snapshot: parameters, body, answer and scopes."""

import itertools
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from connectors.openapi.description import Described, Description, listed, mapping, word
from connectors.openapi.exploding import closed, declared, is_exploded
from connectors.openapi.schemas import Schemas
from connectors.openapi.security import credentials_of
from connectors.openapi.settings import may_be_set

_JSON = re.compile(r"application/(json|[\w.+-]+\+json)(;.*)?|\*/\*", re.IGNORECASE)
_FORM = "application/x-www-form-urlencoded"
_MEDIA_TYPE = re.compile(r"[\w.+*-]{1,100}/[\w.+*-]{1,100}(; ?[\w-]{1,20}=[\w.-]{1,40})?")
_NO_NAME = re.compile(r"[^A-Za-z0-9_-]+")
_STYLES = {"path": "simple", "query": "form", "header": "simple", "cookie": "form"}
_ALLOWED = {
    "path": {"simple", "label", "matrix"},
    "query": {"form", "spaceDelimited", "pipeDelimited", "deepObject"},
    "header": {"simple"},
    "cookie": {"form"},
}
_COLLECTIONS = {"ssv": "spaceDelimited", "pipes": "pipeDelimited"}  # Swagger 2.0
_IGNORED = frozenset({"accept", "content-type", "authorization"})  # OpenAPI 3.1 §4.8.12.1
_CONDITIONS = frozenset({"if-none-match", "if-modified-since", "if-range", "range"})  # of caches: agents have none


class Unusable(ValueError):  # noqa: N818 - it is a finding
    """The operation cannot be offered; the words say why."""


class Reader:
    """Reads the operations of one description."""

    def __init__(self, description: Description, schemas: Schemas, fixed: Collection[str] = ()) -> None:
        headers = _IGNORED | {name.lower() for name in fixed}
        self._fixed = credentials_of(description) | {("header", name) for name in headers}
        """What is no argument: credentials, headers that the specification ignores, those that the document sets."""
        self._description = description
        self._schemas = schemas

    # --- What is sent ------------------------------------------------------------------------------------------------

    def parameters(self, described: Described) -> tuple[list[dict[str, Any]], list[Mapping[str, Any]]]:
        """Return the parameters, pinned, and what Swagger 2.0 counts among them: the parts of a body."""
        found: list[dict[str, Any]] = []
        of_body: list[Mapping[str, Any]] = []
        taken: set[str] = {"body", "limit", "cursor", "distinct"}
        stated = list(self._stated(described))
        beside = {(str(one.get("in")), str(one.get("name")).lower()) for one in stated} | self._fixed
        for node in stated:
            place, name = word(node.get("in")), node.get("name")
            if (str(place), str(name).lower()) in self._fixed:
                continue
            if place in {"body", "formData"}:
                of_body.append(node)
            elif isinstance(name, str) and place in _STYLES and self._offered(place, name):
                found.append(self._parameter(node, name, str(place), taken, beside))
            elif node.get("required") is True:
                raise Unusable(f"it needs {name!r} in {place!r}, which is nothing that an agent may set")
        self._check_path(described, found)
        return found, of_body

    def _stated(self, described: Described) -> Iterator[Mapping[str, Any]]:
        """Yield what the operation states, and what its path does for all of its operations."""
        own: dict[tuple[Any, Any], Mapping[str, Any]] = {}
        for node in (*listed(described.shared.get("parameters")), *listed(described.node.get("parameters"))):
            stated = self._description.resolved(node)
            if stated is None:
                raise Unusable("a parameter is described elsewhere")
            own[word(stated.get("in")), word(stated.get("name"))] = stated
        yield from own.values()

    def _offered(self, place: Any, name: str) -> bool:
        if place == "header":
            return may_be_set(name) and name.lower() not in _CONDITIONS
        if place == "cookie":
            return _NO_NAME.search(name) is None
        return bool(name) and len(name) <= 200 and name.isprintable()  # noqa: PLR2004 - no real name is so long

    def _parameter(
        self, node: Mapping[str, Any], name: str, place: str, taken: set[str], beside: set[tuple[str, str]]
    ) -> dict[str, Any]:
        style, explode, schema = self._written(node, place)
        of = self._schemas.of_argument(schema)
        if isinstance(node.get("description"), str) and "description" not in of and "$ref" not in of:
            of |= {"description": " ".join(node["description"].split())[:300]}
        members = declared(self._description, schema) if is_exploded(style, explode=explode) else None
        own = [one for one in sorted(members or ()) if one == name or (place, one.lower()) not in beside]
        beside |= {(place, one.lower()) for one in own}  # nor may two objects have the same
        return {
            "name": name,
            "argument": _argument(name, place, taken),
            "place": place,
            "style": style,
            "explode": explode,
            "reserved": node.get("allowReserved") is True,
            "required": place == "path" or node.get("required") is True,
            **({} if members is None else {"members": own}),
            "schema": of if members is None else closed(of, own),
        }

    def _written(self, node: Mapping[str, Any], place: str) -> tuple[str, bool, Any]:
        """Return how a parameter is written, and its schema."""
        if self._description.swagger:
            how = word(node.get("collectionFormat"))
            if how == "tsv":
                raise Unusable("a parameter is separated by tabs")
            return _COLLECTIONS.get(how, _STYLES[place]), how == "multi", node
        content = mapping(node.get("content"))
        if content:
            if not _JSON.fullmatch(str(next(iter(content)))):
                raise Unusable(f"a parameter is written as {next(iter(content))!r}")
            return "json", False, mapping(next(iter(content.values()))).get("schema")
        style = word(node.get("style", _STYLES[place]))
        if style not in _ALLOWED[place]:
            raise Unusable(f"a parameter in {place!r} has the style {style!r}")
        explode = node.get("explode", style == "form")
        return style, explode is True, node.get("schema")

    @staticmethod
    def _check_path(described: Described, parameters: list[dict[str, Any]]) -> None:
        named = set(re.findall(r"\{([^{}]*)\}", described.path))
        given = {one["name"] for one in parameters if one["place"] == "path"}
        if named != given or re.sub(r"\{[^{}]*\}", "", described.path).strip("{}") != re.sub(
            r"\{[^{}]*\}", "", described.path
        ):
            raise Unusable("the path and its parameters do not match")

    def body(self, described: Described, of_body: list[Mapping[str, Any]]) -> dict[str, Any] | None:
        """Return the body, pinned; None where there is none."""
        if self._description.swagger:
            return self._swagger_body(described, of_body)
        if "requestBody" not in described.node:
            return None
        node = self._description.resolved(described.node["requestBody"])
        if node is None:
            raise Unusable("its body is described elsewhere")
        content = {name: one for name, one in mapping(node.get("content")).items() if _MEDIA_TYPE.fullmatch(name)}
        required = node.get("required") is True
        for kind, media_type in _preferred(content):
            media = mapping(content.get(media_type, content.get("*/*")))
            deep = [
                name
                for name, one in mapping(media.get("encoding")).items()
                if mapping(one).get("style") == "deepObject"
            ]
            return _body(kind, media_type, self._schemas.of_argument(media.get("schema")), required, deep)
        if required:
            raise Unusable(f"its body is {' or '.join(sorted(content)) or 'not described'}")
        return None

    def _swagger_body(self, described: Described, parts: list[Mapping[str, Any]]) -> dict[str, Any] | None:
        if not parts:
            return None
        consumes = listed(described.node.get("consumes")) or listed(self._description.root.get("consumes"))
        names: dict[str, Any] = {one: {} for one in consumes if isinstance(one, str) and _MEDIA_TYPE.fullmatch(one)}
        whole = next((one for one in parts if one.get("in") == "body"), None)
        if whole is not None:
            kind, media_type = next(_preferred(names), ("json", "application/json"))
            schema = self._schemas.of_argument(whole.get("schema"))
            return _body(kind, media_type, schema, whole.get("required") is True, [])
        if any(one.get("type") == "file" for one in parts) or (names and _FORM not in names):
            raise Unusable("its body holds files")
        members = {str(one.get("name")): self._schemas.of_argument(one) for one in parts}
        needed = sorted(str(one.get("name")) for one in parts if one.get("required") is True)
        schema = {"type": "object", "properties": members, **({"required": needed} if needed else {})}
        return _body("form", _FORM, schema, bool(needed), [])

    # --- What comes back ---------------------------------------------------------------------------------------------

    def answer(self, described: Described) -> tuple[str | None, Any]:
        """Return the media type of the answer, and its schema as described; None where it has no content."""
        # YAML's statuses are numbers
        responses = {str(status): node for status, node in mapping(described.node.get("responses")).items()}
        for status in sorted(name for name in responses if re.fullmatch(r"2\d\d|2XX", name)):
            node = self._description.resolved(responses[status])
            if node is None:
                raise Unusable("its answer is described elsewhere")
            if self._description.swagger:
                if "schema" in node:
                    return None, node["schema"]
                continue
            content = mapping(node.get("content"))
            for media_type, media in content.items():
                if _JSON.fullmatch(str(media_type)):
                    return str(media_type), mapping(media).get("schema")
            if content and not any(str(one).startswith("text/") for one in content):
                raise Unusable(f"its answer is {' or '.join(sorted(map(str, content)))[:200]}")
        return None, None


def _preferred(content: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the media types that can be written, the one to be used first."""
    exact = [name for name in content if name.lower().startswith("application/json")]
    for name in exact or [name for name in content if _JSON.fullmatch(name) and name != "*/*"]:
        yield "json", name
    if _FORM in content:
        yield "form", _FORM
    if "*/*" in content:
        yield "json", "application/json"
    if "text/plain" in content:
        yield "text", "text/plain"


def _body(kind: str, media_type: str, schema: dict[str, Any], required: bool, deep: list[str]) -> dict[str, Any]:  # noqa: FBT001
    return {"kind": kind, "media_type": media_type, "schema": schema, "required": required, "deep": sorted(deep)}


def _argument(name: str, place: str, taken: set[str]) -> str:
    """Return a name for an argument that clients take and that is nobody else's."""
    plain = _NO_NAME.sub("_", name).strip("_")[:50] or "_"
    numbered = (f"{plain}_{number}" for number in itertools.count(2))
    wanted = next(one for one in itertools.chain((plain, f"{plain}_{place}"), numbered) if one not in taken)
    taken.add(wanted)
    return wanted
