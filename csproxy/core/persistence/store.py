"""The store: a configuration, its recent changes and its counters in one SQL database.

Rules it keeps, whatever happens to the process or the disk:

- A commit is one database transaction: object rows, change records, counters, idempotency key and
  credentials. It is durable when `Store.commit` returns.
- UENs have no gap and never go back: the head is a counter of its own and moves only from the value
  that this store has seen.
- A DBID is never given twice: the counter of a type stays when objects go.
- Only the master that began the newest epoch can commit (fencing).

Everything is synchronous. Methods may be called from any thread, but only from one at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeVar

import msgspec
from sqlalchemy import Connection, Engine, Row, delete, func, insert, select

from csproxy.core.changes import Epoch
from csproxy.core.history import HistoryBatch
from csproxy.core.lease import LEASE_S, Holder, Lease
from csproxy.core.log_in_state import LogInState
from csproxy.core.persistence import tables
from csproxy.core.persistence.creation import create_database
from csproxy.core.persistence.credentials import CREDENTIAL_COLUMNS, credential_row, log_in_row, replace_credentials
from csproxy.core.persistence.engine import create_store_engine, parse_url, sqlite_path, transaction
from csproxy.core.persistence.fence import advance_head, check_epoch, lock_head, read_epochs, read_head, was_written
from csproxy.core.persistence.history import HistoryTable, HistoryWriteError, report_failure
from csproxy.core.persistence.lease import give_up_lease, put_lease, read_lease, renew_lease
from csproxy.core.persistence.records import (
    Batch,
    ChangeRecord,
    CredentialRow,
    KeepPolicy,
    LoadPart,
    ObjectRow,
    Outcome,
    joined_history,
)
from csproxy.core.persistence.rows import (
    CHANGE_COLUMNS,
    change_record,
    change_row,
    final_rows,
    insert_rows,
    key_rows,
    replace_counters,
    replace_objects,
)
from csproxy.core.persistence.schema import migrate, schema_version
from csproxy.errors import ErrorCode, FencedError, LocalProtocolError, StoreError

__all__ = ["PART_ROWS", "Beat", "Store"]

PART_ROWS: Final = 500
"""Rows fetched at a time: 5,000 stall the event loop for 33 to 107 ms, 500 for 6 ms, and are faster."""
_MAX_EPOCHS: Final = 1_000
_NOBODY: Final = Holder("")
T = TypeVar("T")

_answers: Final = msgspec.msgpack.Decoder(ChangeRecord)


class Beat(NamedTuple):
    """How the database stands at one moment: its head UEN and its lease."""

    head: int
    lease: Lease | None


class Store:
    """An open database. Made by `Store.open`; closed by `close` or by leaving its ``with`` block."""

    def __init__(self, engine: Engine, *, keep: KeepPolicy) -> None:
        self._engine = engine
        self._keep = keep
        self._head = 0
        self._epoch: int | None = None
        self._kept_bytes = 0
        self.guid = ""
        self.loaded_head = 0
        self.loaded_epochs: list[Epoch] = []
        self.history_log = HistoryTable(engine, fence=lambda connection: check_epoch(connection, self._epoch))

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Store {self._engine.url.render_as_string()} at UEN {self._head}>"

    @staticmethod
    def create(
        url: str,
        objects: Iterable[ObjectRow],
        *,
        release: str,
        credentials: Iterable[CredentialRow] = (),
        counters: Mapping[int, int] | None = None,
    ) -> None:
        """Make a new database that holds ``objects`` at UEN 0, without epoch and history.

        ``counters`` gives last DBIDs above the highest in ``objects`` (a type's well-known numbers).
        Raises `StoreError` when a database is there already, or cannot be made; then nothing is left.
        """
        create_database(url, objects, release=release, credentials=credentials, counters=counters or {})

    @staticmethod
    def open(url: str, *, reading: bool = False, keep: KeepPolicy | None = None) -> Store:
        """Open an existing database and bring its schema up to date.

        ``reading`` leaves the schema alone: for a look beside a running master. Raises `StoreError`
        (code 5) when the database cannot be reached, and (code 6) when it is no database of ours, or of another
        release.
        """
        parsed = parse_url(url)
        path = sqlite_path(parsed)
        if path is not None and not path.is_file():
            raise StoreError(
                f"there is no database {path}: make one with csproxy init, or correct the path",
                code=ErrorCode.NO_DB_ACCESS,
            )
        store = Store(create_store_engine(parsed), keep=keep or KeepPolicy())
        try:
            with transaction(store._engine, "being opened", reading=reading) as connection:
                store._read_state(connection, may_migrate=not reading)
        except BaseException:
            store.close()
            raise
        return store

    def close(self) -> None:
        """Close all connections; idempotent."""
        self._engine.dispose()

    @property
    def head(self) -> int:
        """UEN of the last change committed or seen by this store."""
        return self._head

    def counters(self) -> dict[int, int]:
        """The last DBID that was given out, per type number; a type without objects may be absent."""
        with transaction(self._engine, "reading the counters", reading=True) as connection:
            rows = connection.execute(select(tables.counters.c.type, tables.counters.c.value)).all()
        return {row.type: row.value for row in rows if row.type != tables.UEN_COUNTER}

    def epochs(self) -> list[Epoch]:
        """The epoch table, oldest first."""
        with transaction(self._engine, "reading the epochs", reading=True) as connection:
            return read_epochs(connection)

    def beat(self) -> Beat:
        """Look how the database stands: a cheap query, for a server that follows another."""
        with transaction(self._engine, "reading the lease", reading=True) as connection:
            return Beat(read_head(connection), read_lease(connection))

    def begin_epoch(
        self,
        random_epoch: int,
        *,
        holder: Holder = _NOBODY,
        lease_s: float = LEASE_S,
        seen: Callable[[Lease | None], bool] = lambda lease: True,
        first: Callable[[Connection], None] = lambda connection: None,
    ) -> list[Epoch]:
        """Take the database as its master: append an epoch, and from now on only its changes can be committed.

        ``random_epoch`` is a random number from 1 to 2^63 - 1. ``holder`` is written into the lease; ``seen``
        is asked, while no other server can take the database, whether the present lease permits it. ``first``
        is called in the same transaction if no server has had the database before. Returns the epoch table.
        Raises `FencedError` when it does not, and `StoreError`.
        """
        with transaction(self._engine, "beginning an epoch") as connection:
            head = lock_head(connection)
            lease = read_lease(connection)
            if not seen(lease):
                raise FencedError(f"another server took the database first: {lease and lease.holder}")
            number = 1 + (connection.execute(select(func.max(tables.epochs.c.number))).scalar() or 0)
            if number == 1:
                first(connection)
            row = {"number": number, "epoch": random_epoch, "first_uen": head + 1}
            connection.execute(insert(tables.epochs), row)
            connection.execute(delete(tables.epochs).where(tables.epochs.c.number <= number - _MAX_EPOCHS))
            put_lease(connection, Lease(random_epoch, 0, lease_s, holder))
            epochs = read_epochs(connection)
            self._kept_bytes = _kept_bytes(connection)
        self._head = head
        self._epoch = random_epoch
        self.history_log.forget()
        return epochs

    def renew(self) -> bool:
        """Say that this master lives; False when another has taken the database."""
        with transaction(self._engine, "renewing the lease") as connection:
            return renew_lease(connection, self._epoch or -1)

    def give_up(self) -> None:
        """Let another server take the database at once; this one cannot commit any more."""
        epoch, self._epoch = self._epoch, None
        if epoch is not None:
            with transaction(self._engine, "giving up the lease") as connection:
                give_up_lease(connection, epoch)

    def read_head(self) -> int:
        """Ask the database for its head UEN, on a connection made anew, since the old one may be what failed."""
        self._start_anew()
        with transaction(self._engine, "reading the head UEN", reading=True) as connection:
            self._head = read_head(connection)
        return self._head

    def was_committed(self, epoch: int, uen: int) -> bool:
        """Whether the change ``uen`` of ``epoch`` is in the database: how an unknown outcome is settled.

        The answer is final: a commit that is still under way at the server is waited for. Raises `StoreError`.
        """
        self._start_anew()
        # a local file has no commits under way, and may be readable only
        local = self._engine.dialect.name == "sqlite"
        with transaction(self._engine, "settling a commit", reading=local) as connection:
            head = read_head(connection) if local else lock_head(connection)
            epochs = read_epochs(connection)
            self._kept_bytes = _kept_bytes(connection)
        self._head = head
        return was_written(epochs, head=head, epoch=epoch, uen=uen)

    def _start_anew(self) -> None:
        self.history_log.forget()
        self._engine.dispose()

    def load(self) -> Generator[LoadPart, None, None]:
        """Every object, by type and DBID, in parts of at most `PART_ROWS`; one consistent state.

        `loaded_head` and `loaded_epochs` are those of this state from the first part, or the end, on.
        """
        c = tables.objects.c
        query = select(c.type, c.dbid, c.folder, c.body).order_by(c.type, c.dbid)
        for rows in self._parts(query, "loading the objects", first=self._remember_state):
            start = 0
            for end in range(1, len(rows) + 1):
                if end == len(rows) or rows[end].type != rows[start].type:
                    part = rows[start:end]
                    dbids, bodies = [row.dbid for row in part], [row.body for row in part]
                    yield LoadPart(part[0].type, dbids, bodies, [row.folder for row in part])
                    start = end

    def history(self, *, after: int = 0, until: int | None = None) -> Iterator[list[ChangeRecord]]:
        """Every change record that is kept above UEN ``after``, by UEN, in parts of at most `PART_ROWS`.

        With ``after`` 0 the first one begins a transaction; the last one ends a transaction, unless ``until``
        cuts it off.
        """
        c = tables.changes.c
        query = select(*CHANGE_COLUMNS).where(c.uen > after).order_by(c.uen)
        if until is not None:
            query = query.where(c.uen <= until)
        for rows in self._parts(query, "loading the history"):
            yield [change_record(row) for row in rows]

    def objects_of(self, type_number: int) -> list[tuple[int, bytes]]:
        """DBID and body of every object of one type."""
        c = tables.objects.c
        with transaction(self._engine, "reading objects", reading=True) as connection:
            rows = connection.execute(select(c.dbid, c.body).where(c.type == type_number).order_by(c.dbid)).all()
        return [(row.dbid, row.body) for row in rows]

    def credentials(self) -> Iterator[list[CredentialRow]]:
        """Every password hash, in parts of at most `PART_ROWS`; without former ones."""
        for rows in self._parts(select(*CREDENTIAL_COLUMNS), "loading the credentials"):
            yield [credential_row(row) for row in rows]

    def log_ins(self) -> Iterator[list[tuple[int, LogInState]]]:
        """DBID and log-in state of every Person that has one, in parts of at most `PART_ROWS`."""
        for rows in self._parts(select(tables.log_ins), "loading the log-ins"):
            yield [log_in_row(row) for row in rows]

    def find_outcome(self, key: str) -> Outcome | None:
        """What the write with this idempotency key came to, None when no such write is known."""
        c = tables.idempotency.c
        with transaction(self._engine, "looking for an idempotency key", reading=True) as connection:
            row = connection.execute(select(c.uen, c.answer).where(c.key == key)).first()
        return None if row is None else Outcome(row.uen, _answers.decode(row.answer))

    def commit(self, *batches: Batch, time_ms: int) -> None:
        """Write ``batches``, which follow each other, in one transaction; they are durable when this returns.

        ``time_ms`` is now, for trimming. Raises `StoreError`; then none of them was written, unless
        the error came from the very end: `read_head` tells.
        """
        if not batches or not all(batch.changes for batch in batches) or self._epoch is None:
            raise LocalProtocolError("a commit needs a begun epoch and at least one change")
        try:
            self._commit(batches, time_ms=time_ms, with_history=True)
        except HistoryWriteError as e:
            # the log never fails a change: once more without it
            self.history_log.forget()
            report_failure(e.__cause__ or e, lost=sum(len(batch.changes) for batch in batches))
            self._commit(batches, time_ms=time_ms, with_history=False)
        except BaseException:
            self.history_log.forget()
            raise

    def _commit(self, batches: Sequence[Batch], *, time_ms: int, with_history: bool) -> None:
        changes = [change for batch in batches for change in batch.changes]
        head = changes[-1].uen
        kept = self._kept_bytes + sum(len(change.payload) for change in changes)
        with transaction(self._engine, "writing a change") as connection:
            advance_head(connection, self._epoch, seen=self._head, head=head)
            replace_objects(connection, final_rows(batches))
            replace_counters(connection, list({k: v for batch in batches for k, v in batch.counters.items()}.items()))
            replace_credentials(connection, [row for batch in batches for row in batch.credentials])
            insert_rows(connection, tables.changes, [change_row(change) for change in changes])
            insert_rows(connection, tables.idempotency, key_rows(batches, time_ms))
            kept -= self._trim(connection, kept, head=head, time_ms=time_ms)
            history = joined_history(batches) if with_history else None
            if history is not None:
                self.history_log.add_batch(connection, history)
        self._head = head
        self._kept_bytes = kept

    def read_beside(self, read: Callable[[Connection], T]) -> T:
        """Read what is stored beside the objects, such as the mode, in one transaction."""
        with transaction(self._engine, "reading the mode", reading=True) as connection:
            return read(connection)

    def write_beside(self, write: Callable[[Connection], None], history: HistoryBatch | None = None) -> None:
        """Write what is stored beside the objects, in one transaction that only the present master can make.

        ``history`` is what the history log gets of it; as in `commit`, an error of the log fails nothing else. It is
        durable when this returns. Raises `StoreError` as `commit`.
        """
        try:
            self._write_beside(write, history)
        except HistoryWriteError as e:
            assert history is not None
            self.history_log.forget()
            report_failure(e.__cause__ or e, lost=len(history.make()))
            self._write_beside(write, None)
        except BaseException:
            self.history_log.forget()
            raise

    def _write_beside(self, write: Callable[[Connection], None], history: HistoryBatch | None) -> None:
        with transaction(self._engine, "writing the mode") as connection:
            check_epoch(connection, self._epoch)
            write(connection)
            if history is not None:
                self.history_log.add_batch(connection, history)

    def _read_state(self, connection: Connection, *, may_migrate: bool) -> None:
        found = schema_version(connection)
        if found is None:
            raise StoreError(
                f"{self._engine.url.render_as_string()} is not a csproxy database: make one with csproxy init"
            )
        if may_migrate:
            migrate(connection)
        elif found != tables.SCHEMA_VERSION:
            raise StoreError(
                f"the database has schema version {found} and this release reads {tables.SCHEMA_VERSION}: "
                "start a master of this release on it first"
            )
        self.guid = connection.execute(select(tables.meta.c.value).where(tables.meta.c.name == "guid")).scalar_one()
        self._head = read_head(connection)
        self._kept_bytes = _kept_bytes(connection)

    def _trim(self, connection: Connection, kept: int, *, head: int, time_ms: int) -> int:
        """Remove the oldest change records as the policy allows, and old keys; returns the bytes freed."""
        keep = self._keep
        keys = tables.idempotency.c
        old = select(keys.key).where(keys.time_ms < time_ms - keep.keys_ms).limit(keep.step)
        connection.execute(delete(tables.idempotency).where(keys.key.in_(old.scalar_subquery())))
        if kept <= keep.max_bytes:
            return 0
        c = tables.changes.c
        query = (
            select(c.uen, c.size, c.last)
            .where(c.uen <= head - keep.min_changes, c.time_ms <= time_ms - keep.min_age_ms)
            .order_by(c.uen)
            .limit(keep.step)
        )
        cut = freed = size = 0
        for row in connection.execute(query):
            if kept - freed <= keep.max_bytes:
                break
            size += row.size
            if row.last:
                cut, freed = row.uen, size
        connection.execute(delete(tables.changes).where(c.uen <= cut))
        return freed

    def _remember_state(self, connection: Connection) -> None:
        self.loaded_head = read_head(connection)
        self.loaded_epochs = read_epochs(connection)

    def _parts(
        self, query: Any, doing: str, *, first: Callable[[Connection], None] = lambda connection: None
    ) -> Iterator[Sequence[Row[Any]]]:
        with transaction(self._engine, doing, reading=True) as connection:
            first(connection)
            streaming = connection.execution_options(yield_per=PART_ROWS)
            with streaming.execute(query) as rows:  # a reader that stops half-way leaves no cursor open
                yield from rows.partitions()


def _kept_bytes(connection: Connection) -> int:
    return int(connection.execute(select(func.coalesce(func.sum(tables.changes.c.size), 0))).scalar_one())
