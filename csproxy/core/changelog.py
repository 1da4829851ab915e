"""The change log: a bounded window of recent changes, in UEN order, from which everything is replayed.

One shared log serves all clients: a slow or returning client needs only a cursor into it. A cursor
is an *ordinal*, the count of records ever appended before it; ordinals never repeat, while several
records share a UEN when a reload reports its difference. Trimming and cutting happen only between
transactions.

No clock is read here: times are the caller's, in seconds.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec

from csproxy.core.changes import Epoch, Position
from csproxy.core.shifts import Shift
from csproxy.core.sight import Readers
from csproxy.errors import ErrorCode, ModelError

__all__ = ["ChangeLog", "ChangeLogStatistics", "LogRecord", "Turn", "WindowLimits"]


_SHIFTED_BYTES = 64
"""What a shifted object takes in the log, apart from its bytes, which the data set has as well."""


class LogRecord(msgspec.Struct, frozen=True, gc=False):
    """One change as the log keeps it: where it belongs, who may see it, and its frame.

    ``tenants`` are those of the object before and after the change. ``readers_before`` and ``readers_after`` say who
    could read it before the transaction and who can after it; None: it was or is not there, or nobody knows.
    ``appears`` is the object with its folder as it is after the transaction, for those who can read it only now: at the
    first of an object's changes. ``last`` ends the transaction. ``correction``: see `csproxy.core.changes.Change`.

    A record with ``shifts`` is no change: it comes first in a transaction that gives other objects other readers, and
    has no frame.
    """

    position: Position
    type: int
    dbid: int
    tenants: tuple[int, ...]
    readers_before: Readers | None
    readers_after: Readers | None
    frame: bytes
    last: bool
    time_s: float
    correction: bool = False
    appears: tuple[bytes, int] | None = None
    shifts: Sequence[Shift] = ()

    @property
    def size(self) -> int:
        """What it counts for in the window, bytes."""
        return len(self.frame) + _SHIFTED_BYTES * sum(len(shift.objects) for shift in self.shifts)


class Turn(NamedTuple):
    """A place of the log where sight changed: the ordinal after it, and whose identities; see `ChangeLog.turn`."""

    ordinal: int
    accounts: frozenset[int] | None
    lists: bool


class WindowLimits(NamedTuple):
    """How much history is kept: everything up to ``max_bytes``, and beyond it never less than the minima.

    Design values: 2,048 changes and 75 s at least, 64 MB of frames at most.
    """

    min_changes: int = 2048
    min_age_s: float = 75.0
    max_bytes: int = 64 * 1024 * 1024


class ChangeLogStatistics(NamedTuple):
    """What the window holds now; ``appended`` counts records since the start."""

    changes: int
    frame_bytes: int
    oldest_uen: int
    newest_uen: int
    appended: int


class ChangeLog:
    """The window of changes after `floor`, ordered by UEN."""

    def __init__(self, *, limits: WindowLimits | None = None) -> None:
        self.limits = limits or WindowLimits()
        self._records: list[LogRecord] = []
        self._start = 0
        self._bytes = 0
        self._floor = Position(0, 0)
        self._is_floor_corrected = False
        self._gaps: list[tuple[int, int]] = []
        self._turns: list[Turn] = []
        self._blurred = 0

    def __repr__(self) -> str:
        return f"<ChangeLog {len(self._records)} changes after UEN {self._floor.uen}, {self._bytes} bytes>"

    @property
    def start(self) -> int:
        """Ordinal of the oldest record; a cursor below it has left the window."""
        return self._start

    @property
    def end(self) -> int:
        """Ordinal that the next record will get."""
        return self._start + len(self._records)

    @property
    def floor(self) -> Position:
        """Position just before the oldest record: the oldest place from which a replay is complete."""
        return self._floor

    def append(self, records: Sequence[LogRecord], *, now_s: float) -> None:
        """Add one whole transaction, then trim the window."""
        self._records.extend(records)
        self._bytes += sum(record.size for record in records)
        if self._bytes > self.limits.max_bytes:
            self._trim(now_s)

    def begin(self, position: Position) -> None:
        """Forget everything: complete replays start at ``position`` from now on."""
        self._start = self.end
        self._records.clear()
        self._gaps.clear()
        self._turns.clear()
        self._bytes = 0
        self._floor = position
        self._is_floor_corrected = False

    def turn(self, accounts: frozenset[int] | None, *, lists: bool = True) -> None:
        """Note that what was appended last changed what some accounts may read.

        ``accounts`` are those whose identities changed, None for *any*; ``lists``: lists changed, too.
        """
        self._turns.append(Turn(self.end, accounts, lists))

    def blur(self) -> None:
        """Note that nobody knows who could read the objects of what was appended until now."""
        self._blurred = self.end

    def is_clear_after(self, ordinal: int) -> bool:
        """Whether every record from ``ordinal`` on says who could read its object."""
        return ordinal >= self._blurred

    def turns_after(self, ordinal: int) -> Sequence[Turn]:
        """What was noted of changes with the ordinal ``ordinal`` or a later one."""
        return self._turns[bisect_right(self._turns, ordinal, key=lambda turn: turn.ordinal) :]

    def skip(self, *, after: int, until: int) -> None:
        """Note that nothing is known of the changes between UEN ``after`` and ``until``, both exclusive.

        A reload reports its whole difference at ``until``: a client that stands at ``after`` can
        take it, one that stands in between cannot (design: L < m < n gives error 27).
        """
        if until - after > 1:
            self._gaps.append((after, until))

    def locate(self, position: Position, *, epochs: Sequence[Epoch]) -> int:
        """The ordinal of the first change after ``position``.

        ``epochs`` is the epoch table, oldest first. Raises `ModelError` with HISTORY_LOG_EXPIRED
        when the changes since then are not all known: the epoch is not listed, its successor began
        at or before ``position``, or the window no longer reaches back so far. A position of the
        newest epoch beyond the head is the caller's affair (it may wait).

        A correction at ``position`` itself counts as a change after it: nobody can tell whether the
        client has seen it.
        """
        index = next((i for i, epoch in enumerate(epochs) if epoch.epoch == position.epoch), None)
        if index is None:
            raise _expired(position, "its epoch is not known to this server")
        if index + 1 < len(epochs) and position.uen >= epochs[index + 1].first_uen:
            raise _expired(position, f"epoch {epochs[index + 1].epoch} took over at UEN {epochs[index + 1].first_uen}")
        if position.uen < self._floor.uen or (self._is_floor_corrected and position.uen == self._floor.uen):
            raise _expired(position, f"the history starts after UEN {self._floor.uen}")
        for after, until in self._gaps:
            if after < position.uen < until:
                raise _expired(position, f"the changes between UEN {after} and {until} were not followed")
        first = bisect_right(self._records, position.uen, key=_uen)
        while first and self._records[first - 1].correction and self._records[first - 1].position.uen == position.uen:
            first -= 1
        return self._start + first

    def records(self, first: int, end: int) -> Iterator[LogRecord]:
        """The records with ordinals from ``first`` up to, not including, ``end``.

        Raises `IndexError` when ``first`` has left the window.
        """
        if first < self._start:
            raise IndexError(f"ordinal {first} has left the window, which starts at {self._start}")
        records = self._records
        for i in range(first - self._start, min(end, self.end) - self._start):
            yield records[i]

    def tail(self, *, min_changes: int, max_bytes: int) -> list[LogRecord]:
        """The newest whole transactions, for saving: up to ``max_bytes`` of frames, or ``min_changes``.

        Nothing from before a reload, nor its difference: what a reload did not follow cannot be resumed from
        its changes alone. So the UENs have no gap, and a replay of all is complete from just before the first.
        """
        records = self._records
        least = bisect_right(records, max([self._floor.uen, *(until for _, until in self._gaps)]), key=_uen)
        first, size = len(records), 0
        for i in range(len(records) - 1, least - 1, -1):
            size += records[i].size
            if size > max_bytes and len(records) - i > min_changes:
                break
            if i == least or (records[i - 1].last and records[i - 1].position.uen < records[i].position.uen):
                first = i
        return records[first:]

    def statistics(self) -> ChangeLogStatistics:
        """A snapshot of the window's size."""
        newest = self._records[-1].position.uen if self._records else self._floor.uen
        return ChangeLogStatistics(len(self._records), self._bytes, self._floor.uen, newest, self.end)

    def _trim(self, now_s: float) -> None:
        """Drop the oldest transactions until the byte cap holds, as far as the minima allow.

        An eighth more than needed goes at once: each trim moves the list, and must stay rare.
        """
        records, limits = self._records, self.limits
        target = limits.max_bytes - limits.max_bytes // 8
        most = len(records) - limits.min_changes
        drop = 0
        while self._bytes > target:
            end = next(i for i in range(drop, len(records)) if records[i].last) + 1
            if end > most or now_s - records[end - 1].time_s < limits.min_age_s:
                break
            self._bytes -= sum(record.size for record in records[drop:end])
            drop = end
        if drop:
            self._floor = records[drop - 1].position
            self._is_floor_corrected = records[drop - 1].correction
            del records[:drop]
            self._start += drop
            del self._gaps[: bisect_right(self._gaps, self._floor.uen, key=lambda gap: gap[1])]
            del self._turns[: bisect_right(self._turns, self._start, key=lambda turn: turn.ordinal)]


def _uen(record: LogRecord) -> int:
    return record.position.uen


def _expired(position: Position, why: str) -> ModelError:
    return ModelError(
        ErrorCode.HISTORY_LOG_EXPIRED,
        f"cannot continue from UEN {position.uen} of epoch {position.epoch}: {why}; register anew and read everything",
    )
