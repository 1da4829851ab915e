"""The channel over any anyio byte stream: trio, memory streams, TLS streams."""

from __future__ import annotations

import errno
import logging
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Final, Protocol

import anyio
from anyio.abc import ByteStream, SocketAttribute

from csproxy.transport.channel import HIGH_WATER_BYTES, LOW_WATER_BYTES, Channel, Receiver
from csproxy.transport.protocol_channel import CLOSE_TIMEOUT_S
from csproxy.transport.sockets import peer_name
from csproxy.transport.turns import now

__all__ = ["RunTasks", "Starter", "StreamChannel"]

_log = logging.getLogger("csproxy.channel")

_STREAM_ERRORS: Final = (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError)
_READ_BYTES: Final = 64 * 1024
_SEND_BYTES: Final = 64 * 1024
"""Bytes in one send call: large enough to be cheap, small enough that pending_bytes stays true."""


class Starter(Protocol):
    """What starts a channel's tasks; an anyio TaskGroup is one."""

    def start_soon(self, func: Callable[..., Coroutine[Any, Any, Any]], /, *args: Any) -> object:
        """Run ``func(*args)`` as a task."""


class RunTasks:
    """Starts tasks that belong to trio's whole run, as asyncio's transports belong to their loop.

    For channels that are handed to an owner, who closes them: they end then at the latest.
    """

    def start_soon(self, func: Callable[..., Coroutine[Any, Any, Any]], /, *args: Any) -> None:
        """Run ``func(*args)`` as a trio system task; it must not raise."""
        import trio  # only programs that run on trio have it

        trio.lowlevel.spawn_system_task(func, *args)


class StreamChannel(Channel):
    """A channel whose two tasks, a reader and a writer, pump a stream.

    They are started in ``tasks`` when the channel is started or closed, end with the connection,
    and never raise; cancelling them cuts the connection. The channel owns the stream. An exception
    of the receiver is logged and ends the connection. ``close_timeout_s`` limits a graceful close.
    """

    __slots__ = (
        "_close_timeout_s",
        "_has_been_full",
        "_is_closing",
        "_is_cut",
        "_is_lost",
        "_is_paused",
        "_loss",
        "_peer",
        "_pending_bytes",
        "_queue",
        "_receiver",
        "_scope",
        "_stream",
        "_tasks",
        "_wake_reader",
        "_wake_writer",
    )

    def __init__(
        self, stream: ByteStream, tasks: Starter, *, peer: str = "", close_timeout_s: float = CLOSE_TIMEOUT_S
    ) -> None:
        self._stream = stream
        self._tasks = tasks
        self._peer = peer or peer_name(stream.extra(SocketAttribute.remote_address, None))
        self._close_timeout_s = close_timeout_s
        self._receiver: Receiver | None = None
        self._queue: deque[bytes] = deque()
        self._pending_bytes = 0
        self._has_been_full = False
        self._is_paused = False
        self._is_closing = False
        self._is_cut = False
        self._is_lost = False
        self._loss: Exception | None = None
        self._scope: anyio.CancelScope | None = None
        self._wake_reader = anyio.Event()
        self._wake_writer = anyio.Event()

    def __repr__(self) -> str:
        state = "closed" if self._is_lost else "closing" if self._is_closing else "open"
        return f"<StreamChannel {self._peer} {state}>"

    # called by the owner

    def start(self, receiver: Receiver) -> None:
        """Begin to deliver to ``receiver``; nothing is read before."""
        self._receiver = receiver
        self._ensure_running()

    def write(self, data: bytes) -> None:
        """Queue ``data`` for sending; dropped silently once the channel is closed."""
        if self._is_closing or not data:
            return
        self._queue.append(data)
        self._pending_bytes += len(data)
        if self._pending_bytes > HIGH_WATER_BYTES:
            self._has_been_full = True
        self._wake_writer.set()

    @property
    def pending_bytes(self) -> int:
        """Bytes queued and not yet taken by the stream."""
        return self._pending_bytes

    def pause(self) -> None:
        """Stop reading from the peer; idempotent."""
        self._is_paused = True

    def resume(self) -> None:
        """Read again; idempotent."""
        self._is_paused = False
        self._wake_reader.set()

    def close(self, *, flush: bool = True) -> None:
        """Close after the queued bytes are sent, or at once without ``flush``; idempotent.

        With ``flush`` the sending side ends first, where the stream can do that, and what the peer
        still sends is dropped until it closes, too; ``close_timeout_s`` limits it all.
        """
        if self._is_lost or self._is_cut:
            return
        if not flush:
            self._is_closing = self._is_cut = True
            if self._scope is not None:
                self._scope.cancel()
        elif not self._is_closing:
            self._is_closing = True
            if self._scope is not None:
                self._start_deadline(self._scope)
        self._wake_reader.set()
        self._wake_writer.set()
        self._ensure_running()

    @property
    def peer(self) -> str:
        """The peer's address for logs, ``"127.0.0.1:50123"``."""
        return self._peer

    # tasks

    def _ensure_running(self) -> None:
        if self._scope is None:
            self._scope = anyio.CancelScope()
            if self._is_closing:
                self._start_deadline(self._scope)
            self._tasks.start_soon(self._run, self._scope)

    def _start_deadline(self, scope: anyio.CancelScope) -> None:
        scope.deadline = now() + self._close_timeout_s

    async def _run(self, scope: anyio.CancelScope) -> None:
        try:
            with scope:
                if self._is_cut:
                    scope.cancel()
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._write_all, scope)
                    await self._read_all()
                    # the peer is done: what is queued still goes out, within the deadline
                    self._is_closing = True
                    self._start_deadline(scope)
                    self._wake_writer.set()
        finally:
            await self._end()

    async def _end(self) -> None:
        self._is_closing = self._is_lost = True
        self._queue.clear()
        self._pending_bytes = 0
        await self._give_up_stream()
        receiver, self._receiver = self._receiver, None
        if receiver is not None:
            try:
                receiver.closed(self._loss)
            except Exception:  # noqa: BLE001 - the end of the channel's task
                _log.exception("%r: the receiver failed when it was told of the end", self, extra={"event": 31090})

    async def _give_up_stream(self) -> None:
        """Close without waiting for the peer; the bytes were sent before, or nobody wants them."""
        with anyio.CancelScope(shield=True), suppress(*_STREAM_ERRORS):  # a broken stream is closed already
            await anyio.aclose_forcefully(self._stream)

    async def _read_all(self) -> None:
        """Deliver until the peer closes; anything else than an orderly end is remembered and cuts."""
        try:
            while True:
                data = await self._stream.receive(_READ_BYTES)
                while self._is_paused and not self._is_closing:
                    self._wake_reader = anyio.Event()
                    await self._wake_reader.wait()
                if self._receiver is not None and not self._is_closing:
                    self._receiver.receive(data)
        except anyio.EndOfStream:
            return
        except _STREAM_ERRORS as error:
            self._fail(_as_os_error(error))
        except Exception as error:  # noqa: BLE001 - the end of the channel's task
            _log.exception("%r: the receiver failed; the connection is closed", self, extra={"event": 31090})
            self._fail(error)

    async def _write_all(self, scope: anyio.CancelScope) -> None:
        """Send what is queued until the channel closes, then end the sending side."""
        try:
            while self._queue or not self._is_closing:
                if self._queue:
                    await self._send_piece()
                else:
                    self._wake_writer = anyio.Event()
                    await self._wake_writer.wait()
            await self._stream.send_eof()
        except NotImplementedError:
            scope.cancel()  # a TLS stream cannot close one side only
        except _STREAM_ERRORS as error:
            self._fail(_as_os_error(error))
        except Exception as error:  # noqa: BLE001 - the end of the channel's task
            _log.exception("%r: the receiver failed; the connection is closed", self, extra={"event": 31090})
            self._fail(error)

    async def _send_piece(self) -> None:
        piece = self._take_piece()
        await self._stream.send(piece)
        self._pending_bytes -= len(piece)
        if self._has_been_full and self._pending_bytes <= LOW_WATER_BYTES:
            self._has_been_full = False
            if self._receiver is not None and not self._is_closing:
                self._receiver.writable()

    def _take_piece(self) -> bytes:
        """Join queued writes up to _SEND_BYTES; a larger write is cut, its rest goes back to the queue."""
        parts: list[bytes] = []
        room = _SEND_BYTES
        while self._queue and room > 0:
            part = self._queue.popleft()
            if len(part) > room:
                self._queue.appendleft(part[room:])
                part = part[:room]
            parts.append(part)
            room -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _fail(self, error: Exception) -> None:
        if not self._is_closing:
            self._loss = error
        self._is_closing = True
        if self._scope is not None:
            self._scope.cancel()


def _as_os_error(error: Exception) -> OSError:
    """Find the system's error behind anyio's, so that all channels tell of a loss alike."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError):
            return cause
        cause = cause.__cause__
    return ConnectionResetError(errno.ECONNRESET, "the connection is broken")
