"""Server-sent events of the management port: the newest document, once a second, to a bounded number of listeners.

Nobody has a queue. Listeners share one document, made while somebody listens; one that takes its events slowly gets
the newest when it is ready for it, and one that takes nothing for `SEND_S` is dropped.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import anyio
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

__all__ = ["MAX_LISTENERS", "SEND_S", "EventStream"]

MAX_LISTENERS: Final = 32
SEND_S: Final = 10.0
"""How long one event may take to leave."""
_EVERY_S: Final = 1.0

Wait = Callable[[], Awaitable[object]]


class EventStream:
    """One stream for all listeners. ``document()`` is JSON in one line; ``ending()`` returns when the server stops."""

    def __init__(
        self,
        document: Callable[[], Awaitable[bytes]],
        ending: Wait,
        *,
        max_listeners: int = MAX_LISTENERS,
        every_s: float = _EVERY_S,
        send_s: float = SEND_S,
    ) -> None:
        self._document = document
        self._ending = ending
        self._max_listeners = max_listeners
        self._every_s = every_s
        self._send_s = send_s
        self._making = anyio.Lock()
        self._made_s = float("-inf")
        self._content = b""
        self.listeners = 0

    def __repr__(self) -> str:
        return f"<EventStream {self.listeners} listeners>"

    def response(self) -> Response:
        """The answer to a request for the stream: 503 when there are too many listeners."""
        if self.listeners >= self._max_listeners:
            return PlainTextResponse(
                f"{self.listeners} listeners follow the events already: close one, or ask for /status.json\n",
                status_code=503,
                headers={"Retry-After": "10"},
            )
        return _EventResponse(self)

    async def newest(self) -> bytes:
        """The document, made anew when it is old; those who ask meanwhile get the same."""
        async with self._making:
            # a little less than the period: a sleep may end early
            if anyio.current_time() - self._made_s >= 0.9 * self._every_s:
                self._content = await self._document()
                self._made_s = anyio.current_time()
            return self._content

    async def feed(self, receive: Receive, send: Send) -> None:
        """Send events until the listener is gone or too slow, or the server stops."""
        self.listeners += 1
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_until_gone, receive, tasks.cancel_scope)
                await self._send_events(send)
                tasks.cancel_scope.cancel()
        finally:
            self.listeners -= 1

    async def _send_events(self, send: Send) -> None:
        while True:
            event = b"event: status\ndata: " + await self.newest() + b"\n\n"
            with anyio.move_on_after(self._send_s) as sending:
                await send({"type": "http.response.body", "body": event, "more_body": True})
            if sending.cancelled_caught:
                return
            with anyio.move_on_after(self._every_s):
                await self._ending()
                with anyio.move_on_after(self._send_s):
                    await send({"type": "http.response.body", "body": b"event: end\ndata: {}\n\n"})
                return


class _EventResponse(Response):
    media_type = "text/event-stream"

    def __init__(self, stream: EventStream) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._stream = stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        if scope["method"] == "HEAD":
            await send({"type": "http.response.body"})
        else:
            await self._stream.feed(receive, send)


async def _until_gone(receive: Receive, scope: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()
