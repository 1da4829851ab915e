"""The present state of a cache as conditions of filters see it: by its indexes."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from csproxy.core.criteria import FOLDER
from csproxy.core.folders import Membership
from csproxy.core.indexes import TypeIndexes
from csproxy.core.segments import Table

__all__ = ["LiveRelations"]


class LiveRelations:
    """Implements `csproxy.core.criteria.Relations`; what it returns holds until the next change."""

    def __init__(self, tables: Mapping[int, Table], indexes: Mapping[int, TypeIndexes], membership: Membership) -> None:
        self._tables = tables
        self._indexes = indexes
        self._membership = membership

    def get(self, type_number: int, dbid: int) -> bytes | None:
        """The stored bytes of an object."""
        table = self._tables.get(type_number)
        return None if table is None else table.by_dbid.get(dbid)

    def folder_of(self, type_number: int, dbid: int) -> int:
        """The folder of an object; 0 for none, also if there is no such object."""
        table = self._tables.get(type_number)
        return table.folder_of(dbid) if table is not None and dbid in table.by_dbid else 0

    def has_index(self, type_number: int, path: str) -> bool:
        """Whether the path is indexed."""
        return path == FOLDER or path in self._indexes[type_number].indexes

    def having(self, type_number: int, path: str, value: Any) -> Sequence[int]:
        """The DBIDs of the objects with a value at a path, ascending."""
        if path == FOLDER:
            return self._membership.find(type_number, value)
        return self._indexes[type_number].indexes[path].find(value)

    def values_at(self, type_number: int, path: str) -> Collection[Any]:
        """All values at a path, of any object."""
        return self._indexes[type_number].indexes[path].values()

    def shared_at(self, type_number: int, path: str) -> Iterator[Sequence[int]]:
        """The DBIDs of the objects that share a value at a path."""
        return self._indexes[type_number].indexes[path].shared()
