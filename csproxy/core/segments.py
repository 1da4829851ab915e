"""The objects of one type: point reads from a dict, ordered reads and snapshots from segments.

A segment holds up to 4,096 objects in ascending order of DBID, as parallel arrays. A snapshot
shares the segments; whoever writes to a segment that an older snapshot may hold clones it first.
Which segments those are is told by a generation number: it grows with every snapshot, and a
segment of an older generation is never changed again.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

__all__ = ["SEGMENT_LIMIT", "Segment", "Table", "TableSnapshot"]

SEGMENT_LIMIT: Final = 4096
"""Most objects of one segment: a clone copies two pages of pointers per kilobyte of segment, about 10 µs."""

_MERGE_BELOW: Final = SEGMENT_LIMIT // 4
_MERGED_LIMIT: Final = SEGMENT_LIMIT * 3 // 4


class Segment:
    """Parallel arrays of DBIDs (ascending), encoded objects and folder DBIDs."""

    __slots__ = ("dbids", "folders", "generation", "objects")

    def __init__(self, generation: int, dbids: array[int], objects: list[bytes], folders: array[int]) -> None:
        self.generation = generation
        self.dbids = dbids
        self.objects = objects
        self.folders = folders

    def part(self, start: int, end: int, *, generation: int) -> Segment:
        """A new segment with copies of the entries from ``start`` to ``end`` (exclusive)."""
        return Segment(
            generation,
            self.dbids[start:end],
            self.objects[start:end],
            self.folders[start:end],
        )


class _Place(NamedTuple):
    segment: int
    offset: int


class TableSnapshot:
    """The objects of one type at one moment; nothing in it ever changes."""

    __slots__ = ("_firsts", "count", "segments")

    def __init__(self, segments: tuple[Segment, ...], firsts: tuple[int, ...], count: int) -> None:
        self.segments = segments
        self._firsts = firsts
        self.count = count

    def find(self, dbid: int) -> tuple[Segment, int] | None:
        """The segment and the offset in it of object ``dbid``; None if there is no such object."""
        number = bisect_right(self._firsts, dbid) - 1
        if number < 0:
            return None
        segment = self.segments[number]
        offset = bisect_left(segment.dbids, dbid)
        if offset == len(segment.dbids) or segment.dbids[offset] != dbid:
            return None
        return segment, offset

    def get(self, dbid: int) -> bytes | None:
        """The object's stored bytes, or None."""
        place = self.find(dbid)
        return None if place is None else place[0].objects[place[1]]

    def folder_of(self, dbid: int) -> int:
        """The folder DBID beside the object; 0 for none, also if there is no such object."""
        place = self.find(dbid)
        return 0 if place is None else place[0].folders[place[1]]


class Table:
    """The objects of one type, changing.

    ``by_dbid`` is the point-read dict (read it, never write it). Methods that change take the
    cache's current ``generation``; they rely on the caller for the object's presence or absence.
    """

    __slots__ = ("_firsts", "_segments", "_snapshot", "by_dbid")

    def __init__(self) -> None:
        self.by_dbid: dict[int, bytes] = {}
        self._segments: list[Segment] = []
        self._firsts: list[int] = []
        self._snapshot: TableSnapshot | None = None

    @classmethod
    def build(
        cls, by_dbid: dict[int, bytes], dbids: array[int], objects: Sequence[bytes], folders: array[int]
    ) -> Table:
        """A table of objects in ascending order of DBID; ``by_dbid`` maps the same and is taken over."""
        table = cls()
        table.by_dbid = by_dbid
        for start in range(0, len(dbids), SEGMENT_LIMIT):
            end = start + SEGMENT_LIMIT
            part = dbids[start:end]
            table._segments.append(Segment(0, part, list(objects[start:end]), folders[start:end]))
            table._firsts.append(part[0])
        return table

    def snapshot(self) -> TableSnapshot:
        """The present state; the caller must raise the generation before it changes the table again."""
        if self._snapshot is None:
            self._snapshot = TableSnapshot(tuple(self._segments), tuple(self._firsts), len(self.by_dbid))
        return self._snapshot

    def dbids(self) -> Iterator[int]:
        """All DBIDs, ascending."""
        for segment in self._segments:
            yield from segment.dbids

    def outside(self) -> list[int]:
        """The DBIDs of the objects in no folder, ascending; some 10 µs for a segment that has none."""
        return [
            dbid
            for segment in self._segments
            if 0 in segment.folders
            for dbid, folder in zip(segment.dbids, segment.folders, strict=True)
            if not folder
        ]

    def segments(self) -> Sequence[Segment]:
        """The segments as they are now, in order (for reading)."""
        return self._segments

    def folder_of(self, dbid: int) -> int:
        """The folder DBID beside an object that is there."""
        place = self._place(dbid)
        return self._segments[place.segment].folders[place.offset]

    def insert(self, dbid: int, stored: bytes, folder: int, *, generation: int) -> None:
        """Add an object that is not there yet."""
        self._snapshot = None
        self.by_dbid[dbid] = stored
        if not self._segments:
            self._segments.append(Segment(generation, array("I", (dbid,)), [stored], array("I", (folder,))))
            self._firsts.append(dbid)
            return
        number = max(bisect_right(self._firsts, dbid) - 1, 0)
        segment = self._own(number, generation)
        offset = bisect_left(segment.dbids, dbid)
        if len(segment.dbids) >= SEGMENT_LIMIT:
            segment, offset, number = self._split(number, offset, generation)
        segment.dbids.insert(offset, dbid)
        segment.objects.insert(offset, stored)
        segment.folders.insert(offset, folder)
        self._firsts[number] = segment.dbids[0]

    def replace(self, dbid: int, stored: bytes, folder: int, *, generation: int) -> None:
        """Give an object that is there new bytes and a folder."""
        self._snapshot = None
        self.by_dbid[dbid] = stored
        place = self._place(dbid)
        segment = self._own(place.segment, generation)
        segment.objects[place.offset] = stored
        segment.folders[place.offset] = folder

    def remove(self, dbid: int, *, generation: int) -> None:
        """Take away an object that is there."""
        self._snapshot = None
        del self.by_dbid[dbid]
        place = self._place(dbid)
        segment = self._own(place.segment, generation)
        for entries in (segment.dbids, segment.objects, segment.folders):
            del entries[place.offset]
        if not segment.dbids:
            del self._segments[place.segment], self._firsts[place.segment]
            return
        self._firsts[place.segment] = segment.dbids[0]
        if len(segment.dbids) < _MERGE_BELOW:
            self._merge(place.segment, generation)

    def _place(self, dbid: int) -> _Place:
        number = bisect_right(self._firsts, dbid) - 1
        return _Place(number, bisect_left(self._segments[number].dbids, dbid))

    def _own(self, number: int, generation: int) -> Segment:
        """The segment, cloned first if a snapshot may hold it."""
        segment = self._segments[number]
        if segment.generation != generation:
            segment = segment.part(0, len(segment.dbids), generation=generation)
            self._segments[number] = segment
        return segment

    def _split(self, number: int, offset: int, generation: int) -> tuple[Segment, int, int]:
        """Make room in a full segment; returns the segment, the offset in it and its number.

        DBIDs grow, so most insertions are at the very end: the full segment stays full and a new
        one begins. Anywhere else it is cut in halves.
        """
        segment = self._segments[number]
        count = len(segment.dbids)
        cut = count if offset == count and number == len(self._segments) - 1 else count // 2
        upper = segment.part(cut, count, generation=generation)
        for entries in (segment.dbids, segment.objects, segment.folders):
            del entries[cut:]
        self._segments.insert(number + 1, upper)
        self._firsts.insert(number + 1, upper.dbids[0] if upper.dbids else 0)
        if offset < cut:
            return segment, offset, number
        return upper, offset - cut, number + 1

    def _merge(self, number: int, generation: int) -> None:
        """Join a small segment with a neighbour if the result stays well below the limit."""
        for left in (number - 1, number):
            if not 0 <= left < len(self._segments) - 1:
                continue
            if len(self._segments[left].dbids) + len(self._segments[left + 1].dbids) > _MERGED_LIMIT:
                continue
            joined = self._own(left, generation)
            right = self._segments.pop(left + 1)
            del self._firsts[left + 1]
            joined.dbids.extend(right.dbids)
            joined.objects.extend(right.objects)
            joined.folders.extend(right.folders)
            return
