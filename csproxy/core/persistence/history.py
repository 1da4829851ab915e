"""The history log in the database: adding, reading, exporting, cleaning up.

Why a table of its own. The change records (table ``changes``) are what a resume is served from: they are bounded
by bytes, trimmed at transaction boundaries and loaded at every start. The history is bounded by days and by a count,
for an audit a year later, and has former values and sessions too. Sharing rows would tie each bound to the other. A
record here is one encoded value, made of the change that is being committed, and it is sent as it is stored.

When it is written. A record of a change is written in the transaction of the change: nothing that was acknowledged is
missing from the log after kill -9, nothing is in the log that did not happen, and it costs no second wait for the disk.
*An error of the log never fails the change*: if its statements fail, `Store.commit` rolls the transaction
back and carries it out again without them, then reports event 21-22138. Doing it anew, and not going back to a
savepoint, holds for every database: SQLite gives up the whole transaction on a full disk, PostgreSQL after any error.
Records of sessions go in transactions of their own, in batches; a batch that is sent again because its answer was
lost is recognised by its identity.

How much. Adding beyond the limit deletes the oldest records of the same kind, at most `STEP` more than were added; so
a lowered limit takes effect over several commits. Sessions count apart from changes, so that clients that
connect over and over cannot push changes out of an audit; so do changes of permissions, accounts and the mode,
which a large import must not push out. The record with the highest number is never
deleted: numbers would be given twice.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from sqlalchemy import ColumnElement, Connection, Engine, and_, delete, func, insert, or_, select
from sqlalchemy.exc import SQLAlchemyError

from csproxy.core.history import HistoryBatch, HistoryFloor, HistoryKind, HistoryPage, HistoryRecord, encode_record
from csproxy.core.persistence import tables
from csproxy.core.persistence.engine import transaction
from csproxy.core.persistence.rows import insert_rows
from csproxy.errors import CsproxyError

__all__ = ["STEP", "HistoryTable", "HistoryWriteError", "report_failure"]

log = logging.getLogger("csproxy.history")

STEP: Final = 500
"""Records that are deleted or exported at a time."""

_c = tables.history.c


class HistoryWriteError(Exception):
    """The statements of the history log failed inside the transaction of a change; ``__cause__`` says why."""


def report_failure(error: BaseException, *, lost: int) -> None:
    """Write event 21-22138: ``lost`` records are not in the log."""
    text = " ".join(str(getattr(error, "orig", None) or error).split())
    log.error("the history log could not be written, %d records are missing in it: %s", lost, text, extra=_EVENT)


_EVENT: Final = {"event": 22138}


class HistoryTable:
    """The log of one open database; used by one thread at a time, like the `Store` that has it.

    ``fence`` is called first in each transaction that writes, and raises when this server must not write.
    """

    def __init__(self, engine: Engine, *, fence: Callable[[Connection], None]) -> None:
        self._engine = engine
        self._fence = fence
        self._last: int | None = None
        self._counts: dict[HistoryKind, int] = {}

    def __repr__(self) -> str:
        return (
            f"<HistoryTable {self._counts.get(HistoryKind.CHANGE, 0)} changes, "
            f"{self._counts.get(HistoryKind.ADMINISTRATION, 0)} of administration, "
            f"{self._counts.get(HistoryKind.SESSION, 0)} sessions>"
        )

    def forget(self) -> None:
        """Ask the database for numbers and counts next time: a transaction came to nothing, or another wrote."""
        self._last = None

    def add_batch(self, connection: Connection, batch: HistoryBatch) -> None:
        """Add a transaction's records inside it. Raises `HistoryWriteError`: the transaction must be rolled back."""
        try:
            self._add(connection, batch.make(), batch.max_records)
        except (SQLAlchemyError, CsproxyError) as e:
            raise HistoryWriteError from e

    def add_sessions(
        self, records: Sequence[HistoryRecord], *, max_records: int, server: str = "", batch: str = ""
    ) -> bool:
        """Add records of sessions, in one transaction. Raises `StoreError`; then none was added.

        ``batch`` identifies them among those of ``server``, which sends its next batch only after this one has been
        stored: False, and nothing added, when it is the last one that was.
        """
        try:
            with transaction(self._engine, "writing the history log") as connection:
                self._fence(connection)
                if batch and not _begin_batch(connection, server, batch):
                    return False
                self._add(connection, records, max_records)
        except BaseException:
            self.forget()
            raise
        return True

    def read(
        self, floor: HistoryFloor, *, after: int = 0, since_uen: int = 0, limit: int = 1000, max_bytes: int = 1 << 20
    ) -> HistoryPage:
        """Records numbered above ``after``, of changes after UEN ``since_uen`` and of everything else from then on.

        Oldest first, at most ``limit`` of them; fewer when they exceed ``max_bytes`` together, at least one.
        """
        wanted = [_c.number > after, _unexpired(floor)]
        if since_uen:
            wanted.append(or_(_c.uen > since_uen, and_(_c.kind != HistoryKind.CHANGE, _c.uen == since_uen)))
        query = select(_c.number, _c.body).where(*wanted).order_by(_c.number).limit(limit + 1)
        numbers: list[int] = []
        bodies: list[bytes] = []
        size = 0
        with transaction(self._engine, "reading the history log", reading=True) as connection:
            for number, body in connection.execution_options(yield_per=100).execute(query):
                size += len(body)
                if len(numbers) == limit or (numbers and size > max_bytes):
                    return HistoryPage(numbers, bodies, more=True)
                numbers.append(number)
                bodies.append(body)
        return HistoryPage(numbers, bodies, more=False)

    def export(self, floor: HistoryFloor) -> Iterator[list[tuple[int, bytes]]]:
        """Every record that has not expired, as number and encoded record, in parts; one consistent state."""
        query = select(_c.number, _c.body).where(_unexpired(floor)).order_by(_c.number)
        with transaction(self._engine, "reading the history log", reading=True) as connection:
            for rows in connection.execution_options(yield_per=STEP).execute(query).partitions():
                yield [(row.number, row.body) for row in rows]

    def clean_up(self, floor: HistoryFloor, *, max_records: int, step: int = STEP) -> int:
        """Delete at most ``step`` expired records of each kind, and as many above the limit; returns how many.

        Call it again until it returns 0. Raises `StoreError`.
        """
        try:
            with transaction(self._engine, "cleaning up the history log") as connection:
                self._fence(connection)
                self._read_state(connection)
                deleted = 0
                for kind in HistoryKind:
                    before_ms = floor.sessions_ms if kind is HistoryKind.SESSION else floor.changes_ms
                    deleted += self._delete(connection, kind, step, before_ms=before_ms)
                    deleted += self._delete(connection, kind, min(step, self._counts[kind] - max_records))
        except BaseException:
            self.forget()
            raise
        return deleted

    def _read_state(self, connection: Connection) -> int:
        """The highest number given out; asks the database once."""
        if self._last is None:
            last = connection.execute(select(func.coalesce(func.max(_c.number), 0))).scalar_one()
            counts = connection.execute(select(_c.kind, func.count()).group_by(_c.kind)).all()
            self._counts = dict.fromkeys(HistoryKind, 0) | {HistoryKind(kind): int(count) for kind, count in counts}
            self._last = int(last)
        return self._last

    def _add(self, connection: Connection, records: Sequence[HistoryRecord], max_records: int) -> None:
        if not records:
            return
        kind = records[0].kind
        first = self._read_state(connection) + 1
        rows = [
            (number, record.uen, int(kind), record.time_ms, encode_record(record))
            for number, record in enumerate(records, first)
        ]
        insert_rows(connection, tables.history, rows)
        self._last = first + len(rows) - 1
        self._counts[kind] += len(rows)
        self._delete(connection, kind, min(len(rows) + STEP, self._counts[kind] - max_records))

    def _delete(self, connection: Connection, kind: HistoryKind, count: int, *, before_ms: int | None = None) -> int:
        """Delete the oldest records of a kind, at most ``count``, those before a time if one is given."""
        if count <= 0:
            return 0
        wanted = [_c.kind == int(kind), _c.number < self._last]
        if before_ms is not None:
            wanted.append(_c.time_ms < before_ms)
        oldest = select(_c.number).where(*wanted).order_by(_c.time_ms, _c.number).limit(count)
        deleted = connection.execute(delete(tables.history).where(_c.number.in_(oldest.scalar_subquery()))).rowcount
        self._counts[kind] -= deleted
        return deleted


def _begin_batch(connection: Connection, server: str, batch: str) -> bool:
    """Note that this batch of a server is stored; False if it was."""
    table = tables.session_batches
    this = table.c.server == server
    if connection.execute(select(table.c.batch).where(this)).scalar() == batch:
        return False
    connection.execute(delete(table).where(this))
    connection.execute(insert(table), {"server": server, "batch": batch})
    return True


def _unexpired(floor: HistoryFloor) -> ColumnElement[bool]:
    return or_(
        and_(_c.kind != int(HistoryKind.SESSION), _c.time_ms >= floor.changes_ms),
        and_(_c.kind == int(HistoryKind.SESSION), _c.time_ms >= floor.sessions_ms),
    )
