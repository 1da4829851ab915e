"""The management port's HTTP: Starlette on Hypercorn (extra ``admin``).

| request | answer |
|---|---|
| GET /healthz | 200 while the event loop turns |
| GET /readyz | 200 when clients are served, else 503; the text says why, or what is doubtful |
| GET /status.json | the Status answer and more; its keys are documented in docs/howto/monitoring.md |
| GET /metrics | the same as metrics (docs/reference/metrics.md): OpenMetrics, or the text format of Prometheus |
| GET / | a page for people: `csproxy.daemon.management_page` |
| POST /stop | 202; the server stops in an orderly way |
| POST /promote | 200 when this proxy of a pair serves; 409 with the reason when it must not |
| POST /hand-over | 200 when the other proxy of the pair serves; 409 with the reason when it cannot |
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Awaitable, Callable, Set
from typing import Any, Final, cast

import msgspec
from hypercorn.asyncio import serve as serve_hypercorn
from hypercorn.config import Config
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from csproxy.daemon.management import Access, Managed
from csproxy.daemon.management_page import NO_CACHE, SECURITY_HEADERS, page_routes
from csproxy.daemon.metrics import metrics
from csproxy.errors import LocalProtocolError

__all__ = ["application", "serve"]

_IDLE_S: Final = 10
_SECURITY: Final = [(name.lower().encode(), value.encode()) for name, value in SECURITY_HEADERS.items()]


def application(managed: Managed, access: Access, ending: Callable[[], Awaitable[object]]) -> ASGIApp:
    """The ASGI application; its streams end when ``ending()`` returns."""

    async def healthz(request: Request) -> Response:
        return PlainTextResponse("alive\n", headers=NO_CACHE)

    async def readyz(request: Request) -> Response:
        now = managed.readiness()
        word = "ready" if now.ready else "not ready"
        text = f"{word}{'; warning' if now.ready and now.text else ''}{f': {now.text}' if now.text else ''}\n"
        return PlainTextResponse(text, status_code=200 if now.ready else 503, headers=NO_CACHE)

    async def status(request: Request) -> Response:
        content = msgspec.json.encode(await managed.status())
        return Response(content, media_type="application/json", headers=NO_CACHE)

    async def show_metrics(request: Request) -> Response:
        content, content_type = metrics(await managed.status(), request.headers.get("accept", ""))
        return Response(content, headers={**NO_CACHE, "Content-Type": content_type})

    async def stop(request: Request) -> Response:
        managed.stop()
        return PlainTextResponse("stopping\n", status_code=202, headers=NO_CACHE)

    async def promote(request: Request) -> Response:
        return await _command(managed.promote, "serves")

    async def hand_over(request: Request) -> Response:
        return await _command(managed.hand_over, "handed over")

    of_page, public = page_routes(managed, ending)
    routes = [
        *of_page,
        Route("/healthz", healthz),
        Route("/readyz", readyz),
        Route("/status.json", status),
        Route("/metrics", show_metrics),
        Route("/stop", stop, methods=["POST"]),
        Route("/promote", promote, methods=["POST"]),
        Route("/hand-over", hand_over, methods=["POST"]),
    ]
    return _Guard(Starlette(routes=routes), access, public)


async def _command(carry_out: Callable[[], Awaitable[object]], done: str) -> Response:
    try:
        await carry_out()
    except LocalProtocolError as e:
        return PlainTextResponse(f"{e}\n", status_code=409, headers=NO_CACHE)
    return PlainTextResponse(f"{done}\n", headers=NO_CACHE)


class _Guard:
    """Answers 401 to whoever may not ask, whatever the path but those of the ``public`` ones, and adds headers."""

    def __init__(self, app: ASGIApp, access: Access, public: Set[str]) -> None:
        self._app = app
        self._access = access
        self._public = public

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *_SECURITY]
            await send(message)

        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif self._may_ask(scope):
            await self._app(scope, receive, send_safely)
        else:
            refusal = PlainTextResponse(
                "the token of the management port is missing or wrong\n",
                status_code=401,
                headers={"WWW-Authenticate": "Bearer"},
            )
            await refusal(scope, receive, send_safely)

    def _may_ask(self, scope: Scope) -> bool:
        if scope["path"] in self._public and scope["method"] in ("GET", "HEAD"):
            return True
        headers: dict[bytes, bytes] = dict(scope["headers"])
        return self._access.allows(scope["method"], headers.get(b"authorization", b""), headers.get(b"host", b""))


async def serve(app: ASGIApp, listening: socket.socket, ending: Callable[[], Awaitable[None]]) -> None:
    """Serve a socket that listens, which is closed in the end, until ``ending`` returns."""
    log = logging.getLogger("csproxy.management.http")
    log.setLevel(logging.WARNING)
    config = Config()
    config.bind = [f"fd://{listening.detach()}"]
    config.errorlog = log
    config.include_server_header = False
    # counts until a request is complete and between requests; a read time-out would end each stream of events
    config.keep_alive_timeout = _IDLE_S
    config.graceful_timeout = 1.0
    try:
        await serve_hypercorn(cast(Any, app), config, shutdown_trigger=ending)
    except Exception:
        # clients are served without it
        log.exception("the management port has failed and is closed", extra={"event": 31082})
