"""The change stream of one connection, cut into whole transactions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from csproxy.core.changes import Change, Position
from csproxy.errors import RemoteProtocolError
from csproxy.transport.client_changes import RawTransaction
from csproxy.transport.connection import Connection
from csproxy.transport.exchange import EpochOrder

__all__ = ["MAX_TRANSACTION_BYTES", "TransactionFeed"]

MAX_TRANSACTION_BYTES: Final = 1024 * 1024 * 1024
"""Frames of one unfinished transaction above which the server is not believed any more."""


class TransactionFeed:
    """Collects the frames of a transaction and hands the whole, or a mark without changes, to ``take``.

    What has arrived of a transaction when the connection ends is gone with it: it will come again, whole.
    """

    def __init__(self, connection: Connection, take: Callable[[RawTransaction, EpochOrder], None]) -> None:
        self.take = take
        self._connection = connection
        self._changes: list[Change] = []
        self._history: list[bool] = []
        self._bytes = 0
        connection.on_change = self._on_change
        connection.on_mark = self._on_mark

    def __repr__(self) -> str:
        return f"<TransactionFeed of {self._connection.peer}, {len(self._changes)} changes of an open transaction>"

    def _on_change(self, change: Change) -> None:
        self._changes.append(change)
        self._history.append(self._connection.from_history)
        if change.last:
            self._on_mark(change.position)
            return
        self._bytes += len(change.frame)
        if self._bytes > MAX_TRANSACTION_BYTES:
            raise RemoteProtocolError(f"a transaction of more than {MAX_TRANSACTION_BYTES} bytes has no end")

    def _on_mark(self, position: Position) -> None:
        """Everything up to ``position`` has arrived: the open transaction, if any, ends here."""
        transaction = RawTransaction(tuple(self._changes), tuple(self._history), position)
        self._changes.clear()
        self._history.clear()
        self._bytes = 0
        self.take(transaction, self._connection.order)
