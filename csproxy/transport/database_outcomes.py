"""Idempotency keys: a write that was carried out before is answered from its outcome, and not carried out again."""

from __future__ import annotations

import hashlib
from typing import Final

from csproxy.core.changes import Action, Change, Position
from csproxy.core.persistence.records import ChangeRecord, Outcome
from csproxy.core.sessions import Author
from csproxy.errors import ErrorCode, ServerError
from csproxy.transport.database_transactions import recorded_change
from csproxy.transport.wire.messages import MessageId, decode_payload
from csproxy.transport.wire.writes import (
    AppliedChange,
    ApplyTransaction,
    CreateObject,
    DeleteObject,
    TransactionApplied,
    UpdateObject,
    WriteOutcome,
    WriteOutcomeRead,
    WriteRequest,
)

__all__ = ["outcome_read", "repeated_transaction", "repeated_write", "scoped_key"]

_ACTIONS: Final = {CreateObject: Action.CREATED, UpdateObject: Action.UPDATED, DeleteObject: Action.DELETED}


def scoped_key(request: WriteRequest | ApplyTransaction | WriteOutcome, author: Author) -> str:
    """The key as it is stored: nobody can ask for the outcome of somebody else's write."""
    if not request.key:
        return ""
    scope = "\0".join((author.user, author.application, request.key))
    return hashlib.sha256(scope.encode()).hexdigest()


def repeated_write(outcome: Outcome, request: WriteRequest) -> Change:
    """The answer to a write whose key was used before: its principal change, where its transaction ended."""
    record = outcome.answer
    same = record.action == _ACTIONS[type(request)] and record.type == request.type
    if not same or (not isinstance(request, CreateObject) and record.dbid != request.dbid):
        raise _used_before(record)
    return recorded_change(record, uen=outcome.uen, last=True)


def repeated_transaction(outcome: Outcome) -> tuple[Position, TransactionApplied]:
    """The answer to a transaction whose key was used before."""
    record = outcome.answer
    if record.action != MessageId.TRANSACTION_APPLIED:
        raise _used_before(record)
    return Position(record.epoch, outcome.uen), decode_payload(TransactionApplied, record.payload)


def outcome_read(outcome: Outcome | None) -> WriteOutcomeRead:
    """The answer to the question what became of a write."""
    if outcome is None:
        return WriteOutcomeRead()
    record = outcome.answer
    if record.action == MessageId.TRANSACTION_APPLIED:
        changes = decode_payload(TransactionApplied, record.payload).changes
    else:
        changes = [AppliedChange(action=record.action, type=record.type, dbid=record.dbid)]
    return WriteOutcomeRead(known=True, epoch=record.epoch, uen=outcome.uen, changes=changes)


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
