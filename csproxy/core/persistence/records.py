"""What goes into a store and comes out of it, as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from csproxy.core.history import HistoryBatch

__all__ = ["Batch", "ChangeRecord", "CredentialRow", "KeepPolicy", "LoadPart", "ObjectRow", "Outcome", "joined_history"]


class ObjectRow(NamedTuple):
    """An object as stored; ``body`` None deletes the row. ``is_new``: there is no row of it yet."""

    type: int
    dbid: int
    folder: int
    body: bytes | None
    is_new: bool = False


class CredentialRow(NamedTuple):
    """A password hash; ``hash`` None deletes it. ``former`` are those before it, newest first."""

    type: int
    dbid: int
    hash: str | None
    updated_ms: int
    former: Sequence[str] = ()

    def __repr__(self) -> str:
        return f"<CredentialRow {self.type}/{self.dbid}>"


class ChangeRecord(msgspec.Struct, frozen=True, array_like=True):
    """One change as recorded; ``payload`` is that of its notification, byte for byte."""

    uen: int
    epoch: int
    last: bool
    time_ms: int
    action: int
    type: int
    dbid: int
    payload: bytes
    user: str
    application: str


class Outcome(NamedTuple):
    """What a write with an idempotency key came to: its principal change, and the transaction's last UEN."""

    uen: int
    answer: ChangeRecord


class LoadPart(NamedTuple):
    """Some objects of one type, ascending by DBID: parallel lists."""

    type: int
    dbids: Sequence[int]
    bodies: Sequence[bytes]
    folders: Sequence[int]


@dataclass(frozen=True, kw_only=True)
class Batch:
    """What one commit writes: all of it or nothing.

    ``changes`` continue the head UEN without a gap, the last one has ``last``; ``counters`` are new
    values of the last DBID per type. ``key`` is an idempotency key, recorded with ``answer``. ``history`` goes
    to the history log, whose failure is reported and fails nothing.
    """

    objects: Sequence[ObjectRow]
    changes: Sequence[ChangeRecord]
    counters: Mapping[int, int] = field(default_factory=dict)
    credentials: Sequence[CredentialRow] = ()
    key: str = ""
    answer: ChangeRecord | None = None
    history: HistoryBatch | None = None


def joined_history(batches: Sequence[Batch]) -> HistoryBatch | None:
    """What the history log gets of batches that are written together; None for nothing."""
    parts = [batch.history for batch in batches if batch.history is not None]
    if len(parts) < 2:
        return parts[0] if parts else None
    return HistoryBatch(lambda: [record for part in parts for record in part.make()], parts[-1].max_records)


@dataclass(frozen=True, kw_only=True)
class KeepPolicy:
    """How many change records are kept: all up to ``max_bytes`` of payload, beyond it never less than the minima.

    Design: 2,048 changes and 75 s at least, 64 MB. ``keys_ms`` is how long an idempotency key is
    known; ``step`` bounds the records that one commit removes (it must hold a whole transaction).
    """

    min_changes: int = 2048
    min_age_ms: int = 75_000
    max_bytes: int = 64 * 1024 * 1024
    keys_ms: int = 24 * 3600 * 1000
    step: int = 2048
