"""Objects as earlier transactions leave them that are not in the cache yet: what a later one is planned on.

A master writes several transactions with one commit, and publishes them only after it. The later ones are planned on
the cache and on this. It holds *plain* updates only: those that change nothing but attributes of an object that stays
where it is. So existence, folders, permissions and accounts are those of the cache; attributes, unique keys and links
are those here. After anything else there must be no further transaction (`may_be_followed`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from csproxy.core import codec
from csproxy.core.cache import ConfigurationCache
from csproxy.core.changes import Action
from csproxy.core.model.enumerations import CfgObjectType
from csproxy.core.ownership import ObjectId
from csproxy.core.security_records import is_record
from csproxy.core.sight import HOLDERS
from csproxy.core.writes import Plan

__all__ = ["Overlay", "StateBefore", "may_be_followed"]

_DECISIVE: Final = HOLDERS | {int(CfgObjectType.CFGApplication), int(CfgObjectType.CFGAccessGroup)}
"""Types whose attributes say who may do what, or how the server works: they count from when they are published."""

KeyValues = Callable[[Mapping[str, Any]], tuple[Any, ...]]


def may_be_followed(plan: Plan) -> bool:
    """Whether another transaction may be planned before this one is published: it consists of plain updates.

    A change of state is none: it decides who may log in, and which groups count.
    """
    return (
        not plan.passwords
        and not plan.counters
        and all(
            change.action is Action.UPDATED
            and change.stored is not None
            and change.delta is not None
            and "state" not in change.delta
            and not change.new_folder
            and not change.moved
            and change.type not in _DECISIVE
            and not is_record(change.type)
            for change in plan.changes
        )
    )


class Overlay:
    """The objects that plain updates have changed, by type number and DBID."""

    def __init__(self) -> None:
        self._stored: dict[ObjectId, bytes] = {}
        self._decoded: dict[ObjectId, dict[str, Any]] = {}
        self._keys: dict[tuple[int, tuple[str, ...]], _Keys] = {}

    def __contains__(self, id: ObjectId) -> bool:
        return id in self._stored

    def __iter__(self) -> Iterator[ObjectId]:
        return iter(self._stored)

    def __len__(self) -> int:
        return len(self._stored)

    def add(self, plan: Plan) -> None:
        """Take in a transaction that `may_be_followed`."""
        for change in plan.changes:
            assert change.stored is not None
            id = change.type, change.dbid
            self._stored[id] = change.stored
            self._decoded.pop(id, None)
            for (number, _), keys in self._keys.items():
                if number == change.type:
                    keys.put(change.dbid, self.get(id))

    def stored(self, id: ObjectId) -> bytes | None:
        """The stored bytes of an object; None if it was not changed."""
        return self._stored.get(id)

    def get(self, id: ObjectId) -> dict[str, Any]:
        """A changed object in plain form. Not to be changed."""
        found = self._decoded.get(id)
        if found is None:
            found = self._decoded[id] = codec.decode_map(self._stored[id])
        return found

    def find(self, type_number: int, key: tuple[str, ...], values: tuple[Any, ...], values_of: KeyValues) -> int | None:
        """DBID of the changed object of a type with these values of a unique key; ``values_of`` gives those of one."""
        keys = self._keys.get((type_number, key))
        if keys is None:
            keys = self._keys[type_number, key] = _Keys(values_of)
            for number, dbid in self._stored:
                if number == type_number:
                    keys.put(dbid, self.get((number, dbid)))
        return keys.dbids.get(values)


class StateBefore:
    """The stored objects and their folders as a transaction finds them: the cache with an overlay."""

    def __init__(self, cache: ConfigurationCache, overlay: Overlay) -> None:
        self._cache = cache
        self._overlay = overlay

    def get(self, type_number: int, dbid: int) -> bytes | None:
        """The stored bytes of an object, or None."""
        return self._overlay.stored((type_number, dbid)) or self._cache.get(type_number, dbid)

    def folder_of(self, type_number: int, dbid: int) -> int:
        """The DBID of the object's folder, 0 for none: no update of an overlay has moved it."""
        return self._cache.folder_of(type_number, dbid)


class _Keys:
    """The values of one unique key among the changed objects."""

    def __init__(self, values_of: KeyValues) -> None:
        self.dbids: dict[tuple[Any, ...], int] = {}
        self._values_of = values_of
        self._values: dict[int, tuple[Any, ...]] = {}

    def put(self, dbid: int, obj: Mapping[str, Any]) -> None:
        former = self._values.get(dbid)
        if former is not None and self.dbids.get(former) == dbid:
            del self.dbids[former]
        values = self._values[dbid] = self._values_of(obj)
        self.dbids[values] = dbid
