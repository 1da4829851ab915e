"""Which folder holds which objects, and folders as a reader sees them.

Membership is stored once, as a number beside each object. The list ``objectIDs`` of a folder is
made of it when the folder is read, and never stored.
"""

from __future__ import annotations

import sys
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, Protocol

from msgspec import Raw

from csproxy.core import codec
from csproxy.core.indexes import Index
from csproxy.core.model import SCHEMA
from csproxy.core.model.delta import encode_object
from csproxy.core.records import reader
from csproxy.core.security_records import STORED_TYPES

__all__ = ["FOLDER_TYPE", "FolderSource", "Membership", "compose_folder", "folder_path", "without_members"]

FOLDER_TYPE: Final = 22
_MEMBERS: Final = "objectIDs"
_MEMBERS_BYTES: Final = codec.encode(_MEMBERS)
_WIDTHS: Final = ((0x7F, 1), (0xFF, 1), (0xFFFF, 2), (0xFFFFFFFF, 4))
"""Largest DBID and bytes of its value in each of msgpack's forms of a whole number."""


class Membership:
    """For each folder the objects in it, and the folders' composed forms while they hold true."""

    def __init__(self) -> None:
        self._by_type = {number: Index() for number in STORED_TYPES}
        self._composed: dict[int, tuple[bytes, bytes]] = {}

    def add(self, folder: int, type_number: int, dbid: int) -> None:
        """Note that the object is in ``folder`` now; 0 stands for none."""
        if folder:
            self._by_type[type_number].add(folder, dbid)
            self._composed.pop(folder, None)

    def discard(self, folder: int, type_number: int, dbid: int) -> None:
        """Note that the object is in ``folder`` no longer."""
        if folder:
            self._by_type[type_number].discard(folder, dbid)
            self._composed.pop(folder, None)

    def forget(self, folder: int) -> None:
        """Drop the composed form of a folder that was deleted."""
        self._composed.pop(folder, None)

    def extend(self, type_number: int, folders: Iterable[int], dbids: Iterable[int]) -> None:
        """Load objects in bulk; `settle` must follow."""
        self._by_type[type_number].extend(folders, dbids)

    def renewed(self, other: Membership, types: Iterable[int]) -> Membership:
        """The places that ``other`` knows for objects of ``types``, and those known here for all others, shared."""
        membership = Membership()
        membership._by_type = {**self._by_type, **{number: other._by_type[number] for number in types}}
        return membership

    def settle(self) -> None:
        """Finish `extend`."""
        for index in self._by_type.values():
            index.settle()

    def find(self, type_number: int, folder: int) -> Sequence[int]:
        """The DBIDs of the objects of a type in a folder, ascending."""
        return self._by_type[type_number].find(folder)

    def members(self, folder: int) -> Iterator[tuple[int, Sequence[int]]]:
        """(type number, DBIDs) for each type of which the folder holds objects, ascending."""
        for number, index in self._by_type.items():
            if found := index.find(folder):
                yield number, found

    def compose(self, dbid: int, stored: bytes) -> bytes:
        """Folder ``dbid`` as a reader sees it. Kept, because folders are read often and moves are rare."""
        kept = self._composed.get(dbid)
        if kept is not None and kept[0] is stored:
            return kept[1]
        composed = compose_folder(stored, self.members(dbid))
        self._composed[dbid] = (stored, composed)
        return composed


def compose_folder(stored: bytes, members: Iterable[tuple[int, Sequence[int]]]) -> bytes:
    """A stored folder with ``objectIDs`` made of ``members``: (type number, ascending DBIDs), types ascending."""
    count = 0
    items: list[bytes] = []
    for type_number, dbids in members:
        count += len(dbids)
        items.extend(_encode_members(type_number, dbids))
    if not count:
        return stored
    folder = codec.decode_map(stored)
    folder[_MEMBERS] = Raw(codec.array_header(count) + b"".join(items))
    return codec.encode(folder)


class FolderSource(Protocol):
    """Where `folder_path` looks folders up."""

    def get(self, type_number: int, dbid: int) -> bytes | None:
        """The stored bytes of an object."""

    def folder_of(self, type_number: int, dbid: int) -> int:
        """The folder of an object, 0 for none."""


def folder_path(folder: int, source: FolderSource) -> list[str]:
    """The names of the folders that lead to ``folder``, itself included, outermost first.

    The path begins below a folder that is not there; a folder that lies in itself ends it.
    """
    names = reader(FOLDER_TYPE, ("name",))
    path: list[str] = []
    seen: set[int] = set()
    while folder and folder not in seen:
        stored = source.get(FOLDER_TYPE, folder)
        if stored is None:
            break
        seen.add(folder)
        path.append(names.columns[0].read(names.decode(stored)))
        folder = source.folder_of(FOLDER_TYPE, folder)
    return path[::-1]


def without_members(stored: bytes) -> bytes:
    """A folder as it is stored: if it is a composed one, the members are taken out again."""
    if _MEMBERS_BYTES not in stored:
        return stored
    folder = codec.decode_map(stored)
    if _MEMBERS not in folder:
        return stored
    del folder[_MEMBERS]
    return encode_object(SCHEMA.types[FOLDER_TYPE], folder)


def _encode_members(type_number: int, dbids: Sequence[int]) -> Iterator[bytes]:
    """Encoded ``{"DBID": …, "type": …}`` for each DBID, ascending.

    A folder can hold 100,000 persons. Encoded one by one they would hold up everybody for 30 ms; all
    items of one width look alike, so their bytes are laid out column by column in 5 ms.
    """
    numbers = array("I", dbids)
    after = len(codec.encode("type") + codec.encode(type_number))
    start = 0
    for largest, width in _WIDTHS:
        end = bisect_right(numbers, largest)
        part = numbers[start:end]
        start = end
        if not part:
            continue
        item = codec.encode({"DBID": largest, "type": type_number})
        laid_out = bytearray(item * len(part))
        if sys.byteorder == "little":
            part.byteswap()
        big_endian = part.tobytes()
        for place in range(width):
            laid_out[len(item) - after - width + place :: len(item)] = big_endian[4 - width + place :: 4]
        yield bytes(laid_out)
