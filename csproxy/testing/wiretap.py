"""A tap on a client's connection: every frame, both ways, is written down as it stands in the bytes.

The tap sits between the channel and its receiver and has a frame reader of its own, so that it
shares no mistake with the client whose connection it watches.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from csproxy.core.changes import Position
from csproxy.testing.histories import Answered, Asked, Delivered, Ended, Marked, Notified, Told, WireHistory
from csproxy.transport.channel import Channel, Receiver
from csproxy.transport.wire.frames import DEFAULT_MAX_FRAME, FLAG_END, FLAG_HISTORY, MAGIC, Frame, FrameReader
from csproxy.transport.wire.messages import PAYLOADS, MessageId
from csproxy.transport.wire.notifications import NOTIFICATIONS, decode_change

__all__ = ["TappedChannel"]

_RESUMES: Final = frozenset({MessageId.REGISTER_NOTIFICATION, MessageId.RESUME_FROM, MessageId.HISTORY_LOG})


class TappedChannel(Channel):
    """A channel that records into ``history`` what passes, and passes everything on unchanged.

    ``floor()`` tells the oldest UEN of the server's window (for refused resumes). ``after()`` is
    called whenever the receiver has taken what arrived.
    """

    __slots__ = ("_after", "_channel", "_clock", "_floor", "_history", "_in", "_is_opened", "_out", "_receiver")

    def __init__(
        self,
        channel: Channel,
        history: WireHistory,
        *,
        clock: Callable[[], float],
        floor: Callable[[], int] = lambda: 0,
        after: Callable[[], object] = lambda: None,
    ) -> None:
        self._channel = channel
        self._history = history
        self._clock = clock
        self._floor = floor
        self._after = after
        self._in = FrameReader(max_frame=DEFAULT_MAX_FRAME)
        self._out = FrameReader(max_frame=DEFAULT_MAX_FRAME)
        self._is_opened = False
        self._receiver: Receiver | None = None

    # the channel

    def start(self, receiver: Receiver) -> None:
        """Deliver to ``receiver`` through the tap."""
        self._receiver = receiver
        self._channel.start(self)

    def write(self, data: bytes) -> None:
        """Record the requests in ``data`` and send it."""
        self._record_sent(data)
        self._channel.write(data)

    @property
    def pending_bytes(self) -> int:
        """As the channel says."""
        return self._channel.pending_bytes

    def pause(self) -> None:
        """Stop reading."""
        self._channel.pause()

    def resume(self) -> None:
        """Read again."""
        self._channel.resume()

    def close(self, *, flush: bool = True) -> None:
        """Close the channel."""
        self._channel.close(flush=flush)

    @property
    def peer(self) -> str:
        """As the channel says."""
        return self._channel.peer

    # its receiver

    def receive(self, data: bytes) -> None:
        """Record what arrived, then deliver it."""
        for frame in self._in.receive_data(data):
            self._record_received(frame)
        assert self._receiver is not None
        self._receiver.receive(data)
        self._after()

    def writable(self) -> None:
        """Pass on."""
        assert self._receiver is not None
        self._receiver.writable()

    def closed(self, error: Exception | None) -> None:
        """Record the end and pass it on."""
        self._history.events.append(Ended(self._clock(), "" if error is None else str(error)))
        assert self._receiver is not None
        self._receiver.closed(error)
        self._after()

    # recording

    def _record_sent(self, data: bytes) -> None:
        if not self._is_opened:
            self._is_opened = True
            data = data.removeprefix(MAGIC)
        for frame in self._out.receive_data(data):
            position = Position(frame.epoch, frame.uen)
            self._history.events.append(Asked(self._clock(), frame.request, frame.message, position, _decoded(frame)))
            if frame.message in _RESUMES:
                self._history.floors[frame.request] = self._floor()

    def _record_received(self, frame: Frame) -> None:
        events, now_s, position = self._history.events, self._clock(), Position(frame.epoch, frame.uen)
        if frame.request:
            if frame.request in self._history.floors:
                self._history.floors[frame.request] = max(self._history.floors[frame.request], self._floor())
            last = bool(frame.flags & FLAG_END)
            events.append(Answered(now_s, frame.request, frame.message, position, last, _decoded(frame)))
        elif frame.message in NOTIFICATIONS:
            change = decode_change(frame)
            events.append(Notified(now_s, Delivered.of(change, from_history=bool(frame.flags & FLAG_HISTORY))))
        elif frame.message == MessageId.PROGRESS_MARK or (frame.message == MessageId.DISCONNECTED and frame.epoch):
            events.append(Marked(now_s, position, bool(frame.flags & FLAG_HISTORY)))
        elif frame.message == MessageId.PEER_NEWS:
            events.append(Told(now_s, _decoded(frame)))


def _decoded(frame: Frame) -> object:
    """The payload as its struct; its bytes for a change, and where it cannot be read."""
    kind = PAYLOADS.get(frame.message)
    if kind is None or frame.message in NOTIFICATIONS:
        return frame.payload
    try:
        return msgspec.msgpack.decode(frame.payload or b"\x80", type=kind)
    except msgspec.MsgspecError:
        return frame.payload
