"""A proxy's passwords and log-ins: kept equal to its master's, and reported to it.

On each connection to the master, once the data is current: log-ins that waited are reported, what differs is read,
and from then on changes are pushed, reports go out once a second, and the digests are compared again once a minute.
While the master is away the proxy goes on with what it has; wrong passwords count here, and are reported later.

A master that does not trust this proxy refuses, and then nothing is kept: whatever came from an earlier time, a local
copy or a database is forgotten.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from typing import Final, Self

import anyio
from anyio.abc import TaskGroup

from csproxy.core.credentials import CredentialBook, PersonEntry
from csproxy.core.log_in_state import LogIn
from csproxy.core.replication import State
from csproxy.errors import (
    AccessDeniedError,
    ConnectionLostError,
    CsproxyError,
    RetryableError,
    TimedOutError,
    UnknownMessageError,
)
from csproxy.transport.batches import Batch, Batches
from csproxy.transport.connection import Connection
from csproxy.transport.upstream import UpstreamSource
from csproxy.transport.wire.credentials import CredentialsChanged, CredentialsRead, LogInRecords, ReadCredentials
from csproxy.transport.wire.frames import Frame
from csproxy.transport.wire.messages import MessageId, decode_payload

__all__ = ["COMPARE_S", "FLUSH_S", "CredentialFollower"]

log = logging.getLogger("csproxy.credentials")

FLUSH_S: Final = 1.0
COMPARE_S: Final = 60.0


class CredentialFollower:
    """Async context manager around one task. ``is_filled``: ``book`` holds something to begin with."""

    def __init__(
        self,
        source: UpstreamSource,
        book: CredentialBook,
        *,
        is_filled: bool = False,
        batch_id: Callable[[], str] = lambda: secrets.token_hex(16),
        timeout_s: float = 30.0,
    ) -> None:
        self.is_complete = is_filled
        """Whether passwords can be checked with the book."""
        self._source = source
        self._book = book
        self._timeout_s = timeout_s
        self._reports: Batches[LogIn] = Batches(batch_id)
        self._changed = anyio.Event()
        self._tasks: TaskGroup | None = None

    def __repr__(self) -> str:
        state = "complete" if self.is_complete else "not complete"
        return f"<CredentialFollower {state}, {len(self._reports)} log-ins to report>"

    async def __aenter__(self) -> Self:
        self._source.on_state.append(self._state_changed)
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        self._tasks.start_soon(self._run)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        assert self._tasks is not None
        self._source.on_state.remove(self._state_changed)
        self._tasks.cancel_scope.cancel()
        await self._tasks.__aexit__(None, None, None)

    def report(self, log_in: LogIn) -> None:
        """Let the master hear of a log-in, soon or when it is back."""
        self._reports.add(log_in)

    @property
    def unreported(self) -> int:
        """Log-ins that the master has not confirmed yet."""
        return len(self._reports)

    # the task

    def _state_changed(self) -> None:
        changed, self._changed = self._changed, anyio.Event()
        changed.set()

    async def _run(self) -> None:
        while True:
            connection = self._source.live_connection() if self._source.state is State.LIVE else None
            if connection is None or connection.error is not None:
                await self._changed.wait()
                continue
            try:
                await self._use(connection)
            except (ConnectionLostError, TimedOutError, RetryableError) as e:
                log.debug("credentials are read again later: %s", e)
                await anyio.sleep(FLUSH_S)
            except (AccessDeniedError, UnknownMessageError) as e:
                self._forget(str(e))
                await connection.wait_closed()
            except CsproxyError as e:
                log.warning("credentials cannot be read from the master: %s", e, extra={"event": 31046})
                await anyio.sleep(COMPARE_S)

    async def _use(self, connection: Connection) -> None:
        """Everything on one connection, until it has ended. Raises what goes wrong on it."""
        connection.on_credentials = self._take
        while connection.error is None:
            await self._report(connection)
            await self._read(connection)
            compare_s = anyio.current_time() + COMPARE_S
            while connection.error is None and anyio.current_time() < compare_s:
                await anyio.sleep(FLUSH_S)
                await self._report(connection)

    async def _read(self, connection: Connection) -> None:
        while await self._read_some(connection):
            pass
        if not self.is_complete:
            self.is_complete = True
            log.info("passwords are checked here from now on: %d of them", len(self._book))

    async def _read_some(self, connection: Connection) -> bool:
        """Take the buckets of one answer; returns whether others differ."""
        answers: list[CredentialsRead] = []

        def take(frame: Frame) -> None:  # in the receive call: what is pushed after the answer is newer
            answer = decode_payload(CredentialsRead, frame.payload)
            for bucket, entries in answer.buckets.items():
                self._book.replace_bucket(bucket, entries)
            answers.append(answer)

        request = ReadCredentials(digests=self._book.digests())
        await connection.request(MessageId.READ_CREDENTIALS, request, timeout_s=self._timeout_s, on_answer=take)
        return answers[0].more

    def _take(self, changed: CredentialsChanged) -> None:
        unreported = {log_in.dbid for log_in in self._reports}
        for entry in changed.entries:
            if entry.dbid in unreported:  # the master's state lacks log-ins that are still to be reported
                entry = PersonEntry(entry.dbid, entry.hash, entry.changed_ms, self._book.state(entry.dbid))
            self._book.put(entry)
        for dbid in changed.removed:
            self._book.remove(dbid)

    async def _report(self, connection: Connection) -> None:
        async def hand_on(batch: Batch[LogIn]) -> bool:
            records = LogInRecords(log_ins=list(batch.records), batch=batch.id)
            await connection.request(MessageId.LOG_IN_RECORDS, records, timeout_s=self._timeout_s)
            return True

        await self._reports.flush(hand_on)

    def _forget(self, reason: str) -> None:
        """This proxy is not trusted."""
        if self.is_complete or len(self._book):
            log.warning("the passwords that were kept here are forgotten: %s", reason, extra={"event": 31046})
        else:
            log.info("log-ins are checked by the master: %s", reason)
        self.is_complete = False
        self._book.clear()
        self._reports.give_up()
