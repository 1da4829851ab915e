"""The configuration as it was at one moment, for reads that take longer than one call.

A view shares the segments of the cache and nothing in it ever changes. It has no indexes: lists of
candidates come from the cache when a selection is made there; a selection on the view itself scans,
and builds what it needs to know of other objects first, in steps.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, Final

from csproxy.core.changes import Position
from csproxy.core.criteria import FOLDER, Criterion, criteria, relations_needed
from csproxy.core.filter_values import Query, parse_filter
from csproxy.core.filters import IMMEDIATE_LIMIT, Matcher, Part, Selection, driver_of, trim_all
from csproxy.core.folders import FOLDER_TYPE, compose_folder, folder_path
from csproxy.core.indexes import Index, path_loader
from csproxy.core.security_records import RECORDS
from csproxy.core.segments import SEGMENT_LIMIT, TableSnapshot
from csproxy.core.sight import ReaderIndex, Viewer, VisibleRelations

__all__ = ["View"]

_CHECK_STEP: Final = 1024
_REWRITE_STEP: Final = 128
_STEP_BYTES: Final = 1 << 20
"""Bounds of a step that decodes (1 µs an object of 500 bytes) or encodes (8 µs)."""

_NOTHING: Final = Part((), ())


class View:
    """All objects as of ``position``; made by `csproxy.core.cache.ConfigurationCache.view`.

    ``composed`` is False for a view whose reads give folders as they are stored, as loads need them.
    """

    def __init__(self, position: Position, tables: Mapping[int, TableSnapshot], *, composed: bool = True) -> None:
        self.position = position
        self.composed = composed
        self._tables = tables
        self._indexes: dict[tuple[int, str], Index] = {}
        self._paths: dict[int, list[str]] = {}
        self._lists: dict[int, Mapping[int, bytes]] = {}
        self.readers = ReaderIndex(self, self._lists_of)
        """Who may read what, as of this moment."""

    def __repr__(self) -> str:
        objects = sum(table.count for table in self._tables.values())
        return f"<View at UEN {self.position.uen} of {objects} objects>"

    def count(self, type_number: int) -> int:
        """The number of objects of a type."""
        table = self._tables.get(type_number)
        return 0 if table is None else table.count

    def get(self, type_number: int, dbid: int) -> bytes | None:
        """The stored bytes of an object, or None."""
        table = self._tables.get(type_number)
        return None if table is None else table.get(dbid)

    def folder_of(self, type_number: int, dbid: int) -> int:
        """The folder DBID beside an object; 0 for none, also if there is no such object."""
        table = self._tables.get(type_number)
        return 0 if table is None else table.folder_of(dbid)

    def select(self, type_number: int, filter_values: Mapping[str, Any], viewer: Viewer | None = None) -> Selection:
        """The objects that fit a filter; with a ``viewer``, of `readers`, as if only what it sees were there.

        Raises `ModelError` as `csproxy.core.filter_values.parse_filter` does.
        """
        query = parse_filter(type_number, filter_values)
        if query.dbid is not None:
            is_there = self.get(type_number, query.dbid) is not None
            if viewer is not None and is_there:
                is_there = viewer.sees(type_number, query.dbid)
            if not is_there or viewer is None:
                return self.selection(query, [query.dbid] if is_there else [], ())
            return self._selection(lambda: self._parts(query, [query.dbid or 0], (), viewer), query, 1)
        if query.conditions or viewer is not None:
            return self._selection(lambda: self._search(query, viewer), query, -1)
        return self.selection(query, None, ())

    def selection(self, query: Query, driver: Sequence[int] | None, to_check: Sequence[Criterion]) -> Selection:
        """The objects among the candidates ``driver`` that pass ``to_check``.

        ``driver`` lists DBIDs of objects that are there, ascending; None stands for all of the type.
        """
        total = -1 if to_check else self.count(query.object_type.number) if driver is None else len(driver)
        return self._selection(lambda: self._parts(query, driver, to_check), query, total)

    def _selection(self, parts: Callable[[], Iterator[Part]], query: Query, total: int) -> Selection:
        return Selection(
            parts,
            total=total,
            immediate=0 <= total <= IMMEDIATE_LIMIT and not self._composes(query),
            want_folders=query.want_folders,
            want_paths=query.want_paths,
        )

    # --- relations, for criteria ----------------------------------------------------------------

    def has_index(self, type_number: int, path: str) -> bool:
        """Whether `having` answers for this path, because a selection needed it."""
        return (type_number, path) in self._indexes

    def having(self, type_number: int, path: str, value: Any) -> Sequence[int]:
        """The DBIDs of the objects with a value at a path, ascending."""
        return self._indexes[type_number, path].find(value)

    def values_at(self, type_number: int, path: str) -> Collection[Any]:
        """All values at a path."""
        return self._indexes[type_number, path].values()

    def shared_at(self, type_number: int, path: str) -> Iterator[Sequence[int]]:
        """The DBIDs of the objects that share a value at a path."""
        return self._indexes[type_number, path].shared()

    def _build(self, type_number: int, path: str) -> Iterator[Part]:
        """Build one index in steps. Two selections may build the same; the last to end is kept."""
        if (type_number, path) in self._indexes:
            return
        index = Index()
        load = None if path == FOLDER else path_loader(type_number, path)
        for dbids, objects, folders in self._chunks(type_number, None, _CHECK_STEP):
            if load is None:
                index.extend(folders, dbids)
            else:
                load(index, dbids, objects)
            yield _NOTHING
        index.settle()
        self._indexes[type_number, path] = index

    # --- parts ----------------------------------------------------------------------------------

    def _search(self, query: Query, viewer: Viewer | None) -> Iterator[Part]:
        """Build what the criteria need, resolve them, and go through the candidates."""
        for type_number, path in relations_needed(query):
            yield from self._build(type_number, path)
        driver, to_check = driver_of(criteria(query, self if viewer is None else VisibleRelations(self, viewer)))
        yield from self._parts(query, driver and driver.dbids, to_check, viewer)

    def _parts(
        self,
        query: Query,
        driver: Sequence[int] | None,
        to_check: Sequence[Criterion],
        viewer: Viewer | None = None,
    ) -> Iterator[Part]:
        number = query.object_type.number
        matcher = Matcher(number, to_check)
        composes = self._composes(query)
        if composes:
            for type_number in self._tables:
                yield from self._build(type_number, FOLDER)
        rewrites = composes or query.exclude_bytecode or query.exclude_longstrings
        step = _REWRITE_STEP if rewrites else SEGMENT_LIMIT if matcher.passes_all else _CHECK_STEP
        for dbids, objects, folders in self._chunks(number, driver, step):
            if viewer is not None:
                places = viewer.places(number, dbids, folders)
                if len(places) < len(dbids):
                    dbids = [dbids[place] for place in places]
                    objects = [objects[place] for place in places]
                    folders = [folders[place] for place in places]
            if not matcher.passes_all:
                places = matcher.fitting(dbids, objects)
                dbids = [dbids[place] for place in places]
                objects = [objects[place] for place in places]
                folders = [folders[place] for place in places]
            if composes:
                objects = [
                    compose_folder(stored, self._members(dbid, viewer))
                    for dbid, stored in zip(dbids, objects, strict=True)
                ]
            yield Part(
                dbids,
                trim_all(query, objects),
                folders if query.want_folders else (),
                self._paths_of(folders, viewer) if query.want_paths else (),
            )

    def _composes(self, query: Query) -> bool:
        return self.composed and query.object_type.number == FOLDER_TYPE

    def _paths_of(self, folders: Sequence[int], viewer: Viewer | None) -> Sequence[Sequence[str]]:
        if viewer is None:
            return [self.path(folder) for folder in folders]
        paths = {folder: folder_path(folder, viewer) for folder in dict.fromkeys(folders)}
        return [paths[folder] for folder in folders]

    def _lists_of(self, type_number: int) -> Mapping[int, bytes]:
        """The access control lists of objects of a type, by DBID; put together once."""
        lists = self._lists.get(type_number)
        if lists is None:
            table = self._tables.get(RECORDS + type_number)
            segments = () if table is None else table.segments
            lists = self._lists[type_number] = {
                dbid: stored
                for segment in segments
                for dbid, stored in zip(segment.dbids, segment.objects, strict=True)
            }
        return lists

    def _members(self, folder: int, viewer: Viewer | None) -> Iterator[tuple[int, Sequence[int]]]:
        members = self._all_members(folder)
        return members if viewer is None else viewer.members(folder, members)

    def _all_members(self, folder: int) -> Iterator[tuple[int, Sequence[int]]]:
        for type_number in self._tables:
            if found := self._indexes[type_number, FOLDER].find(folder):
                yield type_number, found

    def path(self, folder: int) -> list[str]:
        """The names of the folders that lead to ``folder``, itself included, outermost first."""
        path = self._paths.get(folder)
        if path is None:
            path = self._paths[folder] = folder_path(folder, self)
        return path

    def _chunks(
        self, type_number: int, driver: Sequence[int] | None, step: int
    ) -> Iterator[tuple[Sequence[int], Sequence[bytes], Sequence[int]]]:
        """DBIDs, stored objects and folders, up to ``step`` at a time; objects that are gone are passed over."""
        table = self._tables[type_number]
        if driver is None:
            for segment in table.segments:
                yield from _split(segment.dbids, segment.objects, segment.folders, step)
            return
        for start in range(0, len(driver), _CHECK_STEP):
            places = [place for dbid in driver[start : start + _CHECK_STEP] if (place := table.find(dbid))]
            yield from _split(
                [segment.dbids[offset] for segment, offset in places],
                [segment.objects[offset] for segment, offset in places],
                [segment.folders[offset] for segment, offset in places],
                step,
            )


def _split(
    dbids: Sequence[int], objects: Sequence[bytes], folders: Sequence[int], step: int
) -> Iterator[tuple[Sequence[int], Sequence[bytes], Sequence[int]]]:
    """Pieces of at most ``step`` objects; below a whole segment also of bounded size."""
    if step == SEGMENT_LIMIT:
        yield dbids, objects, folders
        return
    start = 0
    while start < len(objects):
        end = min(start + step, len(objects))
        while end - start > 1 and sum(map(len, objects[start:end])) > _STEP_BYTES:
            end = start + (end - start) // 2
        yield dbids[start:end], objects[start:end], folders[start:end]
        start = end
