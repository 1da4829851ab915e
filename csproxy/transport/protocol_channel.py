"""The channel over an asyncio transport, the fast path on asyncio and uvloop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final, cast

from csproxy.transport.channel import HIGH_WATER_BYTES, LOW_WATER_BYTES, Channel, Receiver
from csproxy.transport.sockets import peer_name

__all__ = ["CLOSE_TIMEOUT_S", "EndOfTurn", "ProtocolChannel"]

_log = logging.getLogger("csproxy.channel")

CLOSE_TIMEOUT_S: Final = 5.0
"""Seconds a closing channel waits for a peer that neither takes the last bytes nor closes."""


class EndOfTurn:
    """What the channels of a server write together, when the event loop has read from all that were readable.

    Written after each request, an answer wakes its client, which is asleep again when the next one comes: waking took a
    quarter of the server's time. Written one after the other, answers come faster than clients fall asleep.
    """

    __slots__ = ("_channels",)

    def __init__(self) -> None:
        self._channels: list[ProtocolChannel] = []

    def add(self, channel: ProtocolChannel) -> None:
        """Write what ``channel`` keeps at the end of this turn."""
        if not self._channels:
            asyncio.get_running_loop().call_soon(self._write)
        self._channels.append(channel)

    def _write(self) -> None:
        channels, self._channels = self._channels, []
        for channel in channels:
            data, channel._kept = channel._kept, b""
            if data and not channel._transport.is_closing():
                channel._transport.write(data)


class ProtocolChannel(asyncio.Protocol, Channel):
    """A channel that is its transport's protocol; made by a protocol factory.

    ``on_connected`` is called with the channel as soon as it is connected; bytes that arrive before
    `start` are kept, and reading pauses. ``peer`` is the peer's address if it is not that of the transport.
    ``close_timeout_s`` limits a graceful close. `write_soon` waits for ``end_of_turn``, if there is one. An exception
    of the receiver is logged and ends the connection.
    """

    __slots__ = (
        "_close_timeout_s",
        "_deadline",
        "_end_of_turn",
        "_held",
        "_is_closing",
        "_is_lost",
        "_is_paused",
        "_kept",
        "_loss",
        "_on_connected",
        "_peer",
        "_receiver",
        "_transport",
    )

    _transport: asyncio.Transport

    def __init__(
        self,
        on_connected: Callable[[ProtocolChannel], object] | None = None,
        *,
        peer: str = "",
        close_timeout_s: float = CLOSE_TIMEOUT_S,
        end_of_turn: EndOfTurn | None = None,
    ) -> None:
        self._end_of_turn = end_of_turn
        self._kept = b""
        self._on_connected = on_connected
        self._close_timeout_s = close_timeout_s
        self._receiver: Receiver | None = None
        self._held = b""
        self._is_closing = False
        self._is_lost = False
        self._is_paused = False
        self._loss: Exception | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._peer = peer

    def __repr__(self) -> str:
        state = "closed" if self._is_lost else "closing" if self._is_closing else "open"
        return f"<ProtocolChannel {self._peer or 'unconnected'} {state}>"

    # called by the owner

    def start(self, receiver: Receiver) -> None:
        """Begin to deliver to ``receiver``; what arrived before, the connection's end included, is not lost."""
        self._receiver = receiver
        self._release_held()

    def write(self, data: bytes) -> None:
        """Queue ``data`` for sending; dropped silently once the channel is closed."""
        # the transport knows of a dead peer one turn before connection_lost; asyncio logs writes in between
        if not self._is_closing and not self._transport.is_closing():
            if self._kept:
                data, self._kept = self._kept + data, b""
            self._transport.write(data)

    def write_soon(self, data: bytes) -> None:
        """As `write`, at the end of the turn unless it is much."""
        kept = self._kept
        if self._end_of_turn is None or len(kept) + len(data) > LOW_WATER_BYTES:
            self.write(data)
        elif not self._is_closing:
            self._kept = kept + data if kept else data
            if not kept:
                self._end_of_turn.add(self)

    def _write_kept(self) -> None:
        if self._kept:
            self.write(b"")

    @property
    def pending_bytes(self) -> int:
        """Bytes queued in user space and not yet taken by the kernel; without those of `write_soon` in this turn."""
        return 0 if self._is_lost else self._transport.get_write_buffer_size()

    def pause(self) -> None:
        """Stop reading from the peer; idempotent."""
        if not self._is_closing:
            self._is_paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read again; idempotent."""
        self._is_paused = False
        self._release_held()

    def close(self, *, flush: bool = True) -> None:
        """Close after the queued bytes are sent, or at once without ``flush``; idempotent.

        With ``flush`` the sending side ends first and what the peer still sends is dropped until it
        closes, too: closing a socket with unread bytes resets it, and the peer would lose the last
        frames. After ``close_timeout_s`` the connection is cut.
        """
        if self._is_lost:
            return
        self._held = b""
        if not flush:
            self._kept = b""
            self._is_closing = True
            self._abort_soon()
        elif not self._is_closing:
            self._write_kept()
            self._is_closing = True
            self._start_deadline()
            try:
                self._transport.write_eof()
            except OSError:  # asyncio shuts the socket down at once, which fails when the peer has reset it
                self._abort_soon()
            else:
                self._transport.resume_reading()

    @property
    def peer(self) -> str:
        """The peer's address for logs, ``"127.0.0.1:50123"``."""
        return self._peer

    # called by the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport and hand the channel over to ``on_connected``."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=HIGH_WATER_BYTES, low=LOW_WATER_BYTES)
        self._peer = self._peer or peer_name(transport.get_extra_info("peername"))
        if self._on_connected is not None:
            on_connected, self._on_connected = self._on_connected, None
            on_connected(self)

    def data_received(self, data: bytes) -> None:
        """Deliver, or hold what comes before `start` or although reading is paused."""
        if self._receiver is not None and not self._is_paused and not self._is_closing:
            try:
                self._receiver.receive(data)
            except Exception as error:  # noqa: BLE001 - the connection's boundary
                self._fail(error)
        elif not self._is_closing:
            self._hold(data)

    def eof_received(self) -> bool:
        """The peer sends no more: the transport sends what is queued and closes, within the deadline."""
        self._write_kept()
        self._is_closing = True
        self._start_deadline()
        return False

    def resume_writing(self) -> None:
        """The transport's buffer has fallen to LOW_WATER_BYTES."""
        if self._receiver is not None and not self._is_closing:
            try:
                self._receiver.writable()
            except Exception as error:  # noqa: BLE001 - the connection's boundary
                self._fail(error)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the receiver, or remember it until there is one."""
        self._is_closing = self._is_lost = True
        self._loss = self._loss or exc
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        # held bytes go first, unless nobody wants them: a paused receiver must hear of the end, too
        if self._receiver is not None and (self._is_paused or not self._held):
            self._tell_closed(self._receiver)

    # holding

    def _hold(self, data: bytes) -> None:
        self._held += data
        # Python 3.11 and uvloop both start reading after connection_made although it was paused
        # there, and then take the transport for paused: only a fresh resume and pause stops it
        self._transport.resume_reading()
        self._transport.pause_reading()

    def _release_held(self) -> None:
        if self._receiver is None:
            return
        if self._held or self._is_lost:
            asyncio.get_running_loop().call_soon(self._deliver_held)
        else:
            self._transport.resume_reading()

    def _deliver_held(self) -> None:
        receiver = self._receiver
        if receiver is None or self._is_paused:
            return
        if self._held:
            data, self._held = self._held, b""
            try:
                receiver.receive(data)
            except Exception as error:  # noqa: BLE001 - the connection's boundary
                self._fail(error)
        if self._is_lost:
            self._tell_closed(receiver)
        elif not self._is_paused:
            self._transport.resume_reading()

    def _tell_closed(self, receiver: Receiver) -> None:
        self._receiver = None  # closed() comes once, and the reference cycle ends here
        try:
            receiver.closed(self._loss)
        except Exception:  # noqa: BLE001 - the connection's boundary
            _log.exception("%r: the receiver failed when it was told of the end", self, extra={"event": 31090})

    def _fail(self, error: Exception) -> None:
        _log.exception("%r: the receiver failed; the connection is closed", self, extra={"event": 31090})
        self._is_closing = True
        self._loss = error
        self._abort_soon()

    def _abort_soon(self) -> None:
        # in the next turn: aborted inside of resume_writing, asyncio 3.11 reports the loss twice and fails
        asyncio.get_running_loop().call_soon(self._transport.abort)

    def _start_deadline(self) -> None:
        if self._deadline is None:
            loop = asyncio.get_running_loop()
            self._deadline = loop.call_later(self._close_timeout_s, self._transport.abort)
