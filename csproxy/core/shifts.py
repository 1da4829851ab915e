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
from csproxy.core.tenants import tenants_of_many

if TYPE_CHECKING:
    from csproxy.core.applying import PlannedChange
    from csproxy.core.cache import ConfigurationCache

__all__ = [
    "Shift",
    "ShiftedObject",
    "Shape",
    "changed_alone",
    "holders_change",
    "objects_read_by",
    "shape_of",
    "shifts",
]


class ShiftedObject(NamedTuple):
    """An object as it is after the transaction, and to which tenants it belongs."""

    type: int
    dbid: int
    stored: bytes
    folder: int
    tenants: tuple[int, ...]


class Shift(NamedTuple):
    """Objects whose readers were ``before`` and are ``after``."""

    before: Readers
    after: Readers
    objects: Sequence[ShiftedObject]

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
    ``told`` has changes of its own. Some 3 µs for each object that shifts.
    """
    moved = _Groups(cache, told)
    index = cache.readers
    for id, former in alone.items():
        if cache.get(*id) is not None and former != (now := index.of(*id)):
            moved.add((former, now), id[0], [id[1]])
    if before is not None:
        after = shape_of(cache)
        for dbid, former in before.folders.items():
            if former != (now := after.folders.get(dbid, former)):
                moved.add((former, now), FOLDER, [dbid])
        for folder, former in before.within.items():
            if former != (now := after.within.get(folder, former)):
                for number, dbids in _content(cache, folder):
                    moved.add((former, now), number, [dbid for dbid in dbids if (number, dbid) not in alone])
    return [Shift(former, now, objects) for (former, now), objects in moved.shifted()]


def objects_read_by(cache: ConfigurationCache, wanted: Collection[Readers], told: Collection[ObjectId]) -> list[Shift]:
    """All objects with these readers, apart from those ``told``: for accounts whose identities changed."""
    found = _Groups(cache, told)
    index, shape = cache.readers, shape_of(cache)
    for dbid, readers in shape.folders.items():
        if readers in wanted:
            found.add((readers, readers), FOLDER, [dbid])
    for folder, readers in shape.within.items():
        if readers in wanted:
            for number, dbids in _content(cache, folder):
                found.add((readers, readers), number, dbids)
    for number in SCHEMA.types:
        for dbid in index.lists(number):
            if number != FOLDER and cache.get(number, dbid) is not None and (of := index.of(number, dbid)) in wanted:
                found.add((of, of), number, [dbid])
    return [Shift(readers, readers, objects) for (readers, _), objects in found.shifted()]


class _Groups:
    """Objects by the readers before and after, then by type."""

    def __init__(self, cache: ConfigurationCache, told: Collection[ObjectId]) -> None:
        self._cache = cache
        self._told = told
        self._dbids: dict[tuple[Readers, Readers], dict[int, dict[int, None]]] = {}

    def add(self, readers: tuple[Readers, Readers], number: int, dbids: Iterable[int]) -> None:
        """Put objects of a type into a group."""
        self._dbids.setdefault(readers, {}).setdefault(number, {}).update(dict.fromkeys(dbids))

    def shifted(self) -> Iterator[tuple[tuple[Readers, Readers], list[ShiftedObject]]]:
        """Each group that has any object."""
        for readers, types in self._dbids.items():
            objects = [each for number, dbids in types.items() for each in self._of_type(number, dbids)]
            if objects:
                yield readers, objects

    def _of_type(self, number: int, dbids: Iterable[int]) -> Iterator[ShiftedObject]:
        cache, told = self._cache, self._told
        present = cache.objects(number)
        wanted = [dbid for dbid in dbids if dbid in present and (number, dbid) not in told]
        objects = [present[dbid] for dbid in wanted]
        for dbid, stored, tenants in zip(
            wanted, objects, tenants_of_many(number, wanted, objects, cache.get), strict=True
        ):
            yield ShiftedObject(number, dbid, stored, cache.folder_of(number, dbid), tenants)


def _content(cache: ConfigurationCache, folder: int) -> Iterator[tuple[int, Sequence[int]]]:
    """By type, the objects in a folder (0: in none) that inherit from it; folders are looked at apart."""
    for number in cache.counts():
        if number == FOLDER:
            continue
        lists = cache.readers.lists(number)
        dbids: Sequence[int] = (
            cache.dbids_in(number, folder)
            if folder
            else [dbid for dbid, where in cache.folders(number).items() if not where]
        )
        yield number, [dbid for dbid in dbids if dbid not in lists] if lists else dbids
