"""The routes of models: what answers for each, what it costs, how its targets fare; and a small call to try them."""

import json
import time
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from broker.audit import Record
from broker.connector import APIS, Api
from broker.doors.admin.operators import Operators
from broker.doors.models import permitted
from broker.errors import NotFound, ReasoningUnavailable, Refusal
from broker.models import (
    Route,
    Target,
    Wanted,
    body_of,
    failure_of,
    headers_of,
    model_of,
    read,
    said_of,
    written_for,
)

_OK = 200
_WORDS = "Answer with one word: yes."
_CAP = 16  # the least that every provider takes
_ASK: dict[Api, dict[str, Any]] = {
    "chat": {"messages": [{"role": "user", "content": _WORDS}], "max_tokens": _CAP},
    "responses": {"input": _WORDS, "max_output_tokens": _CAP},
    "messages": {"messages": [{"role": "user", "content": _WORDS}], "max_tokens": _CAP},
    "embeddings": {"input": _WORDS},
}


async def models(operators: Operators, request: Request, _actor: Record) -> Response:
    """List the routes; with `as`, those that an agent may use."""
    documents = operators.documents.current
    name = request.query_params.get("as")
    routes = [route for _, route in sorted(documents.routes.items())]
    if name is not None:
        agents = documents.registry.agents.values()
        workload = next((agent.workload for agent in agents if name in {agent.name, agent.workload}), None)
        if workload is None:
            raise NotFound(f"There is no agent {name!r}.")
        routes = list(permitted(documents, workload))
    return JSONResponse([_told(operators, route) for route in routes])


async def test_route(operators: Operators, request: Request, actor: Record) -> Response:
    """Make a small call to every target of a route: it costs what it costs, and stands in the trail."""
    route = operators.documents.current.routes.get(request.path_params["name"])
    if route is None:
        raise NotFound(f"There is no ModelRoute {request.path_params['name']!r}.")
    return JSONResponse([await _tried(operators, route, target, actor) for target in route.targets])


def _told(operators: Operators, route: Route) -> dict[str, Any]:
    return {
        "name": route.alias,
        "apis": [api for api in APIS if api in route.apis],
        "order": route.document.order,
        "max_output_tokens": route.document.max_output_tokens,
        "targets": [
            {
                "target": target.name,
                "region": target.part.region,
                "labels": list(target.part.labels),
                "price": operators.models.means.prices.told(target),
                "rests_seconds": round(operators.models.means.health.rests_for(target)),
            }
            for target in route.targets
        ],
    }


def _reasoning(wanted: Wanted, route: Route, target: Target, cap: int) -> Mapping[str, Any]:
    """Return what a target is told of reasoning, as in every call; nothing where so small a call has no room for it."""
    try:
        return written_for(wanted, route, target, cap).members
    except ReasoningUnavailable:
        return {}


async def _tried(operators: Operators, route: Route, target: Target, actor: Record) -> dict[str, Any]:
    """Return how a target has answered; its words, as an error's, stay here."""
    api = next(api for api in APIS if api in target.provider.paths)
    began = time.perf_counter()
    found: dict[str, Any] = {"target": target.name, "api": api, "works": False}
    try:
        async with operators.calling(operators.connection(target.connector), "grant_tested", actor) as call:
            call.facts["target"] = {"route": route.alias, "provider": target.connector, "model": target.model}
            alias, fields = model_of(json.dumps({"model": route.alias, **_ASK[api]}).encode())
            wanted = read(api, fields, alias, route, 0)
            cap = route.cap(target, wanted.cap)
            sent = body_of(wanted, target, cap, "operator", None, _reasoning(wanted, route, target, cap))
            headers = headers_of(api, target, route, None)
            url = call.session.base_url + target.provider.paths[api]
            response = await call.session.send("POST", url, headers, sent)
            if response.status == _OK:
                said = said_of(api, response.body)
                found |= {"works": True, "answered_by": said.model, "usage": said.usage}
            else:
                found["problem"] = failure_of(response.status, response.headers, response.body).detail
    except Refusal as refusal:
        found["problem"] = f"{refusal.message} [{refusal.code}]"
    return found | {"ms": round((time.perf_counter() - began) * 1000)}
