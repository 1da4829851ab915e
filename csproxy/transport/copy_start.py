"""From a copy that was read to a replica that serves: objects, recent history, journal."""

from __future__ import annotations

from collections.abc import Iterator

from csproxy.core.changes import Change
from csproxy.core.credentials import CredentialBook
from csproxy.core.persistence.copy_format import Kind, unpack_credentials
from csproxy.core.persistence.copy_reading import StoredCopy, decode_epochs
from csproxy.core.replica import ReplicaSink
from csproxy.core.replication import ChangeStream
from csproxy.errors import LocalCopyError, ModelError, RemoteProtocolError
from csproxy.transport.wire.frames import Frame, FrameReader
from csproxy.transport.wire.notifications import NOTIFICATIONS, decode_change

__all__ = ["put_credentials", "put_in_place"]


def put_in_place(copy: StoredCopy, sink: ReplicaSink) -> str:
    """Fill an empty sink with a copy.

    Returns "", or why the journal could be used only in part; the sink then stands at the last transaction
    before. Raises `LocalCopyError` when the history cannot be read; the sink is then still empty.
    """
    history = [transaction for part in copy.history for transaction in _transactions(part)]
    if history and history[-1][-1].position.uen != copy.position.uen:
        raise LocalCopyError(f"its history ends at UEN {history[-1][-1].position.uen}, its data at {copy.position.uen}")
    sink.replace(copy.builder, copy.position, copy.epochs)
    sink.extend_history(history)
    stream = ChangeStream(copy.position, copy.epochs)
    for number, (kind, payload) in enumerate(copy.journal.records):
        try:
            if kind is Kind.EPOCHS:
                epochs = decode_epochs(payload)
                sink.set_epochs(epochs)
                stream = ChangeStream(sink.position, epochs)
            elif kind is Kind.TRANSACTION:
                for transaction in _transactions(payload):
                    for change in transaction:
                        stream.change(change)
                    sink.publish(transaction)
        except (RemoteProtocolError, ModelError, LocalCopyError) as e:
            return f"the journal is used up to its record {number}, at UEN {sink.position.uen}: {e}"
    return ""


def put_credentials(copy: StoredCopy, book: CredentialBook) -> None:
    """Fill an empty book with the passwords and log-ins of a copy, if it has any. Raises `LocalCopyError`."""
    for payload in copy.credentials:
        unpack_credentials(payload, book)
    for kind, payload in copy.journal.records:
        if kind is Kind.CREDENTIALS:
            unpack_credentials(payload, book)
    book.take_touched()


def _transactions(frames: bytes) -> Iterator[list[Change]]:
    """The transactions of a record; raises `LocalCopyError` unless it holds whole ones."""
    transaction: list[Change] = []
    reader = FrameReader()
    try:
        for frame in reader.receive_data(frames):
            transaction.append(_change(frame))
            if transaction[-1].last:
                yield transaction
                transaction = []
    except RemoteProtocolError as e:
        raise LocalCopyError(f"a change cannot be read: {e}") from e
    if transaction or reader.buffered_bytes:
        raise LocalCopyError("a transaction is not complete")


def _change(frame: Frame) -> Change:
    if frame.message not in NOTIFICATIONS:
        raise LocalCopyError(f"message {frame.message} is no change")
    return decode_change(frame)
