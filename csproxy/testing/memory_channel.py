"""The two ends of a simulated connection, and the pipes between them.

A pipe carries bytes one way as TCP does: what is written waits in user space until the kernel's
window has room, travels with the link's latency in pieces, never overtakes, and takes up window
until the other side has read it. `csproxy.testing.memory` decides about latency and faults.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from contextvars import copy_context
from typing import TYPE_CHECKING, Final

from csproxy.transport.channel import HIGH_WATER_BYTES, LOW_WATER_BYTES, Channel, Receiver
from csproxy.transport.protocol_channel import CLOSE_TIMEOUT_S
from csproxy.transport.turns import now

if TYPE_CHECKING:
    from csproxy.testing.memory import MemoryNetwork

__all__ = ["MemoryChannel"]

_log = logging.getLogger("csproxy.testing.memory")

_ROUNDING_S: Final = 1e-9
_READS_PER_SECOND: Final = 20
"""How often a slow reader reads."""


class _End:
    """Travels through a pipe behind the last byte: the sender has closed (None) or reset."""

    def __init__(self, error: Exception | None) -> None:
        self.error = error


class Pipe:
    """One direction of a connection, from ``source`` to ``target``."""

    def __init__(self, network: MemoryNetwork, source: MemoryChannel, target: MemoryChannel) -> None:
        self.network = network
        self.source = source
        self.target = target
        self.queue = bytearray()
        self.in_kernel_bytes = 0
        self._is_finished = False
        self._is_reset = False
        self._travelling: deque[tuple[float, bytes | _End]] = deque()
        self._last_arrival = 0.0
        self._is_armed = False

    def send(self, data: bytes) -> None:
        """Queue ``data`` and hand the kernel what it takes."""
        self.queue += data
        self.pump()

    def pump(self) -> None:
        """Move bytes from user space to the kernel while the window has room."""
        window = self.network.window_bytes_of(self.target.host)
        # as TCP does, wait until a quarter of the window is free: else every byte read lets one byte follow
        while self.queue and (room := window - self.in_kernel_bytes) >= min(len(self.queue), max(1, window // 4)):
            size = self.network.piece_size(min(len(self.queue), room))
            piece = bytes(memoryview(self.queue)[:size])
            del self.queue[:size]
            self.in_kernel_bytes += size
            self._travel(piece)
        if self.source.is_finishing and not self.queue:
            self.finish(None)

    def finish(self, error: Exception | None) -> None:
        """Send the end behind what the kernel has; what is still in user space is lost.

        A reset may follow an orderly end, nothing follows a reset.
        """
        self.queue.clear()
        if self._is_reset or (self._is_finished and error is None):
            return
        self._is_finished = True
        self._is_reset = error is not None
        self._travel(_End(error))

    def drop(self) -> None:
        """Lose everything on the way."""
        self.queue.clear()
        self._travelling.clear()

    def arm(self) -> None:
        """See to it that the next arrival happens, unless the link is silent."""
        if self._travelling and not self._is_armed and not self.network.is_silent(self.source, self.target):
            self._is_armed = True
            self.network.call_later(self._travelling[0][0] - now(), self._arrive)

    def taken(self, size: int) -> None:
        """The target has read ``size`` bytes: there is room for more, and perhaps the source is writable again."""
        self.in_kernel_bytes -= size
        self.pump()
        self.source.drained(len(self.queue))

    def _travel(self, item: bytes | _End) -> None:
        arrival = max(self._last_arrival, now() + self.network.latency_s(self.source, self.target))
        self._last_arrival = arrival
        self._travelling.append((arrival, item))
        self.arm()

    def _arrive(self) -> None:
        self._is_armed = False
        if self.network.is_silent(self.source, self.target):
            return  # retransmitted when the link is healed, which arms again
        reached = now() + _ROUNDING_S
        while self._travelling and self._travelling[0][0] <= reached:
            item = self._travelling.popleft()[1]
            if isinstance(item, bytes):
                self.target.arrived(item)
            else:
                self.target.ended(item.error)
        self.arm()


class MemoryChannel(Channel):
    """One end of a simulated connection; behaves like the channels over real sockets."""

    def __init__(self, network: MemoryNetwork, host: str, peer: str) -> None:
        self.network = network
        self.host = host
        self.is_finishing = False
        self.is_dead = False
        self._peer = peer
        self._out: Pipe
        self._in: Pipe
        self._receiver: Receiver | None = None
        self._context = copy_context()  # the owner's, from `start` on
        self._inbox: deque[bytes] = deque()
        self._end: _End | None = None
        self._has_been_full = False
        self._is_paused = False
        self._is_closing = False
        self._is_lost = False
        self._loss: Exception | None = None
        self._delivery_is_due = False
        self._cancel_deadline: Callable[[], None] | None = None

    @staticmethod
    def pair(network: MemoryNetwork, *, client: MemoryChannel, server: MemoryChannel) -> None:
        """Connect two ends."""
        client._out = server._in = Pipe(network, client, server)
        server._out = client._in = Pipe(network, server, client)

    def __repr__(self) -> str:
        state = "closed" if self._is_lost else "closing" if self._is_closing else "open"
        return f"<MemoryChannel {self.host} to {self._peer} {state}>"

    # called by the owner

    def start(self, receiver: Receiver) -> None:
        """Begin to deliver to ``receiver``; what arrived before, the connection's end included, is not lost."""
        self._receiver = receiver
        self._context = copy_context()
        if self._is_lost:
            self._call_owner(self._tell_closed)
        self._deliver_later()

    def write(self, data: bytes) -> None:
        """Queue ``data`` for sending; dropped silently once the channel is closed."""
        if not self._is_closing and data:
            self._out.send(data)
            if len(self._out.queue) > HIGH_WATER_BYTES:
                self._has_been_full = True

    @property
    def pending_bytes(self) -> int:
        """Bytes that the simulated kernel has not yet taken."""
        return len(self._out.queue)

    def pause(self) -> None:
        """Stop reading from the peer; idempotent."""
        self._is_paused = True

    def resume(self) -> None:
        """Read again; idempotent."""
        self._is_paused = False
        self._deliver_later()

    def close(self, *, flush: bool = True) -> None:
        """Close after the queued bytes are sent, or at once without ``flush``; idempotent."""
        if self._is_lost:
            return
        if not flush or self.is_dead:
            self._is_closing = True
            self._abort()
        elif not self._is_closing:
            self._finish()
            self._deliver_later()  # what has arrived is dropped, which gives the peer room

    @property
    def peer(self) -> str:
        """The other end's host and port."""
        return self._peer

    # called by the pipes and the network

    def arrived(self, data: bytes) -> None:
        """Bytes have come in; a dead end never reads them, a lost one answers with a reset."""
        if self._is_lost:
            self._out.finish(ConnectionResetError("the peer has closed the connection"))
        else:
            self._inbox.append(data)
            self._deliver_later()

    def ended(self, error: Exception | None) -> None:
        """The peer has closed or reset; heard of after the bytes before it."""
        if self._end is None or error is not None:
            self._end = _End(error)
        self._deliver_later()

    def drained(self, queued_bytes: int) -> None:
        """The kernel has taken bytes of this end."""
        if self._has_been_full and queued_bytes <= LOW_WATER_BYTES:
            self._has_been_full = False
            self._call_owner(self._tell_writable)
        if self._end is not None and not queued_bytes:
            self._deliver_later()

    def lose(self, error: Exception | None) -> None:
        """This end learns in the next turn that the connection is gone."""
        self._is_closing = True
        self._in.drop()
        self._out.drop()
        self._inbox.clear()
        self.network.call_later(0, lambda: self._become_lost(error))

    def die(self) -> None:
        """This end falls silent: it neither sends nor hears anything, and nobody is told."""
        self.is_dead = True

    def wake(self) -> None:
        """The link may have been healed: let travel what was held up, either way."""
        self._in.arm()
        self._out.arm()

    def shut(self) -> None:
        """The network is taken down: tell the receiver at once."""
        self._become_lost(ConnectionAbortedError("the simulated network was taken down"))
        self._tell_closed()

    # delivery

    def _deliver_later(self, delay_s: float = 0.0) -> None:
        if not self._delivery_is_due and not self._is_lost and not self.is_dead:
            self._delivery_is_due = True
            self._call_owner(self._deliver, delay_s)

    def _call_owner(self, fn: Callable[[], None], delay_s: float = 0.0) -> None:
        """Call ``fn`` as the program that has this end, which may be frozen."""
        self._context.run(self.network.call_later, delay_s, fn)

    def _deliver(self) -> None:
        self._delivery_is_due = False
        while self._inbox and not self._is_lost and not self.is_dead:
            if self._is_closing:
                self._in.taken(len(self._inbox.popleft()))
                continue
            if self._receiver is None or self._is_paused:
                return
            rate = self.network.reading_rate_of(self.host)
            data = self._inbox.popleft()
            if rate is not None:
                size = max(1, int(rate / _READS_PER_SECOND))
                if len(data) > size:
                    self._inbox.appendleft(data[size:])
                    data = data[:size]
            self._receive(data)
            self._in.taken(len(data))
            if rate is not None:
                self._deliver_later(len(data) / rate)
                return
        if self._end is not None and not self._inbox and not self._is_lost and not self.is_dead:
            self._hear_end(self._end)

    def _receive(self, data: bytes) -> None:
        assert self._receiver is not None
        try:
            self._receiver.receive(data)
        except Exception as error:  # noqa: BLE001 - the connection's boundary
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        _log.exception("%r: the receiver failed; the connection is closed", self, extra={"event": 31090})
        self._is_closing = True
        self._out.finish(ConnectionResetError("the peer has failed"))
        self.network.call_later(0, lambda: self._become_lost(error))

    def _hear_end(self, end: _End) -> None:
        """Close this side, too: at once after a reset, else when what is queued is sent."""
        if end.error is not None:
            self._out.drop()
            self._become_lost(None if self._is_closing else end.error)
        elif not self._out.queue:
            self._out.finish(None)
            self._become_lost(None)
        elif not self._is_closing:
            self._finish()

    def _finish(self) -> None:
        self._is_closing = self.is_finishing = True
        self._cancel_deadline = self.network.call_later(CLOSE_TIMEOUT_S, self._abort)
        self._out.pump()

    def _abort(self) -> None:
        unread = bool(self._inbox)
        self._inbox.clear()
        self._out.finish(ConnectionResetError("the peer has reset the connection") if unread else None)
        self.network.call_later(0, lambda: self._become_lost(None))

    def _become_lost(self, error: Exception | None) -> None:
        if self._is_lost:
            return
        self._is_closing = self._is_lost = True
        self._loss = error
        self._inbox.clear()
        self._out.queue.clear()
        if self._cancel_deadline is not None:
            self._cancel_deadline()
        self.network.forget(self)
        self._call_owner(self._tell_closed)

    def _tell_writable(self) -> None:
        if self._receiver is not None and not self._is_closing:
            try:
                self._receiver.writable()
            except Exception as error:  # noqa: BLE001 - the connection's boundary
                self._fail(error)

    def _tell_closed(self) -> None:
        receiver, self._receiver = self._receiver, None
        if receiver is not None:
            try:
                receiver.closed(self._loss)
            except Exception:  # noqa: BLE001 - the connection's boundary
                _log.exception("%r: the receiver failed when it was told of the end", self, extra={"event": 31090})
