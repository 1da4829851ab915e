"""A transaction between its plan, the database and the subscribers: what is written, and what is published."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import msgspec

from csproxy.core import codec
from csproxy.core.cache import ConfigurationCache
from csproxy.core.changes import Action, Change, Position
from csproxy.core.history import HistoryBatch, HistorySettings, StoredObjects, history_batch
from csproxy.core.ownership import ObjectId
from csproxy.core.persistence.records import Batch, ChangeRecord, CredentialRow, ObjectRow
from csproxy.core.sessions import Author
from csproxy.core.writes import Plan, PlannedChange, planned_record
from csproxy.transport.wire.frames import FLAG_END, Frame
from csproxy.transport.wire.messages import MessageId
from csproxy.transport.wire.notifications import decode_change, encode_notification
from csproxy.transport.wire.writes import AppliedChange, TransactionApplied

__all__ = ["NewHash", "PendingTransaction", "RecordPlan", "pending_records", "pending_transaction", "recorded_change"]


class NewHash(NamedTuple):
    """The hash of a new password, and those before it that are kept, newest first."""

    hash: str
    former: Sequence[str] = ()

    def __repr__(self) -> str:
        return f"<NewHash, {len(self.former)} former ones>"


class RecordPlan(NamedTuple):
    """What becomes of security records, None for *gone*, and what the history log gets of it.

    ``history`` is called with the position where the transaction ends.
    """

    records: Mapping[ObjectId, bytes | None]
    history: Callable[[Position], HistoryBatch | None]


@dataclass(frozen=True, kw_only=True)
class PendingTransaction:
    """A transaction on its way: what is written, what is published, and which hashes change."""

    batch: Batch
    changes: list[Change]
    credentials: Sequence[CredentialRow]
    applied: TransactionApplied

    @property
    def end(self) -> Position:
        """Where it ends."""
        return self.changes[-1].position

    def answered_as_a_whole(self) -> PendingTransaction:
        """The same transaction; its key leads to the answer for all of its changes."""
        last = self.batch.changes[-1]
        answer = msgspec.structs.replace(
            last, action=int(MessageId.TRANSACTION_APPLIED), type=0, dbid=0, payload=codec.encode(self.applied)
        )
        return replace(self, batch=replace(self.batch, answer=answer))


def pending_transaction(
    plan: Plan,
    author: Author,
    hashes: Mapping[ObjectId, NewHash],
    *,
    cache: StoredObjects,
    first: Position,
    key: str,
    time_ms: int,
    with_password: Container[ObjectId],
    history: HistorySettings,
) -> PendingTransaction:
    """What ``plan`` comes to when its first change stands at ``first``; ``cache`` is the state before it.

    ``hashes`` are those of `Plan.passwords`; ``with_password`` contains the objects that have a hash now, or log-ins.
    """
    end = first.uen + len(plan.changes) - 1
    records = [
        _record(planned, author, position=Position(first.epoch, uen), last=uen == end, time_ms=time_ms)
        for uen, planned in enumerate(plan.changes, first.uen)
    ]
    changes = [_change(planned, record) for planned, record in zip(plan.changes, records, strict=True)]
    credentials = _credentials(plan, hashes, with_password, time_ms)
    batch = Batch(
        objects=list(_rows(plan, cache)),
        changes=records,
        counters=plan.counters,
        credentials=credentials,
        key=key,
        answer=records[plan.answers[0]],
        history=history_batch(history, cache, plan.changes, changes, passwords=plan.passwords),
    )
    applied = TransactionApplied(
        changes=[
            AppliedChange(action=change.action, type=change.type, dbid=change.dbid)
            for change in (plan.changes[place] for place in plan.answers)
        ]
    )
    return PendingTransaction(batch=batch, changes=changes, credentials=credentials, applied=applied)


def pending_records(
    plan: RecordPlan, author: Author, *, cache: ConfigurationCache, first: Position, time_ms: int
) -> PendingTransaction | None:
    """What ``plan`` comes to when its first change stands at ``first``; None when everything is so already."""
    by = {"user": author.user, "application": author.application, "time_ms": time_ms}
    changes = [
        planned_record(id, before, after, **by)
        for id, after in plan.records.items()
        if (before := cache.get(*id)) != after
    ]
    if not changes:
        return None
    pending = pending_transaction(
        Plan(tuple(changes), {}, {}, (len(changes) - 1,)),
        author,
        {},
        cache=cache,
        first=first,
        key="",
        time_ms=time_ms,
        with_password=(),
        history=HistorySettings(active=False),
    )
    return replace(pending, batch=replace(pending.batch, history=plan.history(pending.end)))


def recorded_change(record: ChangeRecord, *, uen: int, last: bool) -> Change:
    """A change record of the database as the change that was published, standing at ``uen``."""
    flags = FLAG_END if last else 0
    return decode_change(Frame(record.action, flags, 0, record.epoch, uen, record.payload))


def _record(planned: PlannedChange, author: Author, *, position: Position, last: bool, time_ms: int) -> ChangeRecord:
    return ChangeRecord(
        position.uen,
        position.epoch,
        last,
        time_ms,
        planned.action,
        planned.type,
        planned.dbid,
        planned.payload,
        author.user,
        author.application,
    )


def _change(planned: PlannedChange, record: ChangeRecord) -> Change:
    position = Position(record.epoch, record.uen)
    return Change(
        action=planned.action,
        type=planned.type,
        dbid=planned.dbid,
        position=position,
        frame=encode_notification(planned.action, planned.payload, position=position, last=record.last),
        last=record.last,
        object=planned.stored if planned.delta is None else None,
        delta=None if planned.delta is None else dict(planned.delta),
        former=planned.former,
        folder=planned.new_folder,
        user=record.user,
        application=record.application,
        time_ms=record.time_ms,
    )


def _credentials(
    plan: Plan, hashes: Mapping[ObjectId, NewHash], with_password: Container[ObjectId], time_ms: int
) -> list[CredentialRow]:
    """The new hashes, and the removal of those whose object goes."""
    rows = [CredentialRow(*id, hashes[id].hash, time_ms, hashes[id].former) for id in plan.passwords]
    rows += [
        CredentialRow(planned.type, planned.dbid, None, time_ms)
        for planned in plan.changes
        if planned.stored is None and (planned.type, planned.dbid) in with_password
    ]
    return rows


def _rows(plan: Plan, cache: StoredObjects) -> Iterable[ObjectRow]:
    """Each object that changes as it is in the end."""
    rows: dict[ObjectId, ObjectRow] = {}
    created: set[ObjectId] = set()
    for planned in plan.changes:
        id = planned.type, planned.dbid
        if planned.action is Action.CREATED:
            created.add(id)
        rows[id] = ObjectRow(*id, planned.folder, planned.stored, id in created)
        for other in planned.moved:
            body = rows[other].body if other in rows else cache.get(*other)
            rows[other] = ObjectRow(*other, planned.dbid, body, other in created)
    return rows.values()
