"""What carries out the write requests of a server's clients, and the writer that refuses them all.

A master writes (`csproxy.transport.database.DatabaseMaster`). A proxy has a forwarder instead
(`csproxy.transport.forwarding.ForwardingWriter`), or refuses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

from csproxy.core.changes import Change, Position
from csproxy.core.sessions import Author
from csproxy.errors import ErrorCode, ServerError
from csproxy.transport.wire.frames import Frame
from csproxy.transport.wire.messages import MessageId
from csproxy.transport.wire.payload import Forwardable
from csproxy.transport.wire.writes import (
    ApplyTransaction,
    TransactionApplied,
    UpdateObject,
    WriteOutcome,
    WriteOutcomeRead,
    WriteRequest,
)

__all__ = ["Forwarder", "Pending", "QueueingWriter", "ReadOnlyWriter", "Writer"]


class Writer(Protocol):
    """Carries out write requests."""

    async def write(self, request: WriteRequest, author: Author) -> Sequence[Change]:
        """Commit the request; returns its transaction, which has been published to the server's sink.

        Raises `ServerError`, `ModelError` or `StoreError` when nothing was written.
        """

    async def apply(self, request: ApplyTransaction, author: Author) -> tuple[Position, TransactionApplied]:
        """Commit all of a transaction or nothing; returns where it ends and what became of its changes.

        It has been published to the server's sink. Errors as for `write`.
        """

    async def outcome(self, request: WriteOutcome, author: Author) -> WriteOutcomeRead:
        """What became of the author's own write with a key; one that is under way is waited for.

        Raises `ServerError` or `StoreError` when that cannot be found out.
        """


@runtime_checkable
class QueueingWriter(Protocol):
    """A writer that takes several writes of a client before the first is done: they may share a commit then."""

    def enqueue(self, request: UpdateObject, author: Author) -> Any:
        """Let an update wait behind everything enqueued before; None if it cannot, and `Writer.write` must do it."""

    async def finish(self, write: Any) -> Sequence[Change]:
        """Wait for an enqueued write; returns and raises what `Writer.write` does."""

    def withdraw(self, write: Any) -> None:
        """Nobody waits for an enqueued write: it is not carried out, unless that has begun."""


class Pending(Protocol):
    """A request that has been sent to the master."""

    async def answer(self) -> Frame:
        """The master's answer. Raises `ServerError`."""


class Forwarder(Protocol):
    """At a proxy: takes everything that changes something to the master."""

    async def start(self, message: MessageId, request: Forwardable, author: Author, *, changes: int = 1) -> Pending:
        """Send a request, made by ``author``, that makes so many changes; what is started first is carried out first.

        Raises `ServerError`; then it was not sent.
        """

    async def forward(self, message: MessageId, request: Forwardable, author: Author) -> Frame:
        """Send a request and wait for its answer. Raises `ServerError`."""


class ReadOnlyWriter:
    """Refuses every write with a sentence: always the same, or what a function says now."""

    def __init__(self, reason: str | Callable[[], str]) -> None:
        self._reason = reason

    @property
    def reason(self) -> str:
        """Why nothing can be written."""
        return self._reason if isinstance(self._reason, str) else self._reason()

    def __repr__(self) -> str:
        return f"<ReadOnlyWriter {self.reason!r}>"

    async def write(self, request: WriteRequest, author: Author) -> Sequence[Change]:
        """Raise `ServerError` ACCESS_DENIED."""
        raise ServerError.from_code(ErrorCode.ACCESS_DENIED, self.reason, object_type=request.type)

    async def apply(self, request: ApplyTransaction, author: Author) -> tuple[Position, TransactionApplied]:
        """Raise `ServerError` ACCESS_DENIED."""
        raise ServerError.from_code(ErrorCode.ACCESS_DENIED, self.reason)

    async def outcome(self, request: WriteOutcome, author: Author) -> WriteOutcomeRead:
        """Raise `ServerError` ACCESS_DENIED: whoever takes no writes knows of none."""
        raise ServerError.from_code(ErrorCode.ACCESS_DENIED, self.reason)
