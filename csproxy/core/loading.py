"""A complete data set is built beside the one in use, then takes its place.

Objects arrive in parts, from a database, an upstream server or a copy on disk. Objects that did not
change since the previous data set keep their bytes, so that a reload costs little memory, and so
that the difference is found by identity.
"""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterator, Sequence
from typing import Final, NamedTuple

from csproxy.core.applying import MAX_DBID
from csproxy.core.cache import ConfigurationCache
from csproxy.core.changes import Action, Position
from csproxy.core.containers import TENANT, held_types, is_in_tenants
from csproxy.core.folders import FOLDER_TYPE, Membership, without_members
from csproxy.core.indexes import TypeIndexes
from csproxy.core.model import SCHEMA, ObjectType
from csproxy.core.security_records import STORED_TYPES
from csproxy.core.segments import Table
from csproxy.errors import ErrorCode, LocalProtocolError, ModelError

__all__ = ["CacheBuilder", "Difference"]

_CONTAINERS: Final = frozenset(
    kind.number for kind in SCHEMA.types.values() if kind.number != TENANT and held_types(kind)
)
"""What holds other objects in one tenant: switches, IVRs, enumerators, campaigns."""


class Difference(NamedTuple):
    """One object that the new data set has and the previous has not, or has otherwise, or the reverse.

    ``object`` is the new object (None if deleted), ``former`` the old one (None if created).
    ``folder`` is that of a created object; for an updated one only if it differs, else 0.

    What belongs to one tenant stays there. An object that is in another tenant now is another one that got the DBID, in
    a database that was put back to an older copy: the old one is deleted, the new one created.
    """

    action: Action
    type: int
    dbid: int
    object: bytes | None
    former: bytes | None
    folder: int


class _Arriving:
    """The objects of one type that have arrived so far."""

    def __init__(self, object_type: ObjectType) -> None:
        self.indexes = TypeIndexes(object_type)
        self.by_dbid: dict[int, bytes] = {}
        self.dbids = array("I")
        self.objects: list[bytes] = []
        self.folders = array("I")
        self.ascending = True

    def table(self) -> Table:
        if not self.ascending:
            order = sorted(range(len(self.dbids)), key=self.dbids.__getitem__)
            self.dbids = array("I", [self.dbids[place] for place in order])
            self.objects = [self.objects[place] for place in order]
            self.folders = array("I", [self.folders[place] for place in order])
        return Table.build(self.by_dbid, self.dbids, self.objects, self.folders)


class CacheBuilder:
    """Builds a `ConfigurationCache` from parts, in any order of types and objects.

    ``previous`` is the data set that will be replaced, if there is one. With ``types``, only these are
    built anew; the others are taken over from ``previous`` as they are, without a look at their objects.
    """

    def __init__(
        self, previous: ConfigurationCache | None = None, *, types: Collection[int] = tuple(STORED_TYPES)
    ) -> None:
        self._previous = previous
        self._types = sorted(types)
        self._arriving = {number: _Arriving(STORED_TYPES[number]) for number in self._types}
        self._membership = Membership()
        self._finished: ConfigurationCache | None = None

    def __repr__(self) -> str:
        return f"<CacheBuilder of {sum(len(arriving.dbids) for arriving in self._arriving.values())} objects>"

    def add(self, type_number: int, objects: Sequence[bytes], folders: Sequence[int]) -> None:
        """Take over stored objects of one type and their folders (parallel); 3 to 4 µs an object.

        An event loop should be given a turn every 500 objects. Folders may come composed.

        Raises `ModelError` for an unknown type, bytes that are no object of the type, or a DBID that
        came before; the builder cannot be used any more. `LocalProtocolError` for a type that is not built.
        """
        object_type = STORED_TYPES.get(type_number) or SCHEMA.object_type(type_number)
        arriving = self._arriving.get(object_type.number)
        if arriving is None:
            raise LocalProtocolError(f"this builder builds the types {self._types}, not {type_number}")
        if type_number == FOLDER_TYPE:
            objects = [without_members(stored) for stored in objects]
        records = arriving.indexes.decode_many(objects)
        dbids = [record.DBID for record in records]
        if self._previous is not None:
            objects = [self._reused(type_number, dbid, stored) for dbid, stored in zip(dbids, objects, strict=True)]
        known = len(arriving.by_dbid)
        arriving.by_dbid.update(zip(dbids, objects, strict=True))
        if len(arriving.by_dbid) != known + len(dbids) or not all(0 < dbid <= MAX_DBID for dbid in dbids):
            raise ModelError(
                ErrorCode.UNIQUENESS_VIOLATION,
                f"objects of type {object_type.name} were loaded without a DBID, or with the DBID of another one",
                object_type=object_type.number,
            )
        if dbids and (dbids != sorted(dbids) or (arriving.dbids and dbids[0] < arriving.dbids[-1])):
            arriving.ascending = False
        arriving.dbids.extend(dbids)
        arriving.objects.extend(objects)
        arriving.folders.extend(folders)
        arriving.indexes.load(records, dbids)
        self._membership.extend(type_number, folders, dbids)

    def finish(self, position: Position) -> ConfigurationCache:
        """The cache of everything that was added, at ``position``. Only once.

        Some types alone can be put beside the others only where those stand: ``position`` is then
        that of the previous data set, which must not be changed any more.
        """
        if self._finished is not None:
            raise LocalProtocolError("a CacheBuilder makes one cache; start a new one for the next load")
        for arriving in self._arriving.values():
            arriving.indexes.settle()
        self._membership.settle()
        tables = {number: arriving.table() for number, arriving in self._arriving.items()}
        indexes = {number: arriving.indexes for number, arriving in self._arriving.items()}
        if len(tables) == len(STORED_TYPES):
            self._finished = ConfigurationCache.assembled(tables, indexes, self._membership, position=position)
        elif self._previous is None or self._previous.position != position:
            raise LocalProtocolError(f"types {self._types} at UEN {position.uen} do not fit {self._previous!r}")
        else:
            self._finished = self._previous.renewed(tables, indexes, self._membership)
        self._arriving.clear()
        return self._finished

    def difference(self) -> list[Difference]:
        """What changes for those who know the previous data set: deletions, then creations, then updates.

        After `finish`, before either cache changes. Without a previous data set everything is created.
        """
        if self._finished is None:
            raise LocalProtocolError("the difference is known when the builder has finished")
        before = self._previous or ConfigurationCache()
        found = [difference for number in self._types for difference in _compare(number, before, self._finished)]
        found += _content_of_others(found, before, self._finished)
        order = {Action.DELETED: 0, Action.CREATED: 1, Action.UPDATED: 2}
        return sorted(found, key=lambda difference: order[difference.action])

    def _reused(self, type_number: int, dbid: int, stored: bytes) -> bytes:
        assert self._previous is not None
        former = self._previous.get(type_number, dbid)
        return former if former == stored else stored


def _compare(number: int, before: ConfigurationCache, after: ConfigurationCache) -> Iterator[Difference]:
    """The differences of one type. Unchanged objects are the same bytes object, which makes them cheap: 0.2 µs."""
    old, new = before.objects(number), after.objects(number)
    old_folders, new_folders = before.folders(number), after.folders(number)
    for dbid in sorted(old.keys() - new.keys()):
        yield Difference(Action.DELETED, number, dbid, None, old[dbid], old_folders[dbid])
    for dbid in sorted(new.keys() - old.keys()):
        yield Difference(Action.CREATED, number, dbid, new[dbid], None, new_folders[dbid])
    touched = {dbid for dbid, stored in new.items() if old.get(dbid) is not stored}
    if old_folders != new_folders:
        touched.update(dbid for dbid, folder in new_folders.items() if old_folders.get(dbid) != folder)
    for dbid in sorted(touched & old.keys()):
        folder = 0 if old_folders[dbid] == new_folders[dbid] else new_folders[dbid]
        if not folder and new[dbid] == old[dbid]:
            continue
        if _is_another(number, dbid, before, after):
            yield from _exchange(number, dbid, before, after)
        else:
            yield Difference(Action.UPDATED, number, dbid, new[dbid], old[dbid], folder)


def _is_another(number: int, dbid: int, before: ConfigurationCache, after: ConfigurationCache) -> bool:
    """Whether an object that is in both data sets belongs to another tenant now, which no object of a tenant does."""
    if number != FOLDER_TYPE and not is_in_tenants(STORED_TYPES[number]):
        return False
    return before.tenants_of(number, dbid) != after.tenants_of(number, dbid)


def _exchange(number: int, dbid: int, before: ConfigurationCache, after: ConfigurationCache) -> Iterator[Difference]:
    old, new = before.get(number, dbid), after.get(number, dbid)
    yield Difference(Action.DELETED, number, dbid, None, old, before.folder_of(number, dbid))
    yield Difference(Action.CREATED, number, dbid, new, None, after.folder_of(number, dbid))


def _content_of_others(
    found: Sequence[Difference], before: ConfigurationCache, after: ConfigurationCache
) -> Iterator[Difference]:
    """What has no tenant of its own and is alike in both data sets, in a container that is another one now."""
    told = {(each.type, each.dbid) for each in found}
    for number, dbid in sorted(id for id in told if id[0] in _CONTAINERS):
        if before.tenants_of(number, dbid) != after.tenants_of(number, dbid):
            for held, held_dbid, _ in after.referrers(number, dbid):
                is_new = (held, held_dbid) in told or before.get(held, held_dbid) is None
                if not is_new and _is_another(held, held_dbid, before, after):
                    told.add((held, held_dbid))
                    yield from _exchange(held, held_dbid, before, after)
