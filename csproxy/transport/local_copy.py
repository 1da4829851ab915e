"""The local copy: a proxy's data on disk, kept at most a second behind, and read at the next start.

`LocalCopy` stands between the source of data and the server's sink. It passes everything on and notes
it down; one task brings the notes to the disk in a worker thread, once a second, and writes a new
snapshot in pieces when one is needed. Nothing that goes wrong there reaches those who are served.

Formats and files: `csproxy.core.persistence.copy_format`, ``copy_writing``, ``copy_reading``.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self

import anyio
import anyio.abc

from csproxy import __version__
from csproxy.core import codec
from csproxy.core.cache import ConfigurationCache
from csproxy.core.changes import Change, Epoch, Position
from csproxy.core.credentials import BUCKETS, CredentialBook
from csproxy.core.loading import CacheBuilder
from csproxy.core.persistence.copy_format import CopyHeader, Kind, Record, encode_time, model_name, pack_credentials
from csproxy.core.persistence.copy_reading import CopyPaths, StoredCopy, read_copy, set_aside
from csproxy.core.persistence.copy_writing import CopyLock, Journal, SnapshotWriter, blocks, switch_off
from csproxy.core.replica import Replica, ReplicaSink
from csproxy.core.views import View
from csproxy.errors import LocalCopyError
from csproxy.transport import turns
from csproxy.transport.blocking import run_blocking
from csproxy.transport.copy_start import put_credentials, put_in_place
from csproxy.transport.copy_track import CopyLimits, Retry, Track, whole_transactions
from csproxy.transport.leaving import leave_tasks

__all__ = ["CopyLimits", "CopyStatistics", "LocalCopy"]

log = logging.getLogger("csproxy.copy")

_TIME_EVERY_MS: Final = 60_000
_STOP_S: Final = 5.0
_ID_BYTES: Final = 16


class CopyStatistics(NamedTuple):
    """What the copy is now; ``as_of_s`` (seconds since 1970, 0 without a copy) is when its data was current."""

    as_of_s: float
    age_s: float
    snapshot_bytes: int
    journal_bytes: int
    snapshots: int
    failures: int
    last_error: str


class LocalCopy:
    """Keeps a copy of what goes to ``sink`` in ``folder``, for the Application ``application``.

        copy = LocalCopy(server, server.replica, folder, "proxy1", is_current=…, random_bytes=secrets.token_bytes)
        is_loaded = await copy.load()
        async with copy, UpstreamSource(copy, …, from_copy=is_loaded) as source: …

    ``book`` holds the passwords and log-ins of Persons that are kept with the data, at a proxy that its master trusts.
    ``replica`` is the one that the sink fills. ``is_current`` says whether the source is live, so that
    the data is current at this moment. ``wall_clock`` gives seconds since 1970, ``clock`` monotonic ones.
    It implements `csproxy.core.replica.ReplicaSink`. Leaving the context in an orderly way writes what is
    left; an exception only closes the files, and leaves the copy as it would be after kill -9.
    """

    def __init__(
        self,
        sink: ReplicaSink,
        replica: Replica,
        folder: Path,
        application: str,
        *,
        is_current: Callable[[], bool],
        random_bytes: Callable[[int], bytes],
        limits: CopyLimits | None = None,
        wall_clock: Callable[[], float] = time.time,
        clock: Callable[[], float] = turns.now,
        book: CredentialBook | None = None,
    ) -> None:
        self.paths = CopyPaths.of(folder, application)
        self.loaded_as_of_s: float | None = None
        """When the data of the copy that was loaded was current; None without one."""
        self._sink = sink
        self._replica = replica
        self._application = application
        self._book = CredentialBook() if book is None else book
        self._is_current = is_current
        self._random_bytes = random_bytes
        self._limits = limits or CopyLimits()
        self._wall_clock = wall_clock
        self._clock = clock
        self._is_enabled = True
        self._lock: CopyLock | None = None
        self._is_taken = False
        self._current: Track | None = None
        self._coming: Track | None = None
        self._unused: list[Journal] = []
        self._flushed_s = 0.0
        self._as_of_ms = 0
        self._written_as_of_ms = 0
        self._flushes = Retry(self._limits)
        self._snapshots = Retry(self._limits)
        self._snapshot_count = 0
        self._failures = 0
        self._last_error = ""
        self._tasks: anyio.abc.TaskGroup | None = None

    def __repr__(self) -> str:
        return f"<LocalCopy {self.paths.snapshot} of {self._snapshot_count} snapshots, {self._failures} failures>"

    # start and end

    async def load(self) -> bool:
        """Put the copy on disk into the sink, which must be empty; returns whether there was one to use.

        What cannot be used is logged and kept aside. Once, before the context is entered, which then has
        to follow: this holds the files for this process, and leaving the context gives them free.
        """
        if not await run_blocking(self.paths.snapshot.exists):
            return False
        try:
            if not await self._own():
                return False
        except OSError as e:
            self._failed(e)  # a folder that cannot be written can perhaps be read
        try:
            stored = await run_blocking(
                partial(read_copy, self.paths, application=self._application, schema=model_name())
            )
            if stored is None:
                return False
            put_credentials(stored, self._book)
            problem = put_in_place(stored, self._sink)
        except LocalCopyError as e:
            await self._refuse(e)
            return False
        if problem or stored.journal.cut:
            log.warning("local copy %s: %s", self.paths.snapshot, problem or stored.journal.cut, extra={"event": 31070})
        self._as_of_ms = self._written_as_of_ms = stored.as_of_ms
        self.loaded_as_of_s = stored.as_of_ms / 1000
        if not problem and stored.journal.valid_bytes:
            await self._go_on(stored)
        return True

    async def __aenter__(self) -> Self:
        """Begin to keep the copy."""
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        self._tasks.start_soon(self._run)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        """End the task; without an exception write what is left, for at most 5 s."""
        assert self._tasks is not None
        try:
            is_handled = await leave_tasks(self._tasks, kind, error, traceback)
            if kind is None:
                with anyio.move_on_after(_STOP_S, shield=True):
                    await self._finish()
        finally:
            self._close()
        return is_handled

    # state

    @property
    def is_enabled(self) -> bool:
        """Option proxy-snapshot. Off: nothing is written, and what is there will not be used at the next start."""
        return self._is_enabled

    @is_enabled.setter
    def is_enabled(self, value: bool) -> None:
        self._is_enabled = value
        if not value:
            self._abandon()

    def statistics(self) -> CopyStatistics:
        """A snapshot of what was done."""
        track = self._current
        as_of_s = self._written_as_of_ms / 1000
        return CopyStatistics(
            as_of_s=as_of_s,
            age_s=round(max(self._wall_clock() - as_of_s, 0.0), 3) if as_of_s else 0.0,
            snapshot_bytes=track.snapshot_bytes if track else 0,
            journal_bytes=track.journal.size if track and track.journal else 0,
            snapshots=self._snapshot_count,
            failures=self._failures,
            last_error=self._last_error,
        )

    # ReplicaSink

    @property
    def position(self) -> Position:
        """The sink's position."""
        return self._sink.position

    @property
    def cache(self) -> ConfigurationCache:
        """The sink's data set."""
        return self._sink.cache

    @property
    def epochs(self) -> Sequence[Epoch]:
        """The sink's epoch table."""
        return self._sink.epochs

    def publish(self, transaction: Sequence[Change]) -> None:
        """Pass on, then note."""
        self._sink.publish(transaction)
        if self._current is not None or self._coming is not None:
            self._note(Record(Kind.TRANSACTION, b"".join([change.frame for change in transaction])), len(transaction))

    def replace(self, builder: CacheBuilder, position: Position, epochs: Sequence[Epoch]) -> None:
        """Pass on; the copy on disk stays as it is until a new snapshot takes its place."""
        self._sink.replace(builder, position, epochs)
        self._abandon()

    def set_epochs(self, epochs: Sequence[Epoch]) -> None:
        """Pass on, and note a table that is another one."""
        is_new = list(epochs) != list(self._sink.epochs)
        self._sink.set_epochs(epochs)
        if is_new:
            self._note(Record(Kind.EPOCHS, codec.encode([tuple(epoch) for epoch in epochs])), 0)

    def extend_history(self, transactions: Sequence[Sequence[Change]]) -> None:
        """Pass on; the next snapshot holds it."""
        self._sink.extend_history(transactions)

    def _note(self, record: Record, changes: int) -> None:
        for track in (self._current, self._coming):
            if track is not None:
                track.add(record, changes)
        # the disk takes nothing: what is on it stays an older state, and a new snapshot is due
        if self._current is not None and self._current.pending_bytes > self._limits.pending_bytes:
            self._drop_current()
        if self._coming is not None and self._coming.pending_bytes > self._limits.pending_bytes:
            self._coming = None

    def _note_credentials(self) -> None:
        """Passwords and log-ins that have changed; all gone is a reason for a snapshot without them."""
        touched = self._book.take_touched()
        if touched and self._book.is_empty:
            self._abandon()
        elif touched:
            self._note(Record(Kind.CREDENTIALS, pack_credentials(self._book, touched)), 0)

    def _abandon(self) -> None:
        """Nothing more goes to the generation on disk, nor to the one that is being written."""
        self._drop_current()
        self._coming = None

    def _drop_current(self) -> None:
        if self._current is not None and self._current.journal is not None:
            self._unused.append(self._current.journal)  # a thread may be writing to it: closed in the task
        self._current = None

    # the task

    async def _run(self) -> None:
        while True:
            await anyio.sleep(self._limits.interval_s)
            self._close_unused()
            await self._turn()

    async def _turn(self) -> None:
        if self._is_current():
            self._as_of_ms = round(self._wall_clock() * 1000)
        if not self._is_enabled:
            await self._attempt(self._flushes, partial(run_blocking, switch_off, self.paths))
            return
        self._note_credentials()
        if self._current is not None:
            await self._attempt(self._flushes, self._flush)
        track = self._current
        if self._sink.position != (0, 0) and (track is None or track.is_long(self._limits)):
            await self._attempt(self._snapshots, self._write_snapshot)

    async def _attempt(self, retry: Retry, work: Callable[[], Awaitable[None]]) -> None:
        """Do it unless it failed a short while ago; a failure is logged once per cause."""
        if self._clock() < retry.due_s:
            return
        try:
            if not await self._own():
                retry.failed(self._clock())
                return
            await work()
        except OSError as e:
            retry.failed(self._clock())
            self._failed(e)
        else:
            retry.succeeded()
            if self._last_error and not (self._flushes.due_s or self._snapshots.due_s):
                log.info("local copy %s is written again", self.paths.snapshot)
                self._last_error = ""

    def _failed(self, error: OSError) -> None:
        self._failures += 1
        cause = f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}"
        if cause != self._last_error:
            log.warning(
                "local copy %s cannot be written, clients are served as before: %s",
                self.paths.snapshot,
                cause,
                extra={"event": 31071},
            )
            self._last_error = cause

    async def _own(self) -> bool:
        """Whether this process may use the files: a second one with the same folder and name may not.

        Raises OSError when the lock cannot be made.
        """
        if self._lock is None:
            try:
                self._lock = await run_blocking(CopyLock, self.paths.lock)
            except BlockingIOError:
                if not self._is_taken:
                    log.warning(
                        "local copy %s is in use by another process: this one keeps none",
                        self.paths.snapshot,
                        extra={"event": 31071},
                    )
                self._is_taken = True
                return False
            self._is_taken = False
        return True

    async def _flush(self, *, sync: bool = False) -> None:
        """Append what waits to the journal, with the time if the data is current."""
        track = self._current
        if track is None or track.journal is None:
            return
        self._flushed_s = self._clock()
        records, changes = track.take()
        as_of_ms = self._as_of_ms
        if as_of_ms > self._written_as_of_ms and (
            records or sync or as_of_ms - self._written_as_of_ms >= _TIME_EVERY_MS
        ):
            records.append(Record(Kind.TIME, encode_time(as_of_ms)))
        try:
            if records:
                await run_blocking(partial(track.journal.append, records, changes=changes))
                self._written_as_of_ms = as_of_ms
            if sync:
                await run_blocking(track.journal.sync)
        except BaseException:  # cancelled before it began, or nothing of it counts as written
            track.put_back(records, changes)
            raise

    async def _write_snapshot(self, *, in_haste: bool = False) -> None:
        """Write the present state as a new generation, in pieces, and put it in place of the one before."""
        file_id = self._random_bytes(_ID_BYTES)
        # no await until the track is there: the view and the first record that it notes must meet
        coming = self._coming = Track()
        view = self._replica.cache.view(composed=False)
        header = self._header(view)
        limits = self._limits
        history = self._replica.log.tail(min_changes=limits.history_changes, max_bytes=limits.history_bytes)
        writer: SnapshotWriter | None = None
        try:
            writer = await run_blocking(partial(SnapshotWriter, self.paths, header, file_id=file_id))
            pieces = blocks(view, header.counts, block_bytes=limits.block_bytes)
            while written := await run_blocking(writer.write_next, pieces):
                await self._pause(0.0 if in_haste else written / limits.bytes_per_s)
                if self._coming is not coming:
                    return
            for frames in whole_transactions(history, limits.block_bytes):
                written = await run_blocking(writer.write_history, frames)
                await self._pause(0.0 if in_haste else written / limits.bytes_per_s)
            for bucket in range(BUCKETS):
                if entries := self._book.entries(bucket):
                    payload = pack_credentials(self._book, [entry.dbid for entry in entries])
                    written = await run_blocking(writer.write_credentials, payload)
                    await self._pause(0.0 if in_haste else written / limits.bytes_per_s)
            self._note_credentials()
            records, changes = coming.take()
            coming.journal = await run_blocking(partial(writer.commit, records, changes=changes))
        finally:
            if writer is not None:
                writer.abort()
            is_wanted, self._coming = self._coming is coming, None
        self._snapshot_count += 1
        self._written_as_of_ms = header.as_of_ms
        coming.objects, coming.snapshot_bytes = sum(header.counts.values()), writer.size
        self._drop_current()
        if is_wanted:
            self._current = coming
        else:  # a reload came in between: this is an older state, and the next turn writes a newer one
            self._unused.append(coming.journal)
        log.debug("local copy %s: %d bytes at UEN %d", self.paths.snapshot, writer.size, header.uen)

    async def _pause(self, seconds: float) -> None:
        """Let others work, and keep the journal of the present generation going meanwhile."""
        if seconds:
            await anyio.sleep(seconds)
        if self._clock() - self._flushed_s >= self._limits.interval_s:
            await self._flush()

    def _header(self, view: View) -> CopyHeader:
        counts = self._replica.cache.counts(records=True)
        return CopyHeader(
            schema=model_name(),
            application=self._application,
            release=__version__,
            epoch=view.position.epoch,
            uen=view.position.uen,
            epochs=[(epoch.epoch, epoch.first_uen) for epoch in self._replica.epochs],
            counts=counts,
            as_of_ms=self._as_of_ms,
        )

    # ends

    async def _finish(self) -> None:
        """An orderly stop: what waits, or all of it if nothing on disk can be continued."""
        if not self._is_enabled or self._sink.position == (0, 0):
            return
        self._note_credentials()
        if self._current is not None:
            await self._attempt(self._flushes, partial(self._flush, sync=True))
        else:
            await self._attempt(self._snapshots, partial(self._write_snapshot, in_haste=True))

    def _close(self) -> None:
        self._abandon()
        self._close_unused()
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _close_unused(self) -> None:
        for journal in self._unused:
            journal.close()
        self._unused.clear()

    async def _go_on(self, stored: StoredCopy) -> None:
        """Take up the journal that was read, behind its last valid record."""
        state = stored.journal
        changes = self._sink.position.uen - stored.position.uen
        try:
            journal = await run_blocking(
                partial(
                    Journal.reopen,
                    self.paths,
                    stored.file_id,
                    size=state.valid_bytes,
                    count=state.count,
                    changes=changes,
                )
            )
        except OSError as e:
            self._failed(e)
            return
        objects = sum(stored.header.counts.values())
        self._current = Track(journal, objects=objects, snapshot_bytes=stored.snapshot_bytes)

    async def _refuse(self, error: LocalCopyError) -> None:
        """Keep a copy that cannot be used under another name, and say so."""
        try:
            kept = f"kept as {(await run_blocking(set_aside, self.paths)).name}"
        except OSError as e:
            kept = f"it cannot be renamed either: {e.strerror}"
        log.warning("the local copy is not used: %s (%s)", error, kept, extra={"event": 31070})
