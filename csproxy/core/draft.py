"""A draft: the configuration as it would be after the changes planned so far.

A write request becomes one draft. Rules ask the draft and not the cache, so that they see what the
same transaction has planned before. Nothing here checks anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from csproxy.core.cache import ConfigurationCache
from csproxy.core.changes import Action
from csproxy.core.containers import FOLDER
from csproxy.core.model.schema import SCHEMA
from csproxy.core.ownership import ObjectId
from csproxy.core.paths import name_of

__all__ = ["Draft", "Step"]


class Step(NamedTuple):
    """One planned change: of the object as it was to what it becomes; None for *not there*.

    ``delta`` is what an update was asked to do, None where the server planned it itself. ``folder``
    is the folder afterwards; ``moved`` are objects that come into this folder.
    """

    action: Action
    id: ObjectId
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    folder: int
    delta: Mapping[str, Any] | None = None
    moved: tuple[ObjectId, ...] = ()


class Draft:
    """Planned steps over a cache; at most one step per object, in the order of notification.

    ``counters`` holds the last DBID given out per type; it is copied, not changed.
    """

    def __init__(self, cache: ConfigurationCache, counters: Mapping[int, int]) -> None:
        self.cache = cache
        self.counters: dict[int, int] = {}
        self.steps: list[Step] = []
        self._given = counters
        self._planned: dict[ObjectId, Step] = {}

    def get(self, type_number: int, dbid: int) -> dict[str, Any] | None:
        """The object as planned, None if it is not there (any more). Not to be changed."""
        step = self._planned.get((type_number, dbid))
        return step.after if step is not None else self.cache.stored(type_number, dbid)

    def folder_of(self, type_number: int, dbid: int) -> int:
        """The DBID of the folder that holds the object, 0 for none."""
        step = self._planned.get((type_number, dbid))
        return step.folder if step is not None else self.cache.folder_of(type_number, dbid)

    def find(self, type_number: int, key: tuple[str, ...], values: tuple[Any, ...]) -> int | None:
        """DBID of the stored object with these values of a unique key."""
        return self.cache.lookup(type_number, key, values)

    def name(self, id: ObjectId) -> str:
        """How an error names the object."""
        return name_of(SCHEMA.types[id[0]], self.get(*id) or {"DBID": id[1]})

    def next_dbid(self, type_number: int) -> int:
        """Give out the next DBID of a type: never one that any object had before."""
        dbid = self.counters.get(type_number, self._given.get(type_number, 0)) + 1
        self.counters[type_number] = dbid
        return dbid

    def create(self, type_number: int, obj: dict[str, Any], *, folder: int) -> None:
        """Plan a creation of a complete object."""
        self._add(Step(Action.CREATED, (type_number, obj["DBID"]), None, obj, folder))

    def update(
        self,
        id: ObjectId,
        after: dict[str, Any],
        *,
        delta: Mapping[str, Any] | None = None,
        folder: int | None = None,
        moved: tuple[ObjectId, ...] = (),
    ) -> None:
        """Plan an update; ``folder`` None leaves the object where it is."""
        where = self.folder_of(*id) if folder is None else folder
        self._add(Step(Action.UPDATED, id, self.get(*id), after, where, delta, moved))

    def delete(self, id: ObjectId) -> None:
        """Plan a deletion."""
        self._add(Step(Action.DELETED, id, self.get(*id), None, 0))

    def _add(self, step: Step) -> None:
        assert step.id not in self._planned, "an object is changed once in a transaction"
        self._planned[step.id] = step
        self.steps.append(step)

    def folder(self, dbid: int) -> dict[str, Any] | None:
        """The folder with this DBID."""
        return self.get(FOLDER, dbid)
