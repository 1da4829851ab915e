"""A master's open database: called in its own thread, and brought into a replica at the start."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TypeVar

import anyio

from csproxy.core.changes import Change, Position
from csproxy.core.credentials import CredentialBook
from csproxy.core.loading import CacheBuilder
from csproxy.core.persistence.records import ChangeRecord
from csproxy.core.persistence.store import Store
from csproxy.core.replica import ReplicaSink
from csproxy.errors import ModelError, StoreError
from csproxy.transport.blocking import run_blocking
from csproxy.transport.database_transactions import recorded_change

__all__ = ["OpenStore", "load", "load_book", "recorded_transactions"]

T = TypeVar("T")


class OpenStore:
    """A store in use: it serves one thread at a time, and so its calls wait for each other."""

    def __init__(self, store: Store, thread: anyio.CapacityLimiter) -> None:
        self._store = store
        self._thread = thread

    def __repr__(self) -> str:
        return repr(self._store)

    @staticmethod
    async def open(opening: Callable[[], Store]) -> OpenStore:
        """Call ``opening`` in the thread. Not cancelled, so that an opened store does not get lost."""
        thread = anyio.CapacityLimiter(1)
        with anyio.CancelScope(shield=True):
            store = await run_blocking(opening, limiter=thread)
        return OpenStore(store, thread)

    async def call(self, use: Callable[[Store], T]) -> T:
        """``use(store)`` in the store's thread. Raises `StoreError` and what ``use`` raises."""
        return await run_blocking(use, self._store, limiter=self._thread)

    async def next_part(self, parts: Iterator[T]) -> T | None:
        """The next of the parts that an iterator of the store gives, made in the thread; None after the last."""
        return await run_blocking(next, parts, None, limiter=self._thread)

    async def close(self, *, reachable: bool = True) -> None:
        """Give the database up, if it is this server's and ``reachable``, and close it; not cancelled."""
        with anyio.CancelScope(shield=True):
            if reachable:
                with suppress(StoreError):  # the lease runs out by itself
                    await self.call(Store.give_up)
            await self.call(Store.close)


async def load(store: OpenStore, sink: ReplicaSink) -> None:
    """Bring all objects, and to an empty ``sink`` the recent history, as of one state of the database.

    Raises `StoreError`: the database cannot be read, or holds what is no object.
    """
    is_first = sink.position == (0, 0)
    builder = CacheBuilder(sink.cache)
    objects = await store.call(Store.load)
    try:
        while (part := await store.next_part(objects)) is not None:
            try:
                builder.add(part.type, part.bodies, part.folders)
            except ModelError as e:
                raise StoreError(f"the database holds an object that cannot be read: {e}") from e
    finally:
        with anyio.CancelScope(shield=True):  # the read transaction must not stay open
            await store.call(lambda _: objects.close())
    head, epochs = await store.call(lambda store: (store.loaded_head, store.loaded_epochs))
    sink.replace(builder, Position(epochs[-1].epoch, head), epochs)
    if is_first:
        sink.extend_history(await recorded_transactions(store, until=head))


async def load_book(store: OpenStore, book: CredentialBook) -> None:
    """Fill ``book`` with the passwords and log-ins of the database, and nothing else. Raises `StoreError`."""
    book.clear()
    passwords = await store.call(Store.credentials)
    while (rows := await store.next_part(passwords)) is not None:
        for row in rows:
            book.set_hash((row.type, row.dbid), row.hash, changed_ms=row.updated_ms)
    log_ins = await store.call(Store.log_ins)
    while (states := await store.next_part(log_ins)) is not None:
        for dbid, state in states:
            book.set_state(dbid, state)
    book.take_touched()


async def recorded_transactions(store: OpenStore, *, after: int = 0, until: int) -> list[list[Change]]:
    """The recorded transactions above UEN ``after`` up to ``until``, oldest first."""
    transactions: list[list[Change]] = [[]]
    parts = _decoded(await store.call(lambda store: store.history(after=after, until=until)))
    while (changes := await store.next_part(parts)) is not None:
        for change in changes:
            transactions[-1].append(change)
            if change.last:
                transactions.append([])
    return transactions[:-1]


def _decoded(parts: Iterator[list[ChangeRecord]]) -> Iterator[list[Change]]:
    """Change records as changes, made in the thread that reads them."""
    for records in parts:
        yield [recorded_change(record, uen=record.uen, last=record.last) for record in records]
