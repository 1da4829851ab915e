"""One connection to the master: resuming, loading, and publishing what arrives.

Changes are published inside the receive call, a transaction at a time. While a load runs they are
kept back, within a limit, and published right after the new data set.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import anyio
import msgspec

from csproxy.core.changes import Change, Epoch, Position
from csproxy.core.loading import CacheBuilder
from csproxy.core.replica import ReplicaSink
from csproxy.core.replication import ChangeStream, newest_name
from csproxy.core.security_records import RECORDS
from csproxy.errors import ConnectionLostError, CsproxyError, RemoteProtocolError, ServerError, TimedOutError
from csproxy.transport.connection import Connection
from csproxy.transport.upstream_load import read_all_types
from csproxy.transport.wire.frames import FLAG_END, with_flags
from csproxy.transport.wire.messages import MessageId, decode_payload
from csproxy.transport.wire.reads import SnapshotHandle
from csproxy.transport.wire.replication import LoadBegin, LoadDeferred, LoadGranted
from csproxy.transport.wire.subscriptions import ResumeFrom, Subscription

__all__ = ["MasterLink", "UpstreamLimits"]


class UpstreamLimits(NamedTuple):
    """Deadlines (seconds) and bounds of an upstream connection.

    ``load_s`` covers the reading of one type and the replay of missed changes; the master takes a
    load slot back after 600 s by default ([system] proxy-load-timeout). ``refused_retry_s`` is the
    least time before a refusal is tried again. ``kept_back_bytes`` bounds the changes that arrive
    during a load; more of them end the attempt. ``compare_s`` lies between two comparisons of the data
    with the master's. ``copy_wait_s`` is how long a proxy that has a copy on disk waits for its first
    attempt before it serves from the copy.
    """

    connect_s: float = 10.0
    answer_s: float = 30.0
    load_s: float = 600.0
    refused_retry_s: float = 15.0
    kept_back_bytes: int = 64 * 1024 * 1024
    copy_wait_s: float = 3.0
    compare_s: float = 60.0


class MasterLink:
    """A connection that becomes a source of changes for ``sink``; made before the connection registers.

    ``transactions`` and ``changes`` count what was published through it.
    """

    def __init__(self, connection: Connection, sink: ReplicaSink, limits: UpstreamLimits) -> None:
        self.connection = connection
        self.transactions = 0
        self.changes = 0
        self.objects_loaded = 0
        self.is_partial = False
        """Whether the master shows this proxy a part of its objects only: that of the proxy's own account."""
        self._sink = sink
        self._limits = limits
        self._stream: ChangeStream | None = None
        self._kept_back: list[Change | Position] | None = None
        self._kept_back_bytes = 0
        self._held_uen = -1
        self._arrived: anyio.Event | None = None
        connection.on_change = self._receive
        connection.on_mark = self._receive

    async def resume(self, epochs: Sequence[Epoch]) -> None:
        """Take up the change stream after the sink's position; what was missed is published before this returns.

        Raises `HistoryExpiredError` (or another `ServerError`) when the master refuses; a load may follow.
        """
        self._sink.set_epochs(epochs)
        self._stream = ChangeStream(self._sink.position, epochs, is_partial=self.is_partial)
        try:
            await self.connection.request(
                MessageId.RESUME_FROM,
                ResumeFrom(subscriptions=[Subscription(), Subscription(object_type=RECORDS)]),
                minimum=self._sink.position,
                timeout_s=self._limits.load_s,
            )
        except ServerError:
            self._stream = None
            raise

    async def load(self) -> float | None:
        """Read everything and replace the sink's data in one step.

        Returns None when that is done, or the seconds to wait when no load slot is free. Raises
        what `read_all_types` raises; the sink then still has its old data, and this connection must
        be given up.
        """
        self._kept_back, self._kept_back_bytes = [], 0
        answer = await self.connection.request(MessageId.LOAD_BEGIN, LoadBegin(), timeout_s=self._limits.answer_s)
        if answer.message == MessageId.LOAD_DEFERRED:
            self._kept_back = None
            return decode_payload(LoadDeferred, answer.payload).retry_after_ms / 1000
        granted = decode_payload(LoadGranted, answer.payload)
        epochs = [Epoch(*row) for row in granted.epochs]
        position = newest_name(Position(answer.epoch, answer.uen), epochs)
        builder = CacheBuilder(self._sink.cache if self._sink.position != (0, 0) else None)
        self.objects_loaded = await read_all_types(self.connection, granted, builder, timeout_s=self._limits.load_s)
        self._put_in_place(builder, position, epochs)
        handle = SnapshotHandle(snapshot=granted.snapshot)
        await self.connection.request(MessageId.LOAD_END, handle, timeout_s=self._limits.answer_s)
        return None

    # standing still, for a look at the data

    @property
    def uen(self) -> int:
        """Where the stream stands: the end of the last whole transaction."""
        return -1 if self._stream is None else self._stream.position.uen

    def hold_after(self, uen: int) -> None:
        """Publish nothing that comes after ``uen``, the end of a transaction, until `go_on`.

        Called in the receive call of an answer at ``uen``, it is in time: later changes come later.
        """
        self._held_uen = uen
        self._kept_back, self._kept_back_bytes = [], 0

    async def stands(self, *, timeout_s: float) -> bool:
        """Wait until everything up to where the stream is held has been published.

        False when it had gone further before. Raises `TimedOutError` when the changes do not come.
        """
        while self.uen < self._held_uen:
            arrived = self._arrived = anyio.Event()
            with anyio.move_on_after(timeout_s):
                await arrived.wait()
            if not arrived.is_set():
                raise TimedOutError(
                    f"{self.connection.peer} stands at UEN {self._held_uen} and did not send the changes "
                    f"after UEN {self.uen} within {timeout_s:g} s"
                )
        return self.uen == self._held_uen

    def go_on(self) -> None:
        """Publish what was held back, and what comes. Without effect on a connection that has ended."""
        kept_back, self._kept_back, self._held_uen = self._kept_back or [], None, -1
        if self.connection.error is None:
            try:
                for item in kept_back:
                    self._receive(item)
            except CsproxyError as e:
                self.connection.abort(e)

    async def pause(self, seconds: float) -> None:
        """Wait, but not on a connection that has ended: raises why it did."""
        with anyio.move_on_after(seconds):
            raise await self.connection.wait_closed()

    def _put_in_place(self, builder: CacheBuilder, position: Position, epochs: Sequence[Epoch]) -> None:
        """No await from here to the end: no change may fall between the data set and the stream."""
        self._sink.replace(builder, position, epochs)
        self._stream = ChangeStream(position, epochs, is_partial=self.is_partial)
        kept_back, self._kept_back = self._kept_back or [], None
        for item in kept_back:
            self._receive(item)

    def _receive(self, item: Change | Position) -> None:
        """A change or a mark arrived. What is raised here ends the connection."""
        if self._kept_back is not None and _uen(item) > self._held_uen:
            self._keep_back(item)
            return
        if self._stream is None:
            raise RemoteProtocolError(f"{self.connection.peer} sent changes before it was asked for any")
        if isinstance(item, Change):
            transaction = self._stream.change(item)
        else:
            transaction = _closed_by_mark(self._stream.mark(item))
        if transaction is not None:
            self._sink.publish(transaction)
            self.transactions += 1
            self.changes += len(transaction)
            if self._arrived is not None and self.uen >= self._held_uen:
                self._arrived.set()

    def _keep_back(self, item: Change | Position) -> None:
        assert self._kept_back is not None
        self._kept_back.append(item)
        if isinstance(item, Change):
            self._kept_back_bytes += len(item.frame)
            if self._kept_back_bytes > self._limits.kept_back_bytes:
                raise ConnectionLostError(
                    f"more than {self._limits.kept_back_bytes} bytes of changes arrived during one load: it starts anew"
                )


def _uen(item: Change | Position) -> int:
    return item.position.uen if isinstance(item, Change) else item.uen


def _closed_by_mark(transaction: list[Change] | None) -> list[Change] | None:
    """A transaction that a mark closed gets its END flag, for those who receive it from here."""
    if transaction is not None and not transaction[-1].last:
        end = transaction[-1]
        transaction[-1] = msgspec.structs.replace(end, last=True, frame=with_flags(end.frame, FLAG_END))
    return transaction
