"""Objects as a client reads them: the result of a read, and a long answer taken part by part."""

from __future__ import annotations

from collections import deque
from typing import Any, Final, Generic, Self, TypeVar, cast

import anyio

from csproxy.core.changes import Position
from csproxy.core.model import CfgObject, ObjectType
from csproxy.core.model.typed import decode_object
from csproxy.errors import ServerError, TimedOutError
from csproxy.transport.client_link import ClientLink
from csproxy.transport.exchange import Exchange
from csproxy.transport.leaving import Closing
from csproxy.transport.wire.frames import Frame
from csproxy.transport.wire.messages import MessageId, decode_payload
from csproxy.transport.wire.reads import ObjectsRead, ReadObjects

__all__ = ["PartReader", "ReadResult"]

T = TypeVar("T", bound=CfgObject)

_NONE: Final = Position(0, 0)
_HELD_PARTS: Final = 8
"""Parts (64 KiB each) kept ready before reading stops."""


class ReadResult(list[T]):
    """The objects of a read, with ``position``: the place in the change stream that they show.

    ``folders`` holds each object's folder DBID if the read had ``read_folder_dbid``, ``paths`` the
    folder names, outermost first, if it had ``object_path``. ``total`` is the number of objects of
    the whole answer (-1 while it is not known, in parts of `ConfigClient.iterate`).
    """

    __slots__ = ("folders", "paths", "position", "total")

    def __init__(self) -> None:
        super().__init__()
        self.position = _NONE
        self.folders: list[int] = []
        self.paths: list[list[str]] = []
        self.total = 0

    def reset(self) -> None:
        """Forget everything: the read begins again."""
        self.clear()
        self.folders.clear()
        self.paths.clear()

    def add(self, frame: Frame, kind: ObjectType) -> None:
        """Decode one ObjectsRead. Raises `RemoteProtocolError` or `ModelError` when it cannot be read."""
        part = decode_payload(ObjectsRead, frame.payload)
        self.position = Position(frame.epoch, frame.uen)
        self.total = part.total
        self.folders += part.folders
        self.paths += part.paths
        self.extend(cast(T, decode_object(kind, bytes(raw))) for raw in part.objects)


class PartReader(Closing, Generic[T]):
    """An async iterator over the parts of one read; see `ConfigClient.iterate`.

    A server that is too busy to begin is asked again until the request time-out. Nothing is asked before
    the first part is wanted. ``async with``, or `close`, ends it early; what the
    server still sends is dropped.
    """

    def __init__(self, link: ClientLink, kind: ObjectType, filter: dict[str, Any], *, minimum: Position) -> None:
        self._link = link
        self._kind = kind
        self._filter = filter
        self._minimum = minimum
        self._exchange: Exchange | None = None
        self._frames: deque[Frame] = deque()
        self._has_ended = False
        self._deadline_s = 0.0

    def __repr__(self) -> str:
        return (
            f"<PartReader {self._kind.name}, {len(self._frames)} parts waiting{', ended' if self._has_ended else ''}>"
        )

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ReadResult[T]:
        part: ReadResult[T] = ReadResult()
        try:
            while not part:
                frame = await self._next_frame()
                if frame is None:
                    raise StopAsyncIteration
                part.add(frame, self._kind)
        except Exception:
            self.close()
            raise
        return part

    async def _next_frame(self) -> Frame | None:
        """The next part as it came; None after the last."""
        if self._has_ended:
            return None
        if self._exchange is None:
            self._exchange = await self._begin()
            self._deadline_s = anyio.current_time() + self._link.request_timeout_s
        exchange, timeout_s = self._exchange, self._link.request_timeout_s
        while not self._frames:
            if exchange.done.is_set():
                again_s = _asked_to_wait_s(exchange)
                if again_s and anyio.current_time() + again_s < self._deadline_s:
                    await anyio.sleep(again_s)
                    self._exchange = exchange = await self._begin()
                    continue
                exchange.result(timeout_s)
                return None
            if not await exchange.progress(timeout_s):
                raise TimedOutError(f"the server sent no part of {self._kind.name} within {timeout_s:g} s")
            if self._has_ended:
                return None
        frame = self._frames.popleft()
        if not self._frames:
            exchange.hold(False)
        return frame

    async def _begin(self) -> Exchange:
        connection = await self._link.ready()

        def arrived(frame: Frame) -> None:
            self._frames.append(frame)
            if len(self._frames) >= _HELD_PARTS:
                exchange.hold(True)

        request = ReadObjects(type=self._kind.number, filter=self._filter)
        exchange = connection.begin(MessageId.READ_OBJECTS, request, minimum=self._minimum, on_part=arrived)
        return exchange

    def close(self) -> None:
        """Take no more. Idempotent and without waiting."""
        self._has_ended = True
        self._frames.clear()
        if self._exchange is not None:
            self._exchange.give_up()

    def __del__(self) -> None:
        self.close()


def _asked_to_wait_s(exchange: Exchange) -> float:
    """The server's hint when it refused to begin; such a refusal comes before the first part."""
    error = exchange.error
    return error.retry_after_s if isinstance(error, ServerError) else 0.0
