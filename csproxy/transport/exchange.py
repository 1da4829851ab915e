"""One request of a client on its way, from its first byte to the last frame of its answer.

A `Connection` makes exchanges; whoever asked waits on them. Also here: which of two positions is
the later one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import anyio

from csproxy.core.changes import Position
from csproxy.errors import TimedOutError
from csproxy.transport.wire.exchanges import message_name
from csproxy.transport.wire.frames import Frame
from csproxy.transport.wire.texts import wrong_text

if TYPE_CHECKING:
    from csproxy.transport.connection import Connection

__all__ = ["EpochOrder", "Exchange"]

_NONE: Final = Position(0, 0)


class EpochOrder:
    """Which of two positions of one server is later: by the epoch table, then by UEN.

    An epoch that is not in the table is later than all that are: it began after the table was read.
    Two of those are compared by UEN, not by which was heard of first: an answer, or a mark, may
    name the newest epoch before the changes of the one before it have been sent.
    """

    __slots__ = ("_ends", "_rank")

    def __init__(self, epochs: Sequence[tuple[int, int]] = ()) -> None:
        self._rank = {epoch: rank for rank, (epoch, _) in enumerate(epochs, 1)}
        self._ends = {epoch: first_uen for (epoch, _), (_, first_uen) in pairwise(epochs)}

    def rules_out(self, position: Position) -> bool:
        """Whether ``position`` belongs to another history: its epoch ended before it, by the table."""
        return position.uen >= self._ends.get(position.epoch, math.inf)

    def is_later(self, one: Position, other: Position) -> bool:
        """Whether ``one`` lies after ``other``; every position lies after (0, 0)."""
        if one.epoch == other.epoch:
            return one.uen > other.uen
        if _NONE in (one, other):
            return other == _NONE
        rank, other_rank = self._rank.get(one.epoch), self._rank.get(other.epoch)
        if rank is None or other_rank is None:
            return one.uen > other.uen if rank is other_rank else rank is None
        return rank > other_rank


class Exchange:
    """A request on its way; made by `Connection.begin`.

    ``on_part`` and ``on_answer`` are called inside the receive call, see `Connection.request`.
    """

    __slots__ = (
        "_connection",
        "_id",
        "_message",
        "_on_answer",
        "_on_part",
        "_progress",
        "answer",
        "done",
        "error",
        "is_background",
        "is_held",
    )

    def __init__(
        self,
        connection: Connection,
        message: int,
        *,
        on_part: Callable[[Frame], object] | None = None,
        on_answer: Callable[[Frame], object] | None = None,
    ) -> None:
        self._connection = connection
        self._message = message
        self._id = 0
        self._on_part = on_part
        self._on_answer = on_answer
        self._progress: anyio.Event | None = None
        self.answer: Frame | None = None
        """The last frame of the answer, once it has come."""
        self.error: Exception | None = None
        """Why there is no answer and will be none."""
        self.done = anyio.Event()
        """Set when ``answer`` or ``error`` is."""
        self.is_held = False
        self.is_background = False
        """Whether it has no say in whether the connection reads."""

    def __repr__(self) -> str:
        state = "failed" if self.error is not None else "answered" if self.answer is not None else "open"
        return f"<Exchange {message_name(self._message)}, {state}>"

    async def wait(self, timeout_s: float) -> Frame:
        """Wait for the last frame; what `Connection.request` says of errors and cancellation holds here."""
        try:
            with anyio.move_on_after(max(timeout_s, 0)):
                await self.done.wait()
        finally:
            self.give_up()
        return self.result(timeout_s)

    async def progress(self, timeout_s: float) -> bool:
        """Wait until a further frame has come, or the end; False when nothing did within ``timeout_s``."""
        progress = self._progress = anyio.Event()
        with anyio.move_on_after(timeout_s):
            await progress.wait()
        return progress.is_set()

    def result(self, timeout_s: float) -> Frame:
        """The last frame, or raise why it is not there: the error, else that ``timeout_s`` passed."""
        if self.error is not None:
            raise self.error
        if self.answer is None:
            what = message_name(self._message)
            raise TimedOutError(f"{self._connection.peer} did not answer {what} within {timeout_s:g} s")
        return self.answer

    def give_up(self) -> None:
        """Stop caring: what still comes is dropped. Idempotent, and without effect once done."""
        if not self.done.is_set():
            self._connection.abandon(self._id, self._message)

    def hold(self, held: bool) -> None:
        """Ask for more of the answer (False) or for none at present (True).

        The connection stops reading only while every open request is held, so that a request made
        by a slow reader of this answer cannot wait for itself.
        """
        if self.is_held is not held:
            self.is_held = held
            self._connection.update_reading()

    # what the connection calls

    def sent(self, request_id: int) -> None:
        """The request went out under this id."""
        self._id = request_id

    def take(self, frame: Frame, *, last: bool) -> None:
        """A frame of the answer arrived. Whatever the callback raises ends the exchange and goes on to the caller.

        A text that is not UTF-8 becomes a `ModelError` (41) that says where it stands.
        """
        callback = self._on_answer if last else self._on_part
        if callback is not None and self.error is None:
            try:
                callback(frame)
            except UnicodeDecodeError as e:
                wrong = wrong_text(frame, e)
                self.fail(wrong)
                raise wrong from e
            except Exception as e:
                self.fail(e)
                raise
        if last and self.error is None:
            self.answer = frame
            self.done.set()
        self._tell()

    def fail(self, error: Exception) -> None:
        """There will be no answer."""
        if not self.done.is_set():
            self.error = error
            self.done.set()
            self._tell()

    def _tell(self) -> None:
        if self._progress is not None:
            self._progress.set()
            self._progress = None
