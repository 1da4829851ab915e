"""Objects that get other readers without being changed: a list or a container above them changed.

A *shift* is a group of such objects with the same readers before and the same after. Whoever saw them before and does
not see them now is told that they are gone; whoever sees them only now, that they are there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from csproxy.core.containers import FOLDER
from csproxy.core.ownership import ObjectId
from csproxy.core.security_records import RECORDS, is_record
from csproxy.core.sight import HOLDERS, Access, Readers, may_read

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
    ``told`` has changes of its own.
    """
    moved: dict[tuple[Readers, Readers], list[ObjectId]] = {}
    index = cache.readers
    for id, former in alone.items():
        _note(moved, former, index.of(*id), id, cache)
    if before is not None:
        after = shape_of(cache)
        for dbid, former in before.folders.items():
            if dbid in after.folders:
                _note(moved, former, after.folders[dbid], (FOLDER, dbid), cache)
        for folder, former in before.within.items():
            now = after.within.get(folder)
            if now is not None and now != former:
                for id in _content(cache, folder):
                    if id not in alone and id[0] != FOLDER and id[1] not in index.lists(id[0]):
                        _note(moved, former, now, id, cache)
    found = []
    for (former, now), ids in moved.items():
        objects = [_shifted(cache, id) for id in dict.fromkeys(ids) if id not in told]
        if objects:
            found.append(Shift(former, now, objects))
    return found


def objects_read_by(cache: ConfigurationCache, wanted: Collection[Readers], told: Collection[ObjectId]) -> list[Shift]:
    """All objects with these readers, apart from those ``told``: for accounts whose identities changed."""
    groups: dict[Readers, list[ShiftedObject]] = {readers: [] for readers in wanted}
    index = cache.readers
    for number in cache.counts():
        for dbid, folder in cache.folders(number).items():
            group = groups.get(index.of(number, dbid, folder))
            if group is not None and (number, dbid) not in told:
                group.append(_shifted(cache, (number, dbid)))
    return [Shift(readers, readers, objects) for readers, objects in groups.items() if objects]


def _note(moved: dict[Any, list[ObjectId]], former: Readers, now: Readers, id: ObjectId, cache: Any) -> None:
    if former != now and cache.get(*id) is not None:
        moved.setdefault((former, now), []).append(id)


def _content(cache: ConfigurationCache, folder: int) -> Iterator[ObjectId]:
    if folder:
        yield from cache.members_of(folder)
        return
    for number in cache.counts():
        yield from ((number, dbid) for dbid, where in cache.folders(number).items() if not where)


def _shifted(cache: ConfigurationCache, id: ObjectId) -> ShiftedObject:
    stored = cache.get(*id)
    assert stored is not None
    return ShiftedObject(*id, stored, cache.folder_of(*id), cache.tenants_of(*id))
