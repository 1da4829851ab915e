"""The truth that histories are compared with: what the master's database says happened.

The objects at the beginning and every committed change make the state at each UEN. It is worked
out here from the records alone, in plain dictionaries, without the cache and its indexes.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

from csproxy.core import codec
from csproxy.core.changes import Action, Change, Epoch, Position
from csproxy.core.model import SCHEMA
from csproxy.core.model.delta import apply_delta, encode_object
from csproxy.core.security_records import RECORDS, is_record
from csproxy.core.subscriptions import Interest
from csproxy.core.tenants import tenants_of
from csproxy.testing.histories import ObjectKey
from csproxy.transport.wire.frames import HEADER_SIZE

__all__ = ["LoggedChange", "MasterLog", "State", "Truth", "composed", "moved_members", "updated", "wants"]

FOLDER = 22


class LoggedChange(NamedTuple):
    """A committed change: ``after`` is the object then (None: deleted), ``tenants`` those before and after.

    ``folder`` is where the object is then; ``moved`` are objects that an update of a folder takes into it.
    """

    position: Position
    action: Action
    type: int
    dbid: int
    last: bool
    payload: bytes
    after: bytes | None
    folder: int
    moved: tuple[ObjectKey, ...]
    tenants: frozenset[int]

    @property
    def key(self) -> ObjectKey:
        """Type and DBID."""
        return self.type, self.dbid

    def __str__(self) -> str:
        return f"{self.action.name.lower()} {self.type}/{self.dbid} at {self.position.uen}"


class State:
    """Objects and folders as far as one subscription knows them."""

    def __init__(self, objects: Mapping[ObjectKey, bytes], folders: Mapping[ObjectKey, int]) -> None:
        self.objects = dict(objects)
        self.folders = dict(folders)

    def apply(self, change: LoggedChange) -> None:
        """Do what the master did."""
        key = change.key
        if change.after is None:
            self.objects.pop(key, None)
            self.folders.pop(key, None)
        else:
            self.objects[key] = change.after
            self.folders[key] = change.folder
        for member in change.moved:
            if member in self.folders:
                self.folders[member] = change.dbid


class Truth(Protocol):
    """The states of one history, or what somebody may see of them."""

    def is_valid(self, position: Position, /) -> bool:
        """Whether the position is one of this history."""

    def is_end(self, uen: int, /) -> bool:
        """Whether a transaction ends there, or everything begins."""

    def of_type(self, kind: int, uen: int, /) -> dict[int, bytes]:
        """All objects of a type, folders as a reader sees them."""

    def at(self, key: ObjectKey, uen: int, /) -> bytes | None:
        """The stored form of one object; None if it is not there."""

    def folder_at(self, key: ObjectKey, uen: int, /) -> int:
        """The folder of an object."""


class MasterLog:
    """The ground truth: ``objects`` and ``folders`` at UEN 0, then ``changes``, whose UENs are 1, 2, 3 …

    ``earlier`` are the histories that ended when the operator put back an older copy of the database, oldest first;
    each and its successor are the same up to where the copy was made.

    Raises ValueError when the changes are no history: a gap, an update of what is not there.
    """

    def __init__(
        self,
        objects: Mapping[ObjectKey, bytes],
        folders: Mapping[ObjectKey, int],
        changes: Sequence[Change],
        epochs: Sequence[Epoch],
        *,
        earlier: Sequence[MasterLog] = (),
    ) -> None:
        self.histories = [*earlier, self]
        self.epochs = list(epochs)
        self.changes: list[LoggedChange] = []
        self._first: list[int] = []
        self._last: list[int] = []
        self._initial = State(objects, folders)
        self._versions: dict[ObjectKey, list[tuple[int, bytes | None]]] = {
            key: [(0, stored)] for key, stored in objects.items()
        }
        self._places: dict[ObjectKey, list[tuple[int, int]]] = {key: [(0, folder)] for key, folder in folders.items()}
        self._of_type: dict[int, list[int]] = {}
        self._known: dict[tuple[int, int], dict[int, bytes]] = {}
        self._record(changes)
        for kind, dbid in sorted(self._versions):
            self._of_type.setdefault(kind, []).append(dbid)

    def __repr__(self) -> str:
        return f"<MasterLog of {len(self.changes)} changes, {len(self.epochs)} epochs>"

    @property
    def head(self) -> int:
        """The last UEN."""
        return len(self.changes)

    # positions

    def is_end(self, uen: int) -> bool:
        """Whether a transaction ends there, or everything begins."""
        return uen == 0 or (0 < uen <= self.head and self.changes[uen - 1].last)

    def is_valid(self, position: Position) -> bool:
        """Whether the epoch table says that ``position`` is one of this history."""
        for index, epoch in enumerate(self.epochs):
            if epoch.epoch == position.epoch:
                following = self.epochs[index + 1].first_uen if index + 1 < len(self.epochs) else self.head + 1
                return epoch.first_uen - 1 <= position.uen < following
        return False

    def history_of(self, position: Position, *, since: MasterLog | None = None) -> MasterLog | None:
        """The first history, from ``since`` on, that ``position`` is one of; None if there is none."""
        later = self.histories if since is None else self.histories[self.histories.index(since) :]
        return next((history for history in later if history.is_valid(position)), None)

    def common_with(self, other: MasterLog) -> int:
        """The last UEN up to which both histories are the same."""
        for uen, (one, two) in enumerate(zip(self.changes, other.changes, strict=False)):
            if one.position != two.position:
                return uen
        return min(self.head, other.head)

    def epoch_of(self, uen: int) -> int:
        """The epoch that change ``uen`` must be of, by the epoch table."""
        return next(epoch.epoch for epoch in reversed(self.epochs) if epoch.first_uen <= uen)

    def transaction_of(self, uen: int) -> tuple[int, int]:
        """First and last UEN of the transaction that ``uen`` belongs to."""
        return self._first[uen - 1], self._last[uen - 1]

    # states

    def changes_between(self, after: int, until: int) -> Sequence[LoggedChange]:
        """The changes with UENs above ``after``, up to ``until``."""
        return self.changes[after:until]

    def matching(self, interest: Interest, after: int, until: int) -> list[LoggedChange]:
        """Those of them that ``interest`` wants."""
        return [change for change in self.changes[after:until] if wants(interest, change)]

    def state(self, uen: int, interest: Interest) -> State:
        """What a subscriber knows who has read everything that matches at ``uen``."""
        everything = self.whole(uen)
        stored_of = everything.objects.get

        def lookup(kind: int, dbid: int) -> bytes | None:
            return stored_of((kind, dbid))

        objects = {
            key: stored
            for key, stored in everything.objects.items()
            if _concerns(interest, *key) and (not interest.tenant_id or interest.tenant_id in tenants_of(*key, lookup))
        }
        return State(objects, {key: everything.folders[key] for key in objects})

    def whole(self, uen: int) -> State:
        """All objects and security records at ``uen``."""
        objects = {key: stored for key in self._versions if (stored := self.at(key, uen)) is not None}
        return State(objects, {key: self.folder_at(key, uen) for key in objects})

    def of_type(self, kind: int, uen: int) -> dict[int, bytes]:
        """All objects of a type at ``uen``, by DBID ascending; folders as a reader sees them."""
        known = self._known.get((kind, uen))
        if known is None:
            known = {
                dbid: stored
                for dbid in self._of_type.get(kind, ())
                if (stored := self.at((kind, dbid), uen)) is not None
            }
            if kind == FOLDER:
                members = self.members(uen)
                known = {dbid: composed(stored, members.get(dbid, ())) for dbid, stored in known.items()}
            self._known[kind, uen] = known
        return known

    def dbids(self, kind: int) -> Sequence[int]:
        """The DBIDs of all objects of a type that ever were there."""
        return self._of_type.get(kind, ())

    def at(self, key: ObjectKey, uen: int) -> bytes | None:
        """The stored form of one object at ``uen``; None if it was not there."""
        versions = self._versions.get(key, ())
        index = bisect_right(versions, uen, key=lambda version: version[0])
        return versions[index - 1][1] if index else None

    def folder_at(self, key: ObjectKey, uen: int) -> int:
        """The folder of an object that was there at ``uen``; 0 if it never was."""
        places = self._places.get(key, ())
        index = bisect_right(places, uen, key=lambda place: place[0])
        return places[index - 1][1] if index else 0

    def members(self, uen: int) -> dict[int, list[ObjectKey]]:
        """What each folder holds at ``uen``, by type and DBID."""
        members: dict[int, list[ObjectKey]] = {}
        for key in sorted(self._places):
            if self.at(key, uen) is not None:
                members.setdefault(self.folder_at(key, uen), []).append(key)
        return members

    # building

    def _record(self, changes: Sequence[Change]) -> None:
        now = State(self._initial.objects, self._initial.folders)
        first = 1
        for uen, change in enumerate(changes, 1):
            if change.position.uen != uen:
                raise ValueError(f"change {change.position.uen} stands where change {uen} should")
            logged = _logged(change, now)
            self.changes.append(logged)
            now.apply(logged)
            self._versions.setdefault(logged.key, []).append((uen, logged.after))
            for key in (logged.key, *logged.moved):
                self._places.setdefault(key, []).append((uen, now.folders.get(key, 0)))
            self._first.append(first)
            if change.last:
                self._last += [uen] * (uen - first + 1)
                first = uen + 1
        if first <= len(changes):
            raise ValueError("the last transaction has no end")


def wants(interest: Interest, change: LoggedChange) -> bool:
    """Whether a subscription is to get a change."""
    return _concerns(interest, *change.key) and (not interest.tenant_id or interest.tenant_id in change.tenants)


def _concerns(interest: Interest, kind: int, dbid: int) -> bool:
    """Apart from tenants; security records are for who asks for them by their number."""
    if is_record(kind):
        return interest.object_type == RECORDS
    return interest.object_type in (0, kind) and interest.object_dbid in (0, dbid)


def composed(stored: bytes, members: Sequence[ObjectKey]) -> bytes:
    """A folder as a reader sees it."""
    if not members:
        return stored
    listed = [{"DBID": member, "type": kind} for kind, member in members]
    return codec.encode({**codec.decode_map(stored), "objectIDs": listed})


def updated(kind: int, before: bytes, change: Change) -> bytes:
    """The stored form after an update."""
    if change.object is not None:
        return change.object
    delta = {name: value for name, value in (change.delta or {}).items() if (kind, name) != (FOLDER, "objectIDs")}
    object_type = SCHEMA.types[kind]
    return encode_object(object_type, apply_delta(object_type, codec.decode_map(before), delta)) if delta else before


def moved_members(change: Change) -> Iterator[ObjectKey]:
    """The objects that an update of a folder takes into it."""
    if change.action is Action.UPDATED and change.type == FOLDER and change.delta:
        for member in change.delta.get("objectIDs", {}).get("added", ()):
            yield member.get("type", 0), member.get("DBID", 0)


def _logged(change: Change, now: State) -> LoggedChange:
    key = (change.type, change.dbid)
    before = now.objects.get(key)
    if (before is None) is not (change.action is Action.CREATED):
        raise ValueError(f"change {change.position.uen} is {change.action.name} of {key}, which was {before!r}")

    def tenants(objects: Mapping[ObjectKey, bytes]) -> tuple[int, ...]:
        return tenants_of(*key, lambda kind, dbid: objects.get((kind, dbid)))

    concerned: set[int] = set() if before is None else set(tenants(now.objects))
    after = None
    if change.action is Action.CREATED:
        after = change.object
    elif change.action is Action.UPDATED and before is not None:
        after = updated(change.type, before, change)
    if after is not None:
        concerned.update(tenants({**now.objects, key: after}))
    return LoggedChange(
        change.position,
        change.action,
        change.type,
        change.dbid,
        change.last,
        change.frame[HEADER_SIZE:],
        after,
        change.folder or now.folders.get(key, 0),
        tuple(moved_members(change)),
        frozenset(concerned),
    )
