"""How a service wants to know who calls: the kinds of grants that its description speaks of, and each tool's scopes."""

from typing import Any

from connectors.openapi.description import Described, Description, listed, mapping, word

_FLOWS = {  # those of OpenAPI 3 and of Swagger 2.0
    "authorizationCode": "authorization-code",
    "accessCode": "authorization-code",
    "clientCredentials": "client-credentials",
    "application": "client-credentials",
}


def security_of(description: Description) -> dict[str, Any]:
    """Return what the description says of credentials, in the words of a Connector document."""
    found: dict[str, Any] = {"kinds": [], "not_supported": []}
    for name, node in sorted(_schemes(description).items()):
        scheme = mapping(description.resolved(node))
        for kind, facts in _kinds(scheme) or [("", {})]:
            if not kind:
                found["not_supported"].append(f"{name}: {scheme.get('type')} in {scheme.get('in', 'a way of its own')}")
            elif kind not in found["kinds"]:
                found["kinds"].append(kind)
            for key, value in facts.items():
                found.setdefault(key, value)
    return found


def credentials_of(description: Description) -> frozenset[tuple[str, str]]:
    """Return place and name, in lower case, of each parameter that is a credential: none of them is an argument."""
    schemes = (mapping(description.resolved(node)) for node in _schemes(description).values())
    keys = ((str(one.get("in")), str(one.get("name")).lower()) for one in schemes if one.get("type") == "apiKey")
    return frozenset(keys)


def scopes_of(description: Description, described: Described) -> list[str]:
    """Return the scopes that an operation needs: of several ways to be authorised, the one that needs the fewest."""
    stated = described.node.get("security", description.root.get("security"))
    schemes = _schemes(description)
    ways = []
    for way in listed(stated):
        of_oauth = [
            scope
            for name, scopes in mapping(way).items()
            if mapping(description.resolved(schemes.get(name))).get("type") in ("oauth2", "openIdConnect")
            for scope in listed(scopes)
            if isinstance(scope, str) and _is_scope(scope)
        ]
        ways.append(sorted(set(of_oauth)))
    return min(ways, key=len, default=[])


def _schemes(description: Description) -> Any:
    if description.swagger:
        return mapping(description.root.get("securityDefinitions"))
    return mapping(mapping(description.root.get("components")).get("securitySchemes"))


def _kinds(scheme: Any) -> list[tuple[str, dict[str, Any]]]:
    kind, place = word(scheme.get("type")), word(scheme.get("in"))
    how = "basic" if kind == "basic" else str(scheme.get("scheme", "")).lower()
    if kind == "apiKey" and place == "header":
        return [("api-key", {"api_key_header": str(scheme.get("name"))[:64]})]
    if kind in {"http", "basic"} and how == "basic":
        return [("basic", {})]
    if kind == "http" and how == "bearer":
        return [("api-key", {"api_key_header": "Authorization", "api_key_prefix": "Bearer "})]
    if kind == "openIdConnect":
        return [("authorization-code", {})]
    if kind == "oauth2":
        flows = scheme.get("flows") or {word(scheme.get("flow")): scheme}
        return [(_FLOWS[name], _endpoints(mapping(flow))) for name, flow in mapping(flows).items() if name in _FLOWS]
    return []


def _endpoints(flow: Any) -> dict[str, str]:
    names = {"token_endpoint": "tokenUrl", "authorization_endpoint": "authorizationUrl"}
    return {ours: flow[theirs][:500] for ours, theirs in names.items() if isinstance(flow.get(theirs), str)}


def _is_scope(scope: str) -> bool:
    return 0 < len(scope) <= 200 and all("\x21" <= one <= "\x7e" and one not in '"\\' for one in scope)  # noqa: PLR2004
