"""Replays: what one client still has to receive from the change log before it is live.

A client is *live* when the fan-out writes to it directly. Otherwise it holds a short list of
replays, worked off in order as its channel can take more: what it missed since a position, what it
could not take while it was slow, and last an open-ended one that makes it live when it reaches the
end of the log. Only cursors are held, never frames.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from csproxy.core import codec
from csproxy.core.changelog import ChangeLog, LogRecord
from csproxy.core.changes import Action, ObjectCreated, ObjectDeleted, Position
from csproxy.core.shifts import Shift
from csproxy.core.sight import Access
from csproxy.core.subscriptions import Sighting, SubscriptionClass, sighting
from csproxy.transport.wire.bytecode import SCRIPT_TYPE, without_bytecode
from csproxy.transport.wire.frames import FLAG_END, FLAG_HISTORY, encode_frame, with_flags
from csproxy.transport.wire.messages import MessageId
from csproxy.transport.wire.notifications import encode_notification

__all__ = ["PIECE_BYTES", "PIECE_RECORDS", "Replay", "frame_for", "frames_of_shifts", "progress_mark"]

PIECE_BYTES = 64 * 1024
"""Frames of one piece: as much as a channel takes before it counts as full."""
PIECE_RECORDS = 2048
"""Log records looked at for one piece, so that a narrow subscription cannot hold the event loop."""


def progress_mark(position: Position, *, history: bool = False) -> bytes:
    """A ProgressMark: every change up to ``position`` that concerns the receiver has been sent.

    With ``history`` it only ends a transaction within a replay, and says nothing of the live stream.
    """
    flags = FLAG_END | FLAG_HISTORY if history else FLAG_END
    return encode_frame(MessageId.PROGRESS_MARK, b"", epoch=position.epoch, uen=position.uen, flags=flags)


def frame_for(record: LogRecord, cls: SubscriptionClass[Any], former: Access) -> bytes | None:
    """What members of a class are sent of a change that matches their subscriptions; None: nothing.

    ``former`` is their sight until the transaction.
    """
    seen = Sighting.CHANGE if cls.access is None and former is None else sighting(record, former, cls.access)
    if seen is Sighting.NOTHING:
        return None
    if seen is Sighting.DISAPPEARANCE:
        return _disappears(record.type, record.dbid, record.position, last=record.last)
    if seen is Sighting.CHANGE:
        frame = record.frame
    else:
        assert record.appears is not None
        frame = _appears(record.type, *record.appears, record.position, last=record.last)
    return without_bytecode(frame) if record.type == SCRIPT_TYPE and cls.excludes_bytecode(record) else frame


def frames_of_shifts(
    shifts: Iterable[Shift], cls: SubscriptionClass[Any], former: Access, position: Position
) -> Iterator[bytes]:
    """What members of a class are sent of objects that only shifted: creations, deletions; b"" for each other one."""
    for shift in shifts:
        gains = shift.change_for(former, cls.access)
        if gains is None:
            continue
        for each in shift.objects:
            if not any(interest.covers(each) for interest in cls.interests):
                yield b""
            elif not gains:
                yield _disappears(each.type, each.dbid, position, last=False)
            else:
                frame = _appears(each.type, each.stored, each.folder, position, last=False)
                leave_out = each.type == SCRIPT_TYPE and all(
                    interest.exclude_bytecode for interest in cls.interests if interest.covers(each)
                )
                yield without_bytecode(frame) if leave_out else frame


def _appears(type_number: int, stored: bytes, folder: int, position: Position, *, last: bool) -> bytes:
    payload = ObjectCreated(type=type_number, object=msgspec.Raw(stored), folder=folder)
    return encode_notification(Action.CREATED, codec.encode(payload), position=position, last=last)


def _disappears(type_number: int, dbid: int, position: Position, *, last: bool) -> bytes:
    """A deletion that tells nothing but that: neither what the object was nor who did it."""
    payload = ObjectDeleted(type=type_number, dbid=dbid)
    return encode_notification(Action.DELETED, codec.encode(payload), position=position, last=last)


class Replay:
    """A stretch of the log for one subscription class.

    ``end`` is the ordinal to stop before, or None to go on until the client is live. ``history``
    marks the frames as replayed. ``opening`` is sent before everything else of the stretch.
    ``closing`` is called with the position reached and gives the frame that ends a finished
    stretch (HistoryLogSent, a ProgressMark), or is None.
    """

    __slots__ = ("_former", "_open", "_opening", "_rest", "closing", "cls", "cursor", "end", "history")

    def __init__(
        self,
        cursor: int,
        end: int | None,
        cls: SubscriptionClass[Any],
        *,
        history: bool = False,
        opening: bytes = b"",
        closing: Any = None,
    ) -> None:
        self.cursor = cursor
        self.end = end
        self.cls = cls
        self.history = history
        self.closing = closing
        self._opening = opening
        self._open = False
        self._former = cls.access
        self._rest: Iterator[bytes] = iter(())

    @classmethod
    def between(
        cls, cursor: int, end: int, to: SubscriptionClass[Any], former: Access, others: Sequence[Shift], at: Position
    ) -> Replay:
        """The one transaction from ``cursor`` to ``end`` for somebody who had another sight until then.

        ``others`` shift for him alone; they are told of at the position ``at``.
        """
        replay = cls(cursor, end, to)
        replay._former = former
        replay._rest = frames_of_shifts(others, to, former, at)
        return replay

    def piece(self, log: ChangeLog) -> tuple[bytes, bool]:
        """The next frames, joined, and whether the stretch is finished.

        Raises `IndexError` when the cursor has left the window.
        """
        end = log.end if self.end is None else self.end
        cls = self.cls
        opening, self._opening = self._opening, b""
        frames: list[bytes] = [opening]
        size = self._drain(frames)
        cursor = self.cursor
        if size < PIECE_BYTES:
            for record in log.records(cursor, min(end, cursor + PIECE_RECORDS)):
                cursor += 1
                if record.shifts:
                    self._rest = frames_of_shifts(record.shifts, cls, self._former, record.position)
                    size += self._drain(frames)
                elif cls.is_about(record) and (frame := frame_for(record, cls, self._former)) is not None:
                    if self.history:
                        frame = with_flags(frame, frame[6] | FLAG_HISTORY)
                    frames.append(frame)
                    size += len(frame)
                    self._open = not record.last
                elif record.last and self._open:
                    frames.append(progress_mark(record.position, history=self.history))
                    self._open = False
                if size >= PIECE_BYTES:
                    break
        self.cursor = cursor
        return b"".join(frames), cursor >= end and size < PIECE_BYTES

    def _drain(self, frames: list[bytes]) -> int:
        """Take frames of what shifts, as many as make a piece; returns their size, that of a piece if some are left."""
        size = 0
        for looked_at, frame in enumerate(self._rest):
            if frame:
                self._open = True
                frames.append(with_flags(frame, frame[6] | FLAG_HISTORY) if self.history else frame)
                size += len(frame)
            if size >= PIECE_BYTES or looked_at >= PIECE_RECORDS:
                return max(size, PIECE_BYTES)
        return size
