"""The status page at the management port: its files, and the JSON and events that it shows.

| request | answer |
|---|---|
| GET / and GET /page/FILE | the page's own files, which say nothing about this server |
| GET /states.json | the state machines: states and what leads from one to another |
| GET /events | server-sent events: status and recent changes, once a second |
| GET /clients.json?search=TEXT&offset=0&limit=50 | clients and their subscriptions, a part at a time |
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from enum import Enum
from typing import Any, Final

import anyio
import msgspec
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from csproxy.core import replication, standby
from csproxy.daemon.client_list import MAX_CLIENTS, MAX_SEARCH, list_clients
from csproxy.daemon.event_stream import EventStream
from csproxy.daemon.management import Managed
from csproxy.daemon.page import page_files
from csproxy.daemon.recent_changes import recent_changes

__all__ = ["NO_CACHE", "SECURITY_HEADERS", "page_routes", "state_machines"]

NO_CACHE: Final = {"Cache-Control": "no-store"}
SECURITY_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""Of every answer: nothing from elsewhere gets into the page, and no other page gets at what is answered."""

_CLIENTS: Final = 50


def page_routes(managed: Managed, ending: Callable[[], Awaitable[object]]) -> tuple[list[Route], frozenset[str]]:
    """The routes, and the paths of those that need no token: the page has to be there before it can ask for one."""
    files = {f"/page/{name}": file for name, file in page_files().items()}
    files["/"] = files.pop("/page/index.html")

    async def show_file(request: Request) -> Response:
        content, kind = files[request.url.path]
        return Response(content, media_type=kind, headers=NO_CACHE)

    async def document() -> bytes:
        server = managed.server()
        return msgspec.json.encode(
            {
                "time_s": anyio.current_time(),
                "status": await managed.status(),
                "changes": [] if server is None else recent_changes(server.log),
            }
        )

    stream = EventStream(document, ending)

    async def events(request: Request) -> Response:
        return stream.response()

    async def clients(request: Request) -> Response:
        try:
            search, offset, limit = _asked(request.query_params)
        except ValueError as e:
            return PlainTextResponse(f"{e}\n", status_code=400, headers=NO_CACHE)
        return _json(await list_clients(managed.server(), search, offset=offset, limit=limit))

    async def states(request: Request) -> Response:
        return _json(state_machines())

    routes = [Route(path, show_file) for path in files]
    routes += [Route("/events", events), Route("/clients.json", clients), Route("/states.json", states)]
    return routes, frozenset(files)


def state_machines() -> dict[str, dict[str, Any]]:
    """The tables of the code: by the key of status.json that has the state; STOP, possible everywhere, is left out."""
    return {
        "replication": {
            "title": "Link to the master",
            **_machine(replication.TRANSITIONS, replication.Event.STOP, replication.State.STOPPED),
        },
        "pair": {
            "title": "Role in the pair",
            **_machine(standby.TRANSITIONS, standby.Event.STOP, standby.Role.STOPPED),
        },
    }


def _machine(table: Mapping[Any, Enum], stop: Enum, stopped: Enum) -> dict[str, Any]:
    return {
        "states": [state.value for state in type(stopped) if state is not stopped],
        "transitions": [
            {"from": before.value, "event": event.value, "to": after.value}
            for (before, event), after in table.items()
            if event is not stop
        ],
    }


def _asked(query: Mapping[str, str]) -> tuple[str, int, int]:
    """What is searched for, and the part of it. Raises ValueError with a sentence."""
    search = query.get("search", "")
    if len(search) > MAX_SEARCH:
        raise ValueError(f"search has {len(search)} characters; {MAX_SEARCH} are the most")
    return search, _number(query, "offset", 0, 0, 10_000_000), _number(query, "limit", _CLIENTS, 1, MAX_CLIENTS)


def _number(query: Mapping[str, str], name: str, default: int, least: int, most: int) -> int:
    text = query.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) <= 8 and least <= int(text) <= most):
        raise ValueError(f"{name} is {text[:20]!r}; {least} to {most} is valid")
    return int(text)


def _json(content: Any) -> Response:
    return Response(msgspec.json.encode(content), media_type="application/json", headers=NO_CACHE)
