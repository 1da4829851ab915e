"""The bookkeeping of the local copy: limits, what waits for a journal, when to try again. No I/O."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from csproxy.core.changelog import LogRecord
from csproxy.core.persistence.copy_format import Record
from csproxy.core.persistence.copy_writing import Journal

__all__ = ["CopyLimits", "Retry", "Track", "whole_transactions"]


class CopyLimits(NamedTuple):
    """How the copy is written; seconds, bytes and counts.

    A new snapshot is written when the journal has more than ``journal_share`` of the snapshot's bytes or
    more changes than ``journal_changes_share`` of its objects (a change takes 35 µs to read back, an object 4 µs),
    but not below the least values. ``bytes_per_s`` bounds the
    writing of a snapshot, ``history_bytes`` the history saved with it (beyond ``history_changes``).
    ``pending_bytes`` bounds what waits in memory while the disk takes nothing. After a failure the next
    attempt follows after ``retry_s``, doubling up to ``longest_retry_s``.
    """

    interval_s: float = 1.0
    bytes_per_s: float = 32 * 1024 * 1024
    block_bytes: int = 512 * 1024
    journal_share: float = 0.125
    journal_changes_share: float = 0.03
    least_journal_bytes: int = 256 * 1024
    least_journal_changes: int = 1000
    history_changes: int = 2048
    history_bytes: int = 2 * 1024 * 1024
    pending_bytes: int = 16 * 1024 * 1024
    retry_s: float = 2.0
    longest_retry_s: float = 60.0


class Track:
    """What goes into one journal: records that wait, and the journal once its snapshot is in place."""

    def __init__(self, journal: Journal | None = None, *, objects: int = 0, snapshot_bytes: int = 0) -> None:
        self.journal = journal
        self.objects = objects
        self.snapshot_bytes = snapshot_bytes
        self.pending: list[Record] = []
        self.pending_changes = 0
        self.pending_bytes = 0

    def __repr__(self) -> str:
        return f"<Track {len(self.pending)} records wait for {self.journal}>"

    def add(self, record: Record, changes: int) -> None:
        """Let a record that holds ``changes`` changes wait."""
        self.pending.append(record)
        self.pending_changes += changes
        self.pending_bytes += len(record.payload)

    def take(self) -> tuple[list[Record], int]:
        """All that waits, and its number of changes; nothing waits any more."""
        taken = self.pending, self.pending_changes
        self.pending, self.pending_changes, self.pending_bytes = [], 0, 0
        return taken

    def put_back(self, records: list[Record], changes: int) -> None:
        """What was taken has not been written: it waits again, before everything else."""
        self.pending[:0] = records
        self.pending_changes += changes
        self.pending_bytes += sum(len(record.payload) for record in records)

    def is_long(self, limits: CopyLimits) -> bool:
        """Whether a new snapshot is due."""
        assert self.journal is not None
        most_bytes = max(limits.least_journal_bytes, limits.journal_share * self.snapshot_bytes)
        most_changes = max(limits.least_journal_changes, limits.journal_changes_share * self.objects)
        return self.journal.size > most_bytes or self.journal.changes > most_changes


class Retry:
    """When something that failed may be tried again."""

    def __init__(self, limits: CopyLimits) -> None:
        self._limits = limits
        self._delay_s = limits.retry_s
        self.due_s = 0.0

    def __repr__(self) -> str:
        return f"<Retry due at {self.due_s:.1f} s>"

    def failed(self, now_s: float) -> None:
        """It failed at ``now_s``; each failure doubles the wait."""
        self.due_s = now_s + self._delay_s
        self._delay_s = min(2 * self._delay_s, self._limits.longest_retry_s)

    def succeeded(self) -> None:
        """It may be done again at once."""
        self._delay_s = self._limits.retry_s
        self.due_s = 0.0


def whole_transactions(records: Sequence[LogRecord], most_bytes: int) -> Iterator[list[bytes]]:
    """The frames of whole transactions, in groups of about ``most_bytes``."""
    frames: list[bytes] = []
    size = 0
    for record in records:
        frames.append(record.frame)
        size += len(record.frame)
        if record.last and size >= most_bytes:
            yield frames
            frames, size = [], 0
    if frames:
        yield frames
