"""Objects that get other readers without being changed: a list or a container above them changed.

A *shift* is a group of such objects with the same readers before and the same after. Whoever saw them before and does
not see them now is told that they are gone; whoever sees them only now, that they are there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from csproxy.core.containers import FOLDER
from csproxy.core.model.schema import SCHEMA
from csproxy.core.ownership import ObjectId
from csproxy.core.security_records import RECORDS, is_record
from csproxy.core.sight import HOLDERS, Access, Readers, may_read
from csproxy.core.tenants import Lookup, tenants_of_many

if TYPE_CHECKING:
    from csproxy.core.applying import PlannedChange
    from csproxy.core.cache import ConfigurationCache

__all__ = [
    "Shift",
    "ShiftedObject",
    "ShiftedObjects",
    "Shape",
    "changed_alone",
    "holders_change",
    "objects_read_by",
    "shape_of",
    "shifts",
]


_STEP = 64
"""Objects that are decoded together, when their tenants are wanted: 40 µs."""


class ShiftedObject(NamedTuple):
    """An object as it is after the transaction, and to which tenants it belongs."""

    type: int
    dbid: int
    stored: bytes
    folder: int
    tenants: tuple[int, ...]


class _Column(NamedTuple):
    """Objects of one type in one folder."""

    type: int
    folder: int
    dbids: Sequence[int]
    objects: Sequence[bytes]


class ShiftedObjects(Collection[ShiftedObject]):
    """The objects of a shift, as they are after the transaction whenever they are looked at.

    To collect them costs some 0.3 µs each, while everybody waits. To which tenants they belong, ten times as
    much, is found as they are iterated over; ``owners`` gives the folders and containers of that moment.
    """

    def __init__(self, columns: Sequence[_Column], owners: Lookup) -> None:
        self._columns = columns
        self._owners = owners
        self._count = sum(len(column.dbids) for column in columns)

    def __repr__(self) -> str:
        return f"<ShiftedObjects {self._count}>"

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[ShiftedObject]:
        for number, folder, dbids, objects in self._columns:
            for start in range(0, len(dbids), _STEP):
                some, stored = dbids[start : start + _STEP], objects[start : start + _STEP]
                tenants = tenants_of_many(number, some, stored, self._owners)
                for dbid, object, concerned in zip(some, stored, tenants, strict=True):
                    yield ShiftedObject(number, dbid, object, folder, concerned)

    def __contains__(self, item: object) -> bool:
        return any(each == item for each in self)

    def ids(self) -> Iterator[ObjectId]:
        """Type and DBID of each."""
        for column in self._columns:
            for dbid in column.dbids:
                yield column.type, dbid


class Shift(NamedTuple):
    """Objects whose readers were ``before`` and are ``after``."""

    before: Readers
    after: Readers
    objects: ShiftedObjects

    def change_for(self, before: Access, after: Access) -> bool | None:
        """True: who had the one sight and has the other gains the objects; False: loses them; None: neither."""
        saw, sees = may_read(before, self.before), may_read(after, self.after)
        return None if saw == sees else sees


class Shape(NamedTuple):
    """What containers hand down at one moment, by folder (0: no folder), and the readers of the folders themselves."""

    within: Mapping[int, Readers]
    folders: Mapping[int, Readers]


def shape_of(cache: ConfigurationCache, coming: Iterable[PlannedChange] = ()) -> Shape:
    """The present shape, that of folders included which the changes ``coming`` make; some 2 µs a folder."""
    index, placed = cache.readers, cache.folders(FOLDER)
    within = {0, *placed, *(each.dbid for each in coming if each.type == FOLDER)}
    return Shape(
        {dbid: index.within(dbid) for dbid in within},
        {dbid: index.of(FOLDER, dbid, folder) for dbid, folder in placed.items()},
    )


def holders_change(planned: Iterable[PlannedChange], cache: ConfigurationCache) -> bool:
    """Whether the transaction, not applied yet, may change what containers hand down."""
    return any(_hands_down_otherwise(each, cache) for each in planned)


def _hands_down_otherwise(planned: PlannedChange, cache: ConfigurationCache) -> bool:
    number, dbid, former, now = planned
    if is_record(number):
        return number - RECORDS in HOLDERS and former != now
    if number not in HOLDERS:
        return False
    if former is None or now is None:
        # content that was there before its folder, or outlives it, is in damaged or partial data only
        return number == FOLDER and any(True for _ in cache.members_of(dbid))
    return former.folder != now.folder or (number == FOLDER and former.record.ownerID != now.record.ownerID)


def changed_alone(planned: Iterable[PlannedChange], told: Collection[ObjectId]) -> set[ObjectId]:
    """Objects whose own list changed, or that were moved by a change of a folder, and are not ``told`` themselves."""
    found: set[ObjectId] = set()
    for number, dbid, former, now in planned:
        if is_record(number):
            if number - RECORDS != FOLDER:
                found.add((number - RECORDS, dbid))
        elif (number, dbid) not in told and former is not None and now is not None:
            found.add((number, dbid))
    return found - set(told)


def shifts(
    before: Shape | None,
    alone: Mapping[ObjectId, Readers],
    cache: ConfigurationCache,
    told: Collection[ObjectId],
) -> list[Shift]:
    """The shifts that led to the present state.

    ``before`` is the former shape if it may have changed, ``alone`` the former readers of single objects; what is
    ``told`` has changes of its own. Some 0.3 µs for each object that shifts.
    """
    if before is None and not alone:
        return []
    moved = _Groups(cache, told)
    index = cache.readers
    for id, former in alone.items():
        if cache.get(*id) is not None and former != (now := index.of(*id)):
            moved.add((former, now), id[0], [id[1]], cache.folder_of(*id))
    if before is not None:
        after = shape_of(cache)
        for dbid, former in before.folders.items():
            if former != (now := after.folders.get(dbid, former)) and (FOLDER, dbid) not in alone:
                moved.add((former, now), FOLDER, [dbid], cache.folder_of(FOLDER, dbid))
        for folder, former in before.within.items():
            if former != (now := after.within.get(folder, former)):
                for number, dbids in _content(cache, folder):
                    others = [dbid for dbid in dbids if (number, dbid) not in alone] if alone else dbids
                    moved.add((former, now), number, others, folder)
    return [Shift(former, now, objects) for (former, now), objects in moved.shifted()]


def objects_read_by(cache: ConfigurationCache, wanted: Collection[Readers], told: Collection[ObjectId]) -> list[Shift]:
    """All objects with these readers, apart from those ``told``: for accounts whose identities changed."""
    found = _Groups(cache, told)
    index, shape = cache.readers, shape_of(cache)
    for dbid, readers in shape.folders.items():
        if readers in wanted:
            found.add((readers, readers), FOLDER, [dbid], cache.folder_of(FOLDER, dbid))
    for folder, readers in shape.within.items():
        if readers in wanted:
            for number, dbids in _content(cache, folder):
                found.add((readers, readers), number, dbids, folder)
    for number in SCHEMA.types:
        for dbid in index.lists(number):
            if number != FOLDER and cache.get(number, dbid) is not None and (of := index.of(number, dbid)) in wanted:
                found.add((of, of), number, [dbid], cache.folder_of(number, dbid))
    return [Shift(readers, readers, objects) for (readers, _), objects in found.shifted()]


class _Groups:
    """Objects by the readers before and after, then by type."""

    def __init__(self, cache: ConfigurationCache, told: Collection[ObjectId]) -> None:
        self._cache = cache
        self._told: dict[int, set[int]] = {}
        for number, dbid in told:
            self._told.setdefault(number, set()).add(dbid)
        self._columns: dict[tuple[Readers, Readers], dict[int, list[_Column]]] = {}

    def add(self, readers: tuple[Readers, Readers], number: int, dbids: Sequence[int], folder: int) -> None:
        """Put objects of a type, all in one folder, into a group in which they are not yet."""
        told = self._told.get(number)
        present, wanted = self._cache.objects(number), [dbid for dbid in dbids if dbid not in told] if told else dbids
        if wanted:
            column = _Column(number, folder, list(wanted), list(map(present.__getitem__, wanted)))
            self._columns.setdefault(readers, {}).setdefault(number, []).append(column)

    def shifted(self) -> Iterator[tuple[tuple[Readers, Readers], ShiftedObjects]]:
        """Each group that has any object."""
        if not self._columns:
            return
        owners = self._cache.owners()
        for readers, types in self._columns.items():
            yield readers, ShiftedObjects([column for columns in types.values() for column in columns], owners)


def _content(cache: ConfigurationCache, folder: int) -> Iterator[tuple[int, Sequence[int]]]:
    """By type, the objects in a folder (0: in none) that inherit from it; folders are looked at apart."""
    for number in cache.counts():
        if number == FOLDER:
            continue
        lists = cache.readers.lists(number)
        dbids = cache.dbids_in(number, folder)
        yield number, [dbid for dbid in dbids if dbid not in lists] if lists else dbids
