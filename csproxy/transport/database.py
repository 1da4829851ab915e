"""The master: owner of the database, source of the data set and the one that carries out writes.

`DatabaseMaster` takes a database (nobody else may have it), brings its content and its recent
history into a `ReplicaSink`, and is the `csproxy.transport.server.Writer` of that server.

A write is planned against the cache, committed in a worker thread, then published; one at a time,
in the order of arrival. From the commit on it cannot be cancelled: what is committed is published.
If a commit fails in a way that leaves its outcome open, the database is asked before anybody is
answered.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import Final, Self, TypeVar, TypeVarTuple

import anyio
import anyio.lowlevel
import msgspec
from sqlalchemy import Connection

from csproxy.core import codec
from csproxy.core.authority import Authority
from csproxy.core.changes import Action, Change, Epoch, Position
from csproxy.core.history import HistorySettings, history_batch
from csproxy.core.loading import CacheBuilder
from csproxy.core.ownership import ObjectId
from csproxy.core.persistence.records import Batch, ChangeRecord, CredentialRow, KeepPolicy, ObjectRow, Outcome
from csproxy.core.persistence.store import Store
from csproxy.core.replica import ReplicaSink
from csproxy.core.rules import PASSWORD_TYPES
from csproxy.core.sessions import Author
from csproxy.core.transactions import RequestedChange
from csproxy.core.writes import Plan, PlannedChange, WritePlanner
from csproxy.errors import ErrorCode, ModelError, ServerError, StoreError
from csproxy.transport.blocking import run_blocking
from csproxy.transport.wire.frames import FLAG_END, Frame
from csproxy.transport.wire.messages import MessageId, decode_payload
from csproxy.transport.wire.notifications import decode_change, encode_notification
from csproxy.transport.wire.writes import (
    AppliedChange,
    ApplyTransaction,
    CreateObject,
    DeleteObject,
    TransactionApplied,
    UpdateObject,
    WriteOutcome,
    WriteOutcomeRead,
)

__all__ = ["DatabaseMaster", "MasterStatistics", "WriteRequest"]

log = logging.getLogger("csproxy.master")

WriteRequest = CreateObject | UpdateObject | DeleteObject
T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_FIRST_RETRY_S: Final = 0.05
_PLANNED_AT_ONCE: Final = 20
"""Changes of a transaction that are planned before other clients get their turn, about 2 ms."""
_ACTIONS: Final = {CreateObject: Action.CREATED, UpdateObject: Action.UPDATED, DeleteObject: Action.DELETED}


@dataclass(frozen=True, kw_only=True)
class MasterStatistics:
    """What a master has done since it took the database."""

    transactions: int
    changes: int
    repeated_keys: int
    failed_commits: int
    head_uen: int


@dataclass(frozen=True, kw_only=True)
class _Pending:
    """A transaction on its way: what is written, what is published, and which hashes change."""

    batch: Batch
    changes: list[Change]
    credentials: Sequence[CredentialRow]
    applied: TransactionApplied


class DatabaseMaster:
    """Async context manager; entering takes the database and loads it, leaving gives it up.

    ``owner`` tells a second server who has the database. ``random_epoch()`` gives a number from 1
    to 2^63 - 1, unpredictable and never repeated. ``hash_password`` is slow on purpose and runs in
    a worker thread. ``settle_s`` is how long a commit of unknown outcome is looked into before its
    caller is told that it is unknown.

    Entering raises `StoreError`: another server has the database, or it cannot be read.
    """

    def __init__(
        self,
        url: str,
        sink: ReplicaSink,
        *,
        owner: str,
        random_epoch: Callable[[], int],
        hash_password: Callable[[str], str],
        wall_clock: Callable[[], float] = time.time,
        keep: KeepPolicy | None = None,
        settle_s: float = 10.0,
    ) -> None:
        self._url = url
        self._sink = sink
        self._owner = owner
        self._random_epoch = random_epoch
        self._hash_password = hash_password
        self._wall_clock = wall_clock
        self._keep = keep
        self._settle_s = settle_s
        self.history_settings = HistorySettings()
        self._store: Store | None = None
        self._epoch = 0
        self._epochs: list[Epoch] = []
        self._counters: dict[int, int] = {}
        self._credentials: dict[ObjectId, str] = {}
        self._unsettled: _Pending | None = None
        self._transactions = self._changes = self._repeated = self._failed = 0
        self.admit: Callable[[Author], Authority | None] = lambda author: None
        """Called before a write is planned, when all earlier ones are done: what the author may do (None: everything).

        What it raises refuses the write.
        """

    def __repr__(self) -> str:
        return f"<DatabaseMaster {self._store!r}, {self._transactions} transactions written>"

    async def __aenter__(self) -> Self:
        self._lock = anyio.Lock()
        self._thread = anyio.CapacityLimiter(1)  # the store serves one thread at a time
        opening = partial(Store.open, self._url, owner=self._owner, keep=self._keep)
        with anyio.CancelScope(shield=True):  # an opened store must not get lost
            store = self._store = await self._run(opening)
        try:
            self._epoch = self._random_epoch()
            self._epochs = await self._run(store.begin_epoch, self._epoch)
            await self._load(store)
        except BaseException:
            await self._close()
            raise
        log.info("database taken: %s, epoch %d", self._store, self._epoch)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._close()

    @property
    def credentials(self) -> Mapping[ObjectId, str]:
        """Password hashes by type number and DBID; always the present ones."""
        return MappingProxyType(self._credentials)

    async def use_store(self, use: Callable[[Store], T]) -> T:
        """Call ``use`` with the open store, in its thread. Raises `StoreError` and what ``use`` raises."""
        return await self._run(use, self._open_store())

    def statistics(self) -> MasterStatistics:
        """A snapshot of the counters."""
        return MasterStatistics(
            transactions=self._transactions,
            changes=self._changes,
            repeated_keys=self._repeated,
            failed_commits=self._failed,
            head_uen=self._sink.position.uen,
        )

    async def write(self, request: WriteRequest, author: Author) -> Sequence[Change]:
        """Carry out a request; its changes are committed and published when this returns.

        A request whose ``key`` was used before by the same author is not carried out again: its
        principal change is returned, at the position where its transaction ended.

        Raises `ModelError` (the rules refuse it), `StoreError` (the database failed; nothing was
        written) and `ServerError` DB_ERROR when the outcome stays unknown. Cancellation takes
        effect before the commit or not at all.
        """
        done = await self._carry_out(request, author)
        return [_repeated(done, request)] if isinstance(done, Outcome) else done.changes

    async def apply(self, request: ApplyTransaction, author: Author) -> tuple[Position, TransactionApplied]:
        """Carry out a transaction, all of it or nothing; it is committed and published when this returns.

        Returns the position of its last change, and what became of each change that was asked for. Key
        and errors as for `write`; a `ModelError` says which change was refused.
        """
        done = await self._carry_out(request, author)
        if isinstance(done, Outcome):
            record = done.answer
            if record.action != MessageId.TRANSACTION_APPLIED:
                raise _used_before(record)
            return Position(record.epoch, done.uen), decode_payload(TransactionApplied, record.payload)
        return done.changes[-1].position, done.applied

    async def read_beside(self, read: Callable[[Connection], T]) -> T:
        """Read what is stored beside the objects (`csproxy.core.persistence.permissions`). Raises `StoreError`."""
        return await self._run(self._open_store().read_beside, read)

    @asynccontextmanager
    async def beside(self) -> AsyncIterator[Callable[[Callable[[Connection], None]], Awaitable[None]]]:
        """While no write of objects runs: ``async with database.beside() as write: await write(rows)``.

        Each ``write`` is a transaction of its own and raises `StoreError`. The block is not cancelled.
        """
        async with self._lock:
            store = self._open_store()

            async def write(rows: Callable[[Connection], None]) -> None:
                await self._run(store.write_beside, rows)

            with anyio.CancelScope(shield=True):
                yield write

    async def outcome(self, request: WriteOutcome, author: Author) -> WriteOutcomeRead:
        """What became of the author's own write with a key, after all writes that are under way.

        Raises `StoreError` if the database cannot be asked.
        """
        async with self._lock:
            with anyio.CancelScope(shield=True):
                store = self._open_store()
                if self._unsettled is not None:
                    await self._settle(store, self._unsettled)
                found = await self._run(store.find_outcome, _scoped_key(request, author))
        if found is None:
            return WriteOutcomeRead()
        record = found.answer
        if record.action == MessageId.TRANSACTION_APPLIED:
            changes = decode_payload(TransactionApplied, record.payload).changes
        else:
            changes = [AppliedChange(action=record.action, type=record.type, dbid=record.dbid)]
        return WriteOutcomeRead(known=True, epoch=record.epoch, uen=found.uen, changes=changes)

    async def _carry_out(self, request: WriteRequest | ApplyTransaction, author: Author) -> _Pending | Outcome:
        """Commit and publish; an `Outcome` if that was done before under the same key."""
        hashes = await self._hash_passwords(request, author)
        async with self._lock:
            with anyio.CancelScope(shield=True):
                done = await self._write(request, author, hashes)
        return done

    async def _write(
        self, request: WriteRequest | ApplyTransaction, author: Author, hashes: Sequence[str]
    ) -> _Pending | Outcome:
        store = self._open_store()
        if self._unsettled is not None:
            await self._settle(store, self._unsettled)
        key = _scoped_key(request, author)
        if key:
            outcome = await self._run(store.find_outcome, key)
            if outcome is not None:
                self._repeated += 1
                return outcome
        time_ms = int(self._wall_clock() * 1000)
        plan = await self._plan(request, author, time_ms)
        pending = self._pending(plan, author, hashes, key=key, time_ms=time_ms)
        if isinstance(request, ApplyTransaction):
            pending = _answered_as_a_whole(pending)
        await self._commit(store, pending, time_ms)
        self._publish(pending)
        return pending

    async def _hash_passwords(self, request: WriteRequest | ApplyTransaction, author: Author) -> Sequence[str]:
        """Hash the request's passwords, in the order of `Plan.passwords`, with the writers' lock free: it takes 50 ms.

        The request is planned for that, so that nothing is hashed for one that would be refused.
        """
        if not any(_has_password(change) for change in _parts_of(request)):
            return ()
        async with self._lock:  # planning a transaction gives way to others, and the cache must stay as it is
            plan = await self._plan(request, author, int(self._wall_clock() * 1000))
        return [await run_blocking(self._hash_password, text) for text in plan.passwords.values()]

    async def _plan(self, request: WriteRequest | ApplyTransaction, author: Author, time_ms: int) -> Plan:
        planner = WritePlanner(
            self._sink.cache,
            counters=self._counters,
            user=author.user,
            application=author.application,
            time_ms=time_ms,
            authority=self.admit(author),
        )
        if isinstance(request, ApplyTransaction):
            for number, change in enumerate(request.changes, 1):
                planner.add(change)
                if number % _PLANNED_AT_ONCE == 0:
                    await anyio.lowlevel.checkpoint()
            return planner.finish()
        if isinstance(request, CreateObject):
            return planner.create(request.type, request.object, folder=request.folder)
        if isinstance(request, UpdateObject):
            return planner.update(request.type, request.dbid, request.delta)
        return planner.delete(request.type, request.dbid)

    def _pending(self, plan: Plan, author: Author, hashes: Sequence[str], *, key: str, time_ms: int) -> _Pending:
        first = self._sink.position.uen + 1
        records, changes = [], []
        for uen, planned in enumerate(plan.changes, first):
            last = uen - first == len(plan.changes) - 1
            record = ChangeRecord(
                uen,
                self._epoch,
                last,
                time_ms,
                planned.action,
                planned.type,
                planned.dbid,
                planned.payload,
                author.user,
                author.application,
            )
            records.append(record)
            changes.append(_change(planned, record))
        credentials = [
            CredentialRow(number, dbid, hash, time_ms)
            for (number, dbid), hash in zip(plan.passwords, hashes, strict=True)
        ]
        credentials += [
            CredentialRow(planned.type, planned.dbid, None, time_ms)
            for planned in plan.changes
            if planned.stored is None and (planned.type, planned.dbid) in self._credentials
        ]
        batch = Batch(
            objects=list(self._rows(plan)),
            changes=records,
            counters=plan.counters,
            credentials=credentials,
            key=key,
            answer=records[plan.answers[0]],
            history=history_batch(self.history_settings, self._sink.cache, plan.changes, changes),
        )
        applied = TransactionApplied(
            changes=[
                AppliedChange(action=change.action, type=change.type, dbid=change.dbid)
                for change in (plan.changes[place] for place in plan.answers)
            ]
        )
        return _Pending(batch=batch, changes=changes, credentials=credentials, applied=applied)

    def _rows(self, plan: Plan) -> Iterable[ObjectRow]:
        """Each object that changes as it is in the end."""
        rows: dict[ObjectId, ObjectRow] = {}
        for planned in plan.changes:
            row = ObjectRow(planned.type, planned.dbid, planned.folder, planned.stored)
            rows[planned.type, planned.dbid] = row
            for id in planned.moved:
                body = rows[id].body if id in rows else self._sink.cache.get(*id)
                rows[id] = ObjectRow(*id, planned.dbid, body)
        return rows.values()

    async def _commit(self, store: Store, pending: _Pending, time_ms: int) -> None:
        try:
            await self._run(partial(store.commit, pending.batch, time_ms=time_ms))
        except StoreError as e:
            self._failed += 1
            self._unsettled = pending
            if not await self._was_written(store, pending, e):
                raise

    async def _was_written(self, store: Store, pending: _Pending, error: StoreError) -> bool:
        """Ask the database whether the failed commit is in it; settles ``self._unsettled``."""
        wait_s = _FIRST_RETRY_S
        deadline = anyio.current_time() + self._settle_s
        while True:
            try:
                head = await self._run(store.read_head)
            except StoreError:
                if anyio.current_time() + wait_s > deadline:
                    raise ServerError.from_code(
                        ErrorCode.DB_ERROR,
                        f"it is unknown whether this was written, because the database cannot be reached: {error}",
                        object_type=pending.changes[-1].type,
                    ) from error
                await anyio.sleep(wait_s)
                wait_s = min(2 * wait_s, 1.0)
                continue
            self._unsettled = None
            return head == pending.changes[-1].position.uen

    async def _settle(self, store: Store, pending: _Pending) -> None:
        """Find out about a commit whose outcome stayed unknown, before anything new is planned."""
        head = await self._run(store.read_head)
        self._unsettled = None
        if head == pending.changes[-1].position.uen:
            self._publish(pending)

    def _publish(self, pending: _Pending) -> None:
        self._counters.update(pending.batch.counters)
        for row in pending.credentials:
            if row.hash is None:
                self._credentials.pop((row.type, row.dbid), None)
            else:
                self._credentials[(row.type, row.dbid)] = row.hash
        self._transactions += 1
        self._changes += len(pending.changes)
        self._sink.publish(pending.changes)

    async def _load(self, store: Store) -> None:
        self._counters = await self._run(store.counters)
        self._credentials = {
            (row.type, row.dbid): row.hash async for row in self._each(store.credentials()) if row.hash is not None
        }
        builder = CacheBuilder(self._sink.cache)
        objects = store.load()
        while (part := await self._run(next, objects, None)) is not None:
            try:
                builder.add(part.type, part.bodies, part.folders)
            except ModelError as e:
                raise StoreError(f"the database holds an object that cannot be read: {e}") from e
        self._sink.replace(builder, Position(self._epoch, store.head), self._epochs)
        transactions: list[list[Change]] = [[]]
        records = _decoded(store.history())
        while (changes := await self._run(next, records, None)) is not None:
            for change in changes:
                transactions[-1].append(change)
                if change.last:
                    transactions.append([])
        self._sink.extend_history(transactions[:-1])

    async def _each(self, parts: Iterator[Sequence[T]]) -> AsyncIterator[T]:
        while (part := await self._run(next, parts, None)) is not None:
            for item in part:
                yield item

    def _open_store(self) -> Store:
        if self._store is None:
            raise StoreError("this master has given up its database", code=ErrorCode.NO_DB_ACCESS)
        return self._store

    async def _close(self) -> None:
        store, self._store = self._store, None
        if store is not None:
            with anyio.CancelScope(shield=True):
                await self._run(store.close)

    async def _run(self, fn: Callable[[*Ts], T], *args: *Ts) -> T:
        return await run_blocking(fn, *args, limiter=self._thread)


def _change(planned: PlannedChange, record: ChangeRecord) -> Change:
    position = Position(record.epoch, record.uen)
    return Change(
        action=planned.action,
        type=planned.type,
        dbid=planned.dbid,
        position=position,
        frame=encode_notification(planned.action, planned.payload, position=position, last=record.last),
        last=record.last,
        object=planned.stored if planned.action is Action.CREATED else None,
        delta=None if planned.delta is None else dict(planned.delta),
        former=planned.former,
        folder=planned.new_folder,
        user=record.user,
        application=record.application,
        time_ms=record.time_ms,
    )


def _decoded(parts: Iterator[list[ChangeRecord]]) -> Iterator[list[Change]]:
    """Change records as changes, made in the thread that reads them."""
    for records in parts:
        yield [_recorded(record, uen=record.uen, last=record.last) for record in records]


def _recorded(record: ChangeRecord, *, uen: int, last: bool) -> Change:
    flags = FLAG_END if last else 0
    return decode_change(Frame(record.action, flags, 0, record.epoch, uen, record.payload))


def _repeated(outcome: Outcome, request: WriteRequest) -> Change:
    """The answer to a request whose key was used before."""
    record = outcome.answer
    same = record.action == _ACTIONS[type(request)] and record.type == request.type
    if not same or (not isinstance(request, CreateObject) and record.dbid != request.dbid):
        raise _used_before(record)
    return _recorded(record, uen=outcome.uen, last=True)


def _used_before(record: ChangeRecord) -> ServerError:
    if record.action == MessageId.TRANSACTION_APPLIED:
        what = "a transaction"
    else:
        what = f"{Action(record.action).name} of object {record.dbid} of type {record.type}"
    return ServerError.from_code(
        ErrorCode.WRONG_API_PARAMETERS,
        f"the idempotency key was used before for another request: {what}",
        object_type=record.type,
    )


def _answered_as_a_whole(pending: _Pending) -> _Pending:
    """The same transaction; its key leads to the answer for all of its changes."""
    last = pending.batch.changes[-1]
    answer = msgspec.structs.replace(
        last, action=int(MessageId.TRANSACTION_APPLIED), type=0, dbid=0, payload=codec.encode(pending.applied)
    )
    return replace(pending, batch=replace(pending.batch, answer=answer))


def _parts_of(request: WriteRequest | ApplyTransaction) -> Sequence[WriteRequest | RequestedChange]:
    return request.changes if isinstance(request, ApplyTransaction) else (request,)


def _has_password(change: WriteRequest | RequestedChange) -> bool:
    if change.type not in PASSWORD_TYPES:
        return False
    return any("password" in getattr(change, part, ()) for part in ("object", "delta"))


def _scoped_key(request: WriteRequest | ApplyTransaction | WriteOutcome, author: Author) -> str:
    """The key as it is stored: nobody can ask for the outcome of somebody else's write."""
    if not request.key:
        return ""
    scope = "\0".join((author.user, author.application, request.key))
    return hashlib.sha256(scope.encode()).hexdigest()
