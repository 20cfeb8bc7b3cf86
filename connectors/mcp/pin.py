"""What a server says of itself, fetched to be pinned: its tools, prompts, resources and templates, in a fixed order."""

from collections.abc import Iterator, Mapping
from typing import Any

from broker.connector import ConnectorDocument, Session, errors
from connectors.mcp.messages import MODERN, Message, RpcError, refusal_of
from connectors.mcp.settings import McpSettings, settings_of
from connectors.mcp.upstream import Upstream, connected

Pin = Mapping[str, Any]

LISTS = {
    "tools": ("tools/list", "tools", "name"),
    "prompts": ("prompts/list", "prompts", "name"),
    "resources": ("resources/list", "resources", "uri"),
    "templates": ("resources/templates/list", "resourceTemplates", "uriTemplate"),
}
_CAPABILITY = {"templates": "resources"}
_CAPABILITIES = ("completions", "logging", "resources")
_KEPT = (
    *("name", "title", "description", "inputSchema", "outputSchema", "annotations", "icons"),
    *("arguments", "uri", "uriTemplate", "mimeType"),
)
_MOST = 5000  # of one kind
_MOST_PAGES = 200


async def describe(session: Session, document: ConnectorDocument) -> Any:
    """Fetch everything that a server says of itself, in every era that it speaks."""
    settings = settings_of(document)
    pin: dict[str, Any] | None = None
    versions: list[str] = []
    refused: errors.Refusal | None = None
    for modern in _eras(document, settings):
        try:
            found = await _described(session, document, settings, modern=modern)
        except RpcError as error:
            refused = refusal_of(error)
        except (errors.UpstreamRejected, errors.UpstreamMalformed, errors.UpstreamNotFound) as refusal:
            refused = refusal  # it may speak the other era
        else:
            versions.append(found.pop("version"))
            pin = pin or found
    if pin is None:
        raise refused or errors.UpstreamMalformed(detail="the server speaks no version of MCP that is known here")
    return {**pin, "versions": sorted(versions)}


async def probe(session: Session, document: ConnectorDocument) -> str:
    """Connect, and say what the server calls itself."""
    settings = settings_of(document)
    refused: errors.Refusal = errors.UpstreamMalformed(detail="the server speaks no version of MCP that is known here")
    for modern in _eras(document, settings):
        try:
            async with connected(session, document, settings, modern=modern) as upstream:
                await _introduced(upstream)
                return _server(upstream.said)["name"] or "an MCP server"
        except RpcError as error:
            refused = refusal_of(error)
        except (errors.UpstreamRejected, errors.UpstreamMalformed) as refusal:
            refused = refusal
    raise refused


def _eras(document: ConnectorDocument, settings: McpSettings) -> tuple[bool, ...]:
    return (True, False) if document.process is None and settings.transport == "streamable-http" else (False,)


async def _introduced(upstream: Upstream) -> None:
    if upstream.modern and not upstream.said:
        upstream.said = await upstream.request("server/discover", {})


async def _described(
    session: Session, document: ConnectorDocument, settings: McpSettings, *, modern: bool
) -> dict[str, Any]:
    async with connected(session, document, settings, modern=modern) as upstream:
        await _introduced(upstream)
        capabilities = upstream.said.get("capabilities")
        capabilities = capabilities if isinstance(capabilities, dict) else {}
        return {
            "version": MODERN if upstream.modern else str(upstream.said.get("protocolVersion")),
            "server": _server(upstream.said),
            "capabilities": sorted({*capabilities} & {*_CAPABILITIES}) + _subscribes(capabilities),
            **{
                kind: await listed(upstream, kind) if _CAPABILITY.get(kind, kind) in capabilities else []
                for kind in LISTS
            },
        }


def _subscribes(capabilities: Message) -> list[str]:
    resources = capabilities.get("resources")
    return ["subscribe"] if isinstance(resources, dict) and resources.get("subscribe") is True else []


def _server(said: Message) -> dict[str, str]:
    """Return what a server calls itself; of the 2026-07-28 era it says so beside each result."""
    meta = said.get("_meta")
    info = said.get("serverInfo") or (
        meta.get("io.modelcontextprotocol/serverInfo") if isinstance(meta, dict) else None
    )
    info = info if isinstance(info, dict) else {}
    return {name: str(info.get(name, ""))[:200] for name in ("name", "version")}


async def listed(upstream: Upstream, kind: str) -> list[Message]:
    """Return all definitions of one kind, by name, with what is pinned of each."""
    method, member, key = LISTS[kind]
    found: dict[str, Message] = {}
    cursor: str | None = None
    for _ in range(_MOST_PAGES):
        page = await upstream.request(method, {} if cursor is None else {"cursor": cursor})
        for one in _members(page, member, key):
            found.setdefault(one[key], {name: one[name] for name in _KEPT if one.get(name) is not None})
        following = page.get("nextCursor")
        if len(found) > _MOST:
            raise errors.UpstreamTooLarge(detail=f"the server lists over {_MOST} {kind}")
        if following is None:
            return [found[name] for name in sorted(found)]
        if not isinstance(following, str) or following == cursor:
            break
        cursor = following
    raise errors.UpstreamMalformed(detail=f"the list of {kind} never ends")


def _members(page: Message, member: str, key: str) -> Iterator[Message]:
    members = page.get(member)
    if not isinstance(members, list):
        raise errors.UpstreamMalformed(detail=f"a list without {member}")
    for one in members:
        if not isinstance(one, dict) or not isinstance(one.get(key), str):
            raise errors.UpstreamMalformed(detail=f"one of {member} has no {key}")
        yield one
