"""Replays: what one client still has to receive from the change log before it is live.

A client is *live* when the fan-out writes to it directly. Otherwise it holds a short list of
replays, worked off in order as its channel can take more: what it missed since a position, what it
could not take while it was slow, and last an open-ended one that makes it live when it reaches the
end of the log. Only cursors are held, never frames.
"""

from __future__ import annotations

from typing import Any

from csproxy.core.changelog import ChangeLog
from csproxy.core.changes import Position
from csproxy.core.subscriptions import SubscriptionClass
from csproxy.transport.wire.bytecode import without_bytecode
from csproxy.transport.wire.frames import FLAG_END, FLAG_HISTORY, encode_frame, with_flags
from csproxy.transport.wire.messages import MessageId

__all__ = ["PIECE_BYTES", "PIECE_RECORDS", "Replay", "progress_mark"]

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


class Replay:
    """A stretch of the log for one subscription class.

    ``end`` is the ordinal to stop before, or None to go on until the client is live. ``history``
    marks the frames as replayed. ``opening`` is sent before everything else of the stretch.
    ``closing`` is called with the position reached and gives the frame that ends a finished
    stretch (HistoryLogSent, a ProgressMark), or is None.
    """

    __slots__ = ("_open", "_opening", "closing", "cls", "cursor", "end", "history")

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

    def piece(self, log: ChangeLog) -> tuple[bytes, bool]:
        """The next frames, joined, and whether the stretch is finished.

        Raises `IndexError` when the cursor has left the window.
        """
        end = log.end if self.end is None else self.end
        cls = self.cls
        frames: list[bytes] = []
        size = 0
        cursor = self.cursor
        for record in log.records(cursor, min(end, cursor + PIECE_RECORDS)):
            cursor += 1
            if cls.wants(record):
                frame = without_bytecode(record.frame) if cls.excludes_bytecode(record) else record.frame
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
        opening, self._opening = self._opening, b""
        return b"".join((opening, *frames)), cursor >= end
