"""The master: owner of the database, source of the data set and the one that carries out writes.

`DatabaseMaster` takes a database (nobody else may have it), brings its content and its recent
history into a `ReplicaSink`, and is the `csproxy.transport.server.Writer` of that server. Two of them may be
a pair on one database: then one is the primary, which writes, and the other follows until it takes over.

A write is planned against the cache, committed in a worker thread, then published, in the order of arrival; those
that have come meanwhile are planned one on the other and share the next commit. Once a write is taken up it cannot be
cancelled: what is committed is published.
What that takes stands apart:

    database_store.py         the open database, and loading it
    database_transactions.py  what a plan comes to: rows, changes, the answer
    database_commits.py       committing, and settling a commit of unknown outcome
    database_queue.py         the writes that wait, and which of them share a commit
    database_outcomes.py      idempotency keys and their answers
    database_passwords.py     hashing, and passwords that are not to be repeated
    database_lease.py         the primary's lease, and a database that is away
    database_follower.py      the backup
    database_roles.py         who may take the database, who may follow
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Final, Protocol, Self, TypeVar

import anyio
import anyio.abc
import anyio.lowlevel
from sqlalchemy import Connection

from csproxy.core.authority import Authority
from csproxy.core.changes import Change, Position
from csproxy.core.credentials import CredentialBook
from csproxy.core.history import HistoryBatch, HistorySettings
from csproxy.core.lease import LEASE_S, Holder, Lease
from csproxy.core.model.enumerations import CfgObjectType
from csproxy.core.ownership import ObjectId
from csproxy.core.persistence.initial import put_first_options
from csproxy.core.persistence.records import KeepPolicy, Outcome
from csproxy.core.persistence.store import Store
from csproxy.core.replica import ReplicaSink
from csproxy.core.sessions import Author
from csproxy.core.transactions import RequestedChange
from csproxy.core.writes import Plan, WritePlanner
from csproxy.errors import ErrorCode, StoreError
from csproxy.transport.database_commits import Committer
from csproxy.transport.database_follower import POLL_S, Follower
from csproxy.transport.database_lease import RECONNECT_S, LeaseKeeper
from csproxy.transport.database_outcomes import outcome_read, repeated_transaction, repeated_write, scoped_key
from csproxy.transport.database_passwords import PasswordHasher, has_password
from csproxy.transport.database_queue import Group, QueuedWrite, WriteQueue
from csproxy.transport.database_roles import wait_for_role
from csproxy.transport.database_store import OpenStore, load, load_book
from csproxy.transport.database_transactions import (
    PendingTransaction,
    RecordPlan,
    pending_records,
    pending_transaction,
)
from csproxy.transport.leaving import leave_tasks
from csproxy.transport.wire.writes import (
    ApplyTransaction,
    CreateObject,
    TransactionApplied,
    UpdateObject,
    WriteOutcome,
    WriteOutcomeRead,
    WriteRequest,
)

__all__ = ["DatabaseMaster", "MasterStatistics"]

log = logging.getLogger("csproxy.master")
T = TypeVar("T")

_PLANNED_AT_ONCE: Final = 40
"""Changes of a transaction that are planned before other clients get their turn, about 2 ms; `_weight` of them."""
_PERSON: Final = int(CfgObjectType.CFGPerson)


@dataclass(frozen=True, kw_only=True)
class MasterStatistics:
    """What a master has done since it took the database."""

    transactions: int
    changes: int
    repeated_keys: int
    failed_commits: int
    head_uen: int


class WriteBeside(Protocol):
    """Writes rows in a transaction of its own, with what the history log gets of it."""

    async def __call__(self, rows: Callable[[Connection], None], history: HistoryBatch | None = None) -> None:
        """Raises `StoreError`; then nothing was written."""


class DatabaseMaster:
    """Async context manager; entering takes the database and loads it, or follows its primary; leaving gives it up.

    ``holder`` is this server as others see it. ``random_epoch()`` gives a number from 1
    to 2^63 - 1, unpredictable and never repeated. ``hash_password`` is slow on purpose and runs in
    a worker thread; so is ``verify_password(password, hash)``, without which passwords can be repeated.
    ``settle_s`` is how long a commit of unknown outcome is looked into before its caller is told that it is unknown.
    ``lease_s``: a primary that is not heard of for so long is replaced;
    ``reconnect_s``: the longest time between attempts to reach a database that is away.

    ``first_options``, {section: {option: text}}, are given to the holder's Application if no server has had the
    database before.

    ``on_takeover`` are called, in order, before a takeover is complete; ``on_role`` at each change of
    `is_primary`.

    Entering raises `StoreError`: a server that is not this one's pair has the database, or it cannot be read.
    """

    def __init__(
        self,
        url: str,
        sink: ReplicaSink,
        *,
        holder: Holder,
        random_epoch: Callable[[], int],
        hash_password: Callable[[str], str],
        wall_clock: Callable[[], float] = time.time,
        keep: KeepPolicy | None = None,
        settle_s: float = 10.0,
        lease_s: float = LEASE_S,
        reconnect_s: float = RECONNECT_S,
        verify_password: Callable[[str, str], bool] = lambda password, stored: False,
        first_options: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        self._url = url
        self._sink = sink
        self._holder = holder
        self._random_epoch = random_epoch
        self.book = CredentialBook()
        """Passwords and log-ins, while it is the primary."""
        self._hasher = PasswordHasher(self.book, hash_password, verify_password)
        self._wall_clock = wall_clock
        self._keep = keep
        self._lease_s = lease_s
        self._reconnect_s = reconnect_s
        self._first_options = first_options or {}
        self.history_settings = HistorySettings()
        self.delay_reload_s = 0.0
        """Option delay-reload-backup: how long a backup waits before it reads everything anew."""
        self._store: OpenStore | None = None
        self._keeper: LeaseKeeper | None = None
        self._follower: Follower | None = None
        self._tasks: anyio.abc.TaskGroup | None = None
        self._committer = Committer(settle_s=settle_s)
        self._queue = WriteQueue()
        self._epoch = 0
        self._counters: dict[int, int] = {}
        self._transactions = self._changes = self._repeated = 0
        self.on_takeover: list[Callable[[], Awaitable[None]]] = []
        self.on_role: Callable[[], None] = lambda: None
        self.is_replaced: Callable[[], Awaitable[bool]] = _not_known
        """Asked while the database is away and the lease has run out: whether the other one is primary now."""
        self.on_passwords: Callable[[Collection[int]], None] = lambda dbids: None
        """Called with the Persons whose password has been set or is gone, before that is published."""
        self.admit: Callable[[Author], Authority | None] = lambda author: None
        """Called before a write is planned, when all earlier ones are done: what the author may do (None: everything).

        What it raises refuses the write.
        """

    def __repr__(self) -> str:
        role = "primary" if self.is_primary else "backup"
        return f"<DatabaseMaster {role}, {self._store!r}, {self._transactions} transactions written>"

    async def __aenter__(self) -> Self:
        self._lock = anyio.Lock()
        self._store = store = await OpenStore.open(partial(Store.open, self._url, keep=self._keep))
        try:
            lease = await wait_for_role(store, self._holder, lease_s=self._lease_s)
            self._follower = self._new_follower(store)
            if lease.may_be_taken:
                await self._take(store, lease.seen)
                await load(store, self._sink)
                await self._begin(store)
            else:
                await self._follower.catch_up(await store.call(Store.beat))
                log.info("backup of %s: following %s", lease.seen and lease.seen.holder, store)
        except BaseException:
            await self._close()
            raise
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        self._tasks.start_soon(self._change_roles, store)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        assert self._tasks is not None
        try:
            return await leave_tasks(self._tasks, kind, error, traceback)
        finally:
            await self._close()

    @property
    def is_primary(self) -> bool:
        """Whether this server has the database, and not the other of the pair."""
        return self._keeper is not None

    @property
    def primary(self) -> Holder | None:
        """Who has the database, as far as is known here."""
        if self.is_primary:
            return self._holder
        lease = self._follower.lease if self._follower is not None else None
        return None if lease is None or lease.is_given_up else lease.holder

    # roles

    async def _change_roles(self, store: OpenStore) -> None:
        while True:
            if self._keeper is not None:
                await self._keeper.keep()
                await self._step_down(store)
            self._follower = follower = self._follower or self._new_follower(store)
            seen = await follower.until_free()
            try:
                await self._take_over(store, seen)
            except StoreError as e:
                log.warning("the database was not taken over: %s", e, extra={"event": 31051})
                await anyio.sleep(POLL_S)

    async def _take_over(self, store: OpenStore, seen: Lease | None) -> None:
        """From backup to primary. Raises `StoreError`; then the follower finds out how things stand."""
        with anyio.CancelScope(shield=True):
            await self._take(store, seen)
            assert self._follower is not None
            await self._follower.catch_up(await store.call(Store.beat))
            for step in self.on_takeover:
                await step()
            await self._begin(store)
        log.warning(
            "took the database over at UEN %d, epoch %d", self._sink.position.uen, self._epoch, extra={"event": 31050}
        )
        self.on_role()

    async def _take(self, store: OpenStore, seen: Lease | None) -> None:
        epoch = self._random_epoch()
        first = partial(put_first_options, application=self._holder.application, options=self._first_options)
        epochs = await store.call(
            lambda store: store.begin_epoch(
                epoch, holder=self._holder, lease_s=self._lease_s, seen=lambda lease: lease == seen, first=first
            )
        )
        self._epoch = epoch
        if len(epochs) == 1 and self._first_options:
            log.info(
                "first start on this database: options of confserv.conf are in the Application object %r now",
                self._holder.application,
            )

    async def _begin(self, store: OpenStore) -> None:
        """Accept writes."""
        self._counters = await store.call(Store.counters)
        await load_book(store, self.book)
        self._keeper = LeaseKeeper(
            store, lease_s=self._lease_s, reconnect_s=self._reconnect_s, is_replaced=lambda: self.is_replaced()
        )
        log.info("database taken: %s, epoch %d", store, self._epoch)

    async def _step_down(self, store: OpenStore) -> None:
        """From primary to backup: refuse writes, wait for those under way, then tell."""
        self._keeper = None
        async with self._lock:
            self._committer.forget()
        self._follower = self._new_follower(store)
        log.warning("another master has taken the database: this one is its backup now", extra={"event": 4504})
        self.on_role()

    def _new_follower(self, store: OpenStore) -> Follower:
        return Follower(
            store,
            self._sink,
            self._holder,
            lease_s=self._lease_s,
            reconnect_s=self._reconnect_s,
            delay_reload_s=lambda: self.delay_reload_s,
        )

    @property
    def credentials(self) -> Mapping[ObjectId, str]:
        """Password hashes by type number and DBID; always the present ones."""
        return self.book.hashes

    def now_ms(self) -> int:
        """The time of its wall clock."""
        return int(self._wall_clock() * 1000)

    async def use_store(self, use: Callable[[Store], T]) -> T:
        """Call ``use`` with the open store, in its thread. Raises `StoreError` and what ``use`` raises."""
        return await self._open_store().call(use)

    def statistics(self) -> MasterStatistics:
        """A snapshot of the counters."""
        return MasterStatistics(
            transactions=self._transactions,
            changes=self._changes,
            repeated_keys=self._repeated,
            failed_commits=self._committer.failures,
            head_uen=self._sink.position.uen,
        )

    async def write(self, request: WriteRequest, author: Author) -> Sequence[Change]:
        """Carry out a request; its changes are committed and published when this returns.

        A request whose ``key`` was used before by the same author is not carried out again: its
        principal change is returned, at the position where its transaction ended.

        Raises `ModelError` (the rules refuse it), `StoreError` (the database failed; nothing was
        written) and `OutcomeUnknownError` when the outcome stays unknown. Cancellation takes
        effect before the commit or not at all.
        """
        done = await self._carry_out(request, author)
        return [repeated_write(done, request)] if isinstance(done, Outcome) else done.changes

    async def apply(self, request: ApplyTransaction, author: Author) -> tuple[Position, TransactionApplied]:
        """Carry out a transaction, all of it or nothing; it is committed and published when this returns.

        Returns the position of its last change, and what became of each change that was asked for. Key
        and errors as for `write`; a `ModelError` says which change was refused.
        """
        done = await self._carry_out(request, author)
        if isinstance(done, Outcome):
            return repeated_transaction(done)
        return done.end, done.applied

    async def read_beside(self, read: Callable[[Connection], T]) -> T:
        """Read what is stored beside the objects (`csproxy.core.persistence.mode`). Raises `StoreError`."""
        return await self._open_store().call(lambda store: store.read_beside(read))

    @asynccontextmanager
    async def beside(self) -> AsyncIterator[WriteBeside]:
        """While no write of objects runs: ``async with database.beside() as write: await write(rows)``.

        Each ``write`` is a transaction of its own and raises `StoreError`. The block is not cancelled.
        """
        async with self._lock:
            store = self._writable_store()

            async def write(rows: Callable[[Connection], None], history: HistoryBatch | None = None) -> None:
                with self._noting():
                    await store.call(lambda store: store.write_beside(rows, history))

            with anyio.CancelScope(shield=True):
                yield write

    @asynccontextmanager
    async def standing_still(self) -> AsyncIterator[OpenStore]:
        """While no write runs, the sink stands where the database stands. Raises `StoreError`."""
        async with self._lock:
            with anyio.CancelScope(shield=True):
                store = await self._settled_store()
            yield store

    async def change_records(self, plan: Callable[[], RecordPlan], author: Author) -> None:
        """Commit and publish what ``plan()`` says of security records, as a transaction of its own.

        It is called when all earlier writes are done, and what it raises refuses the change. Raises as `write`.
        """
        self._writable_store()
        async with self._lock:
            with anyio.CancelScope(shield=True):
                store = await self._settled_store()
                time_ms, first = self.now_ms(), Position(self._epoch, self._sink.position.uen + 1)
                pending = pending_records(plan(), author, cache=self._sink.cache, first=first, time_ms=time_ms)
                if pending is not None:
                    await self._committer.commit(store, pending, time_ms=time_ms, note=self._note)
                    self._publish(pending)

    async def outcome(self, request: WriteOutcome, author: Author) -> WriteOutcomeRead:
        """What became of the author's own write with a key, after all writes that are under way.

        Raises `StoreError` if the database cannot be asked.
        """
        async with self._lock:
            with anyio.CancelScope(shield=True):
                store = await self._settled_store()
                found = await store.call(lambda store: store.find_outcome(scoped_key(request, author)))
        return outcome_read(found)

    def enqueue(self, request: UpdateObject, author: Author) -> QueuedWrite | None:
        """Let a write wait for its turn behind those that were enqueued before it; `finish` waits for it.

        None for one that sets a password: it takes its time before its turn.
        """
        return None if has_password(request) else self._enqueue(request, author, ())

    async def finish(self, write: QueuedWrite) -> Sequence[Change]:
        """What `write` returns and raises, for an enqueued request."""
        done = await self._finish(write)
        assert not isinstance(write.request, ApplyTransaction)
        return [repeated_write(done, write.request)] if isinstance(done, Outcome) else done.changes

    def withdraw(self, write: QueuedWrite) -> None:
        """Do not carry out an enqueued write, unless that has begun; nobody waits for it."""
        self._queue.withdraw(write)

    async def _carry_out(
        self, request: WriteRequest | ApplyTransaction, author: Author
    ) -> PendingTransaction | Outcome:
        """Commit and publish; an `Outcome` if that was done before under the same key."""
        hashes = await self._hash_passwords(request, author)
        if isinstance(hashes, Outcome):
            return hashes
        return await self._finish(self._enqueue(request, author, hashes))

    def _enqueue(self, request: WriteRequest | ApplyTransaction, author: Author, hashes: Sequence[str]) -> QueuedWrite:
        write = QueuedWrite(request, author, hashes, scoped_key(request, author))
        self._queue.add(write)
        return write

    async def _finish(self, write: QueuedWrite) -> PendingTransaction | Outcome:
        """Wait until a write is settled: by whoever has the lock, or by this task when it gets it."""
        if write.is_settled:
            return write.result()
        try:
            async with self._lock:
                with anyio.CancelScope(shield=True):
                    while not write.is_settled:
                        assert not write.is_taken, "who took it up has settled it, or failed at once"
                        await self._write_next(write)
        except anyio.get_cancelled_exc_class():
            self._queue.withdraw(write)
            if write.is_taken and not write.is_settled:
                with anyio.CancelScope(shield=True):
                    async with self._lock:  # whoever has taken it up brings it to its end
                        pass
            raise
        return write.result()

    async def _write_next(self, mine: QueuedWrite) -> None:
        """Plan the writes that are next and may be written together, commit and publish them."""
        try:
            store = await self._settled_store()
        except BaseException:
            self._queue.withdraw(mine)
            raise
        group = Group(self._sink.cache, lambda author: self.admit(author))
        time_ms = self.now_ms()
        while (write := self._queue.next_for(group)) is not None:
            try:
                await self._plan_into(group, write, store, time_ms)
            except Exception as e:  # noqa: BLE001 - it belongs to who waits for this write
                write.error = e
        if not group.pending:
            return
        try:
            await self._committer.commit(store, *group.pending, time_ms=time_ms, note=self._note)
        except StoreError as e:
            if len(group.writes) > 1:
                self._queue.try_alone(group.writes)
            else:
                group.writes[0].error = e
        except Exception as e:  # noqa: BLE001 - as above: the outcome is unknown to each of them
            for write in group.writes:
                write.error = e
        else:
            for write, pending in zip(group.writes, group.pending, strict=True):
                self._publish(pending)
                write.done = pending

    async def _plan_into(self, group: Group, write: QueuedWrite, store: OpenStore, time_ms: int) -> None:
        """Plan a write as if the group's were published; it is in the group then, or settled."""
        write.done = await self._done_before(store, write.key)
        if write.done is not None:
            return
        request, author = write.request, write.author
        plan = await self._plan(request, author, time_ms, group)
        last = group.pending[-1].end if group.pending else self._sink.position
        pending = pending_transaction(
            plan,
            author,
            await self._hasher.with_former(plan, write.hashes, store),
            cache=group.before,
            first=Position(self._epoch, last.uen + 1),
            key=write.key,
            time_ms=time_ms,
            with_password=self.book,
            history=self.history_settings,
        )
        if isinstance(request, ApplyTransaction):
            pending = pending.answered_as_a_whole()
        group.add(write, plan, pending)

    async def _done_before(self, store: OpenStore, key: str) -> Outcome | None:
        outcome = await store.call(lambda store: store.find_outcome(key)) if key else None
        self._repeated += outcome is not None
        return outcome

    async def _hash_passwords(
        self, request: WriteRequest | ApplyTransaction, author: Author
    ) -> Sequence[str] | Outcome:
        """Hash the request's passwords, in the order of `Plan.passwords`, with the writers' lock free: 50 ms for each.

        The request is planned for that, so that nothing is hashed for one that would be refused, or was carried out.
        """
        if not any(has_password(change) for change in _parts_of(request)):
            return ()
        async with self._lock:  # planning a transaction gives way to others, and the cache must stay as it is
            with anyio.CancelScope(shield=True):
                store = await self._settled_store()
                outcome = await self._done_before(store, scoped_key(request, author))
            if outcome is not None:
                return outcome
            plan = await self._plan(request, author, self.now_ms())
        return await self._hasher.hashes(plan, store)

    async def _plan(
        self, request: WriteRequest | ApplyTransaction, author: Author, time_ms: int, group: Group | None = None
    ) -> Plan:
        planner = WritePlanner(
            self._sink.cache,
            counters=self._counters,
            user=author.user,
            application=author.application,
            time_ms=time_ms,
            authority=self.admit(author) if group is None else group.authority_of(author),
            overlay=None if group is None else group.overlay,
        )
        if isinstance(request, ApplyTransaction):
            planned = 0
            for change in request.changes:
                planner.add(change)
                planned += _weight(change)
                if planned >= _PLANNED_AT_ONCE:
                    planned = 0
                    await anyio.lowlevel.checkpoint()
            return planner.finish()
        if isinstance(request, CreateObject):
            return planner.create(request.type, request.object, folder=request.folder)
        if isinstance(request, UpdateObject):
            return planner.update(request.type, request.dbid, request.delta)
        return planner.delete(request.type, request.dbid)

    def _publish(self, pending: PendingTransaction) -> None:
        self._counters.update(pending.batch.counters)
        for row in pending.credentials:
            self.book.set_hash((row.type, row.dbid), row.hash, changed_ms=row.updated_ms)
            if row.hash is None and row.type == _PERSON:
                self.book.remove(row.dbid)
        if pending.credentials:
            self.on_passwords({row.dbid for row in pending.credentials if row.type == _PERSON})
        self._transactions += 1
        self._changes += len(pending.changes)
        self._sink.publish(pending.changes)

    async def _settled_store(self) -> OpenStore:
        """The store, once it is known what became of every commit and all that was written is published."""
        store = self._writable_store()
        with self._noting():
            written = await self._committer.settle(store)
        for pending in written:
            self._publish(pending)
        return store

    def _writable_store(self) -> OpenStore:
        """The store. Raises `StoreError` at once when nothing can be written now."""
        store = self._open_store()
        if self._keeper is None:
            raise StoreError(
                f"another master has the database, {self.primary}: this one is its backup", code=ErrorCode.NO_DB_ACCESS
            )
        self._keeper.check()
        return store

    @contextmanager
    def _noting(self) -> Iterator[None]:
        """Tell the keeper of the lease when the database fails, before anybody waits for it."""
        try:
            yield
        except StoreError as e:
            self._note(e)
            raise

    def _note(self, error: StoreError) -> None:
        if self._keeper is not None:
            self._keeper.note(error)

    def _open_store(self) -> OpenStore:
        if self._store is None:
            raise StoreError("this master has given up its database", code=ErrorCode.NO_DB_ACCESS)
        return self._store

    async def _close(self) -> None:
        store, self._store = self._store, None
        keeper, self._keeper = self._keeper, None
        if store is not None:
            with anyio.CancelScope(shield=True):
                async with self._lock:  # a write that is under way ends as it would
                    await store.close(reachable=keeper is None or keeper.is_well)


async def _not_known() -> bool:
    return False


def _parts_of(request: WriteRequest | ApplyTransaction) -> Sequence[WriteRequest | RequestedChange]:
    return request.changes if isinstance(request, ApplyTransaction) else (request,)


def _weight(change: RequestedChange) -> int:
    """How many ordinary changes the planning of this one may take as long as: a group can have thousands of members."""
    parts = [part for each in change.delta.values() if isinstance(each, dict) for part in each.values()]
    return 1 + sum(len(part) for part in (*change.object.values(), *parts) if isinstance(part, list)) // 20
