"""A read-only REST interface over a near cache, as a Starlette application.

    hypercorn examples/rest_bridge.py:app --bind 127.0.0.1:8080       (pip install 'csproxy[admin]')
    curl 'http://127.0.0.1:8080/person?is_agent=true'
    curl 'http://127.0.0.1:8080/person/100'

Where the Configuration Server is, and as whom to log in, stand in CSPROXY_HOST, CSPROXY_PORT, CSPROXY_USER and
CSPROXY_PASSWORD. Answers come from this process's memory, with an ETag that names the state they show: a caller who has
it already gets 304. /health says how old the data may be, which grows while the server is away.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from csproxy import ConfigClient, CsproxyError, NearCache
from csproxy.core.model import SCHEMA, CfgAgentGroup, CfgObject, CfgPerson, CfgPlace, CfgSkill
from csproxy.errors import ModelError, ObjectNotFoundError

TYPES: list[type[CfgObject]] = [CfgPerson, CfgSkill, CfgAgentGroup, CfgPlace]


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    """Keep the cache while the application runs."""
    environment = os.environ
    client = ConfigClient(
        environment.get("CSPROXY_HOST", "127.0.0.1"),
        int(environment.get("CSPROXY_PORT", "2020")),
        user=environment.get("CSPROXY_USER", "default"),
        password=environment.get("CSPROXY_PASSWORD", ""),
    )
    async with client, NearCache(client, TYPES) as near:
        app.state.near = near
        yield


async def objects(request: Request) -> Response:
    """GET /TYPE?key=value, with the published filter keys; GET /TYPE/DBID."""
    near: NearCache = request.app.state.near
    state = f'"{near.position.epoch}-{near.position.uen}"'
    if request.headers.get("if-none-match") == state:
        return Response(status_code=304, headers={"etag": state})
    kind = SCHEMA.object_type(request.path_params["type"]).cls
    dbid = request.path_params.get("dbid")
    found = near.get(kind, dbid) if dbid else near.select(kind, **request.query_params)
    return Response(msgspec.json.encode(found), media_type="application/json", headers={"etag": state})


async def health(request: Request) -> Response:
    """GET /health: 200 while changes are followed, else 503."""
    near: NearCache = request.app.state.near
    answer = {"following": near.is_following, "age_s": round(near.age_s, 1), "uen": near.position.uen}
    return JSONResponse(answer, status_code=200 if near.is_following else 503)


async def refused(request: Request, error: Exception) -> Response:
    """What is wrong with the request, as the library says it."""
    status = 404 if isinstance(error, ObjectNotFoundError) else 400 if isinstance(error, ModelError) else 503
    return JSONResponse({"error": str(error)}, status_code=status)


routes = [Route("/health", health), Route("/{type}", objects), Route("/{type}/{dbid:int}", objects)]
app = Starlette(routes=routes, lifespan=lifespan, exception_handlers={CsproxyError: refused})
