"""A replica: cache, change log and subscriptions, moved forward together.

Everything that has data to offer (a database, an upstream server, a copy on disk) writes to a
`ReplicaSink`; everything that serves it reads from the `Replica` behind. A transaction is applied,
logged and matched in one synchronous call, so that no reader ever sees half of one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple, Protocol

from msgspec import Raw

from csproxy.core import codec
from csproxy.core.cache import ConfigurationCache
from csproxy.core.changelog import ChangeLog, LogRecord, WindowLimits
from csproxy.core.changes import Action, Change, Epoch, ObjectCreated, ObjectDeleted, ObjectUpdated, Position
from csproxy.core.folders import FOLDER_TYPE
from csproxy.core.identity_watch import IDENTITY_TYPES, NOBODY_ELSE, IdentityWatch, certain_from
from csproxy.core.loading import CacheBuilder, Difference
from csproxy.core.ownership import ObjectId
from csproxy.core.security_records import ACCOUNT, RECORDS, is_record
from csproxy.core.shifts import Shift, shape_of, shifts
from csproxy.core.sight import HOLDERS
from csproxy.core.tenants import tenants_through
from csproxy.errors import LocalProtocolError

__all__ = ["FrameEncoder", "Published", "Replica", "ReplicaSink", "continues"]


class FrameEncoder(Protocol):
    """Builds the notification frame of a change: `csproxy.transport.wire.notifications.encode_notification`."""

    def __call__(self, action: Action, payload: bytes, *, position: Position, last: bool) -> bytes:
        """The frame of one change."""


class Published(NamedTuple):
    """What became of a transaction: its log records, whether lists changed, and whose identities (None: anybody's)."""

    records: list[LogRecord]
    lists: bool
    accounts: frozenset[int] | None


class ReplicaSink(Protocol):
    """What a source of data writes to. All methods act at once and never wait."""

    @property
    def position(self) -> Position:
        """Everything up to here has been published; (0, 0) before the first data set."""

    @property
    def cache(self) -> ConfigurationCache:
        """The current data set."""

    @property
    def epochs(self) -> Sequence[Epoch]:
        """The epoch table, oldest first."""

    def publish(self, transaction: Sequence[Change]) -> None:
        """Apply one transaction and tell subscribers. Raises `ModelError` if it does not fit; then nothing changed."""

    def replace(self, builder: CacheBuilder, position: Position, epochs: Sequence[Epoch]) -> None:
        """Put a complete new data set in place in one step; subscribers get the difference."""

    def set_epochs(self, epochs: Sequence[Epoch]) -> None:
        """The same history goes on under this epoch table."""

    def extend_history(self, transactions: Sequence[Sequence[Change]]) -> None:
        """Log changes that the data set contains already, so that clients can resume from before them."""


class Replica:
    """The data set, its recent history and its position.

    ``clock`` gives seconds for the age of changes; ``encode`` builds the frames of a reload's difference.
    """

    def __init__(self, *, encode: FrameEncoder, clock: Callable[[], float], limits: WindowLimits | None = None) -> None:
        self._encode = encode
        self._clock = clock
        self.cache = ConfigurationCache()
        self.log = ChangeLog(limits=limits)
        self.epochs: list[Epoch] = []
        self.complete = False

    def __repr__(self) -> str:
        state = "complete" if self.complete else "empty"
        return f"<Replica {state} at UEN {self.position.uen}, {sum(self.cache.counts().values())} objects>"

    @property
    def position(self) -> Position:
        """Where the data set stands."""
        return self.cache.position

    def publish(self, transaction: Sequence[Change]) -> Published:
        """Apply and log one transaction; returns what the fan-out needs of it.

        Raises `ModelError` when a change does not fit the data set, and then nothing has changed.
        """
        if not self.complete:
            raise LocalProtocolError("a change was published before the first complete data set")
        watch = IdentityWatch(self.cache, transaction)
        applied = self.cache.apply(transaction)
        now_s = self._clock()
        cache, first = self.cache, set[ObjectId]()
        accounts = watch.accounts(cache)
        records = [shift_record(transaction[0].position, applied.shifts, now_s)] if applied.shifts else []
        for change, footprint, sighting in zip(transaction, applied.footprints, applied.sightings, strict=True):
            appears = None
            id = change.type, change.dbid
            if (sighting.before is not sighting.after or accounts != NOBODY_ELSE) and None not in sighting:
                appears = None if id in first else (cache.get(*id) or b"", cache.folder_of(*id))
                first.add(id)
            records.append(
                LogRecord(
                    change.position,
                    change.type,
                    change.dbid,
                    footprint.tenants,
                    sighting.before,
                    sighting.after,
                    change.frame,
                    change.last,
                    now_s,
                    change.correction,
                    appears,
                )
            )
        self.log.append(records, now_s=now_s)
        return self._published(records, accounts)

    def _published(self, records: list[LogRecord], accounts: frozenset[int] | None) -> Published:
        """Note in the log whose sight may have changed."""
        lists = any(is_record(record.type) and record.type != ACCOUNT for record in records)
        if lists or accounts != NOBODY_ELSE:
            self.log.turn(accounts, lists=lists)
        return Published(records, lists, accounts)

    def replace(self, builder: CacheBuilder, position: Position, epochs: Sequence[Epoch]) -> tuple[Published, bool]:
        """Put a new data set in place.

        Returns the difference, all at ``position``, and whether the history goes
        on: False means that the new data set belongs to another history (or is the first), so that
        nothing can be resumed from before it. Where the position has been reached before, the
        difference consists of corrections (see `csproxy.core.changes.Change`).
        """
        before = self.cache
        old_position = before.position
        self.cache = builder.finish(position)
        continued = self.complete and continues(old_position, position, epochs)
        self.epochs = list(epochs)
        if not self.complete:
            self.complete = True
            self.log.begin(position)
            return Published([], False, NOBODY_ELSE), False
        is_correction = continued and position.uen == old_position.uen
        differences = builder.difference()
        records = self._difference(differences, before, position, is_correction=is_correction)
        if continued:
            self.log.skip(after=old_position.uen, until=position.uen)
        else:
            self.log.begin(position)
        self.log.append(records, now_s=self._clock())
        accounts = None if any(difference.type in IDENTITY_TYPES for difference in differences) else NOBODY_ELSE
        return self._published(records, accounts), continued

    def extend_history(self, transactions: Sequence[Sequence[Change]]) -> None:
        """Log changes up to the present position that the data set contains already, oldest first.

        Only right after the first `replace`: the log must be empty. It begins later than ``transactions``
        where one of them does not tell which tenant lost the object: a replay from before it would be wrong.
        """
        # What is gone shows in its deletion, which is in the history if any change of it is. Its earlier changes,
        # and those of what belonged to it, concern the same tenants.
        gone = {
            (change.type, change.dbid): change.former
            for transaction in transactions
            for change in transaction
            if change.former is not None
        }

        def lookup(type_number: int, dbid: int) -> bytes | None:
            return self.cache.get(type_number, dbid) or gone.get((type_number, dbid))

        concerned = tenants_through(transactions, lookup)
        if not concerned:
            return
        known = transactions[-len(concerned) :]
        first = known[0][0]
        # a correction comes after the transaction of its position, which is not in the history then
        self.log.begin(first.position if first.correction else Position(first.position.epoch, first.position.uen - 1))
        now_s = self._clock()
        certain = certain_from(known)
        for number, (transaction, each) in enumerate(zip(known, concerned, strict=True)):
            records = []
            for change, tenants in zip(transaction, each, strict=True):
                readers = self.cache.readers.of(change.type, change.dbid) if number >= certain.readers else None
                records.append(
                    LogRecord(
                        change.position,
                        change.type,
                        change.dbid,
                        tenants,
                        None if is_record(change.type) else readers,
                        None if is_record(change.type) else readers,
                        change.frame,
                        change.last,
                        now_s,
                        change.correction,
                    )
                )
            self.log.append(records, now_s=now_s)
            if number + 1 == certain.sight:
                self.log.turn(None)
            if number + 1 == certain.readers:
                self.log.blur()

    def _difference(
        self,
        differences: Sequence[Difference],
        before: ConfigurationCache,
        position: Position,
        *,
        is_correction: bool,
    ) -> list[LogRecord]:
        now_s = self._clock()
        told = {(difference.type, difference.dbid) for difference in differences}
        others = _shifts_of_reload(differences, before, self.cache, told)
        records = [shift_record(position, others, now_s)] if others else []
        for index, difference in enumerate(differences):
            last = index == len(differences) - 1
            kind, dbid = difference.type, difference.dbid
            tenants = {
                *(() if difference.action is Action.CREATED else before.tenants_of(kind, dbid)),
                *(() if difference.action is Action.DELETED else self.cache.tenants_of(kind, dbid)),
            }
            payload = codec.encode(_payload(difference, is_correction=is_correction))
            frame = self._encode(difference.action, payload, position=position, last=last)
            was = None if difference.action is Action.CREATED else before.readers_of(kind, dbid)
            now = None if difference.action is Action.DELETED else self.cache.readers_of(kind, dbid)
            now = was if was == now else now
            appears = None
            if was is not None and now is not None:
                appears = (self.cache.get(kind, dbid) or b"", self.cache.folder_of(kind, dbid))
            records.append(
                LogRecord(
                    position, kind, dbid, tuple(sorted(tenants)), was, now, frame, last, now_s, is_correction, appears
                )
            )
        return records


def shift_record(position: Position, shifts: Sequence[Shift], now_s: float) -> LogRecord:
    """The record of objects that get other readers with the transaction that begins at ``position``."""
    return LogRecord(position, 0, 0, (), None, None, b"", False, now_s, shifts=tuple(shifts))


def _shifts_of_reload(
    differences: Sequence[Difference],
    before: ConfigurationCache,
    after: ConfigurationCache,
    told: Collection[ObjectId],
) -> list[Shift]:
    """Objects that are in both data sets alike, with other readers; looked for only where a reload can make some."""
    if not any(each.type in HOLDERS or is_record(each.type) for each in differences):
        return []
    listed = {(each.type - RECORDS, each.dbid) for each in differences if RECORDS < each.type < ACCOUNT}
    alone = {
        id: before.readers.of(*id)
        for id in listed - set(told)
        if id[0] != FOLDER_TYPE and before.get(*id) is not None and after.get(*id) is not None
    }
    return shifts(shape_of(before), alone, after, told)


def continues(old: Position, new: Position, epochs: Sequence[Epoch]) -> bool:
    """Whether ``new`` is a later place of the history that contains ``old``, by the epoch table."""
    for index, epoch in enumerate(epochs):
        if epoch.epoch == old.epoch:
            ends = epochs[index + 1].first_uen if index + 1 < len(epochs) else new.uen + 1
            return old.uen < ends and old.uen <= new.uen
    return False


def _payload(difference: Difference, *, is_correction: bool) -> ObjectCreated | ObjectUpdated | ObjectDeleted:
    """The notification payload of one object that a reload found changed; a reload knows no author."""
    kind, dbid = difference.type, difference.dbid
    if difference.action is Action.DELETED:
        former = None if difference.former is None else Raw(difference.former)
        return ObjectDeleted(type=kind, dbid=dbid, former=former, correction=is_correction)
    stored = Raw(difference.object or b"\x80")
    if difference.action is Action.CREATED:
        return ObjectCreated(type=kind, object=stored, folder=difference.folder, correction=is_correction)
    return ObjectUpdated(type=kind, dbid=dbid, object=stored, folder=difference.folder, correction=is_correction)
