"""A snapshot of the server, for reads of several types as of one position."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio

from csproxy.core.changes import Position
from csproxy.errors import ServerError
from csproxy.transport.connection import Connection
from csproxy.transport.leaving import Closing
from csproxy.transport.wire.frames import Frame
from csproxy.transport.wire.messages import MessageId, decode_payload
from csproxy.transport.wire.payload import Empty
from csproxy.transport.wire.reads import ReadObjects, SnapshotHandle

__all__ = ["Snapshot"]


class Snapshot(Closing):
    """``async with Snapshot(connection, timeout_s=30) as snapshot``: opened at the server, and released there.

    A server keeps few snapshots for one client, so one whose opening is cancelled is released as
    soon as the server has granted it. Lives no longer than its connection. ``on_open`` is called with the
    position inside the receive call that brings it.
    """

    def __init__(
        self, connection: Connection, *, timeout_s: float, on_open: Callable[[Position], object] | None = None
    ) -> None:
        self.position = Position(0, 0)
        """What all reads of the snapshot show."""
        self._connection = connection
        self._timeout_s = timeout_s
        self._on_open = on_open
        self._handle: SnapshotHandle | None = None
        self._is_closed = False

    def __repr__(self) -> str:
        return f"<Snapshot at UEN {self.position.uen}{', released' if self._is_closed else ''}>"

    async def _open(self) -> None:
        """Raises as `Connection.request`."""
        exchange = self._connection.begin(MessageId.OPEN_SNAPSHOT, Empty(), on_answer=self._opened)
        with anyio.move_on_after(self._timeout_s):
            await exchange.done.wait()
        exchange.result(self._timeout_s)

    async def read(
        self, type_number: int, filter: dict[str, Any], *, on_part: Callable[[Frame], object], timeout_s: float
    ) -> None:
        """Read objects; ``on_part`` is called inside the receive call. Each part may take ``timeout_s``.

        A server that is too busy with other clients is asked again, for ``timeout_s`` as well. Raises as
        `Connection.request`.
        """
        assert self._handle is not None, "the snapshot is not open: use 'async with'"
        request = ReadObjects(type=type_number, filter=filter, snapshot=self._handle.snapshot)
        deadline = anyio.current_time() + timeout_s
        while True:
            try:
                return await self._read(request, on_part, timeout_s)
            except ServerError as e:
                if not e.retry_after_s or anyio.current_time() + e.retry_after_s >= deadline:
                    raise
                await anyio.sleep(e.retry_after_s)

    async def _read(self, request: ReadObjects, on_part: Callable[[Frame], object], timeout_s: float) -> None:
        exchange = self._connection.begin(MessageId.READ_OBJECTS, request, on_part=on_part)
        try:
            while not exchange.done.is_set() and await exchange.progress(timeout_s):
                pass
            exchange.result(timeout_s)
        finally:
            exchange.give_up()

    def close(self) -> None:
        """Release it, now or when it is granted. Idempotent and without waiting."""
        if not self._is_closed:
            self._is_closed = True
            self._release()

    def _opened(self, frame: Frame) -> None:
        self._handle = decode_payload(SnapshotHandle, frame.payload)
        self.position = Position(frame.epoch, frame.uen)
        if self._is_closed:
            self._release()
        elif self._on_open is not None:
            self._on_open(self.position)

    def _release(self) -> None:
        if self._handle is not None:
            self._connection.post(MessageId.CLOSE_SNAPSHOT, self._handle)
