"""A draft: the configuration as it would be after the changes planned so far.

A write request, or a whole transaction of them, becomes one draft. Rules ask the draft and not the
cache, so that they see what the same transaction has planned before. Nothing here checks anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial
from typing import Any, NamedTuple, Protocol

from csproxy.core.cache import ConfigurationCache
from csproxy.core.changes import Action
from csproxy.core.containers import ENVIRONMENT, FOLDER, is_in_tenants
from csproxy.core.indexes import link_paths
from csproxy.core.model.delta import encode_object
from csproxy.core.model.schema import SCHEMA, AttributeKind, ObjectType
from csproxy.core.ownership import ObjectId
from csproxy.core.paths import name_of, scalar_at
from csproxy.core.records import TYPE_NUMBERS, pair_of, reader

__all__ = ["Draft", "Step", "key_values", "tenant_of"]

_Link = tuple[int, int, str]
"""Type number, DBID and path of an object that links to another one."""


class Changed(Protocol):
    """Objects that have changed and are not in the cache yet (`csproxy.core.overlay`)."""

    def __contains__(self, id: ObjectId) -> bool: ...

    def __iter__(self) -> Iterator[ObjectId]: ...

    def __len__(self) -> int: ...

    def get(self, id: ObjectId) -> dict[str, Any]:
        """One of them in plain form. Not to be changed."""

    def find(
        self,
        type_number: int,
        key: tuple[str, ...],
        values: tuple[Any, ...],
        values_of: Callable[[Mapping[str, Any]], tuple[Any, ...]],
    ) -> int | None:
        """DBID of the one of a type that has these values of a unique key."""


class Step(NamedTuple):
    """One planned change: of the object as it was to what it becomes; None for *not there*.

    ``delta`` is what an update was asked to do, None where the server planned it itself. ``folder``
    is the folder afterwards, ``from_folder`` the one before; ``moved`` are objects that come into
    this folder.
    """

    action: Action
    id: ObjectId
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    folder: int
    from_folder: int = 0
    delta: Mapping[str, Any] | None = None
    moved: tuple[ObjectId, ...] = ()


class Draft:
    """Planned steps over a cache, in the order of notification.

    ``counters`` holds the last DBID given out per type; it is copied, not changed. The cache must
    not change while the draft is in use, and no more may ``overlay``: objects that have changed since.
    ``is_known`` says whether the author may know that an object is there, ``may_name`` whether errors may name it.
    """

    def __init__(
        self,
        cache: ConfigurationCache,
        counters: Mapping[int, int],
        is_known: Callable[[ObjectId], bool] = lambda id: True,
        may_name: Callable[[ObjectId], bool] = lambda id: True,
        *,
        overlay: Changed | None = None,
    ) -> None:
        self.cache = cache
        self._overlay: Changed | None = overlay if overlay is not None and len(overlay) else None
        self.is_known = is_known
        self._may_name = may_name
        self.counters: dict[int, int] = {}
        self.steps: list[Step] = []
        self._given = counters
        self._now: dict[ObjectId, dict[str, Any] | None] = {}
        self._read: dict[ObjectId, dict[str, Any] | None] = {}
        self._tenants: dict[ObjectId, int] = {}
        self._stored_folders: dict[tuple[Any, ...], int | None] = {}
        self._folders: dict[ObjectId, int] = {}
        self._members: dict[int, dict[ObjectId, None]] = {}
        self._keys: dict[tuple[int, tuple[str, ...]], dict[tuple[Any, ...], int]] = {}
        self._links = _PlannedLinks()

    def get(self, type_number: int, dbid: int) -> dict[str, Any] | None:
        """The object as planned, None if it is not there (any more). Not to be changed."""
        id = (type_number, dbid)
        if id in self._now:
            return self._now[id]
        if id not in self._read:
            if self._overlay is not None and id in self._overlay:
                self._read[id] = self._overlay.get(id)
            else:
                self._read[id] = self.cache.stored(type_number, dbid)
        return self._read[id]

    def has(self, type_number: int, dbid: int) -> bool:
        """Whether the object is there; cheaper than `get`."""
        id = (type_number, dbid)
        return self._now[id] is not None if id in self._now else self.cache.get(type_number, dbid) is not None

    def tenant_of(self, kind: ObjectType, dbid: int) -> int:
        """DBID of the tenant of an object that is there, of a type whose objects belong to tenants."""
        id = (kind.number, dbid)
        if id in self._now or self._has_changed(id):
            return tenant_of(kind, self.get(*id) or {})
        tenant = self._tenants.get(id)
        if tenant is None:
            stored = self.cache.get(*id)
            assert stored is not None
            source = reader(kind.number, (str(kind.tenant_path),))  # a tenth of what decoding the whole object costs
            tenant = self._tenants[id] = source.columns[0].read(source.decode(stored)) or ENVIRONMENT
        return tenant

    def folder_of(self, type_number: int, dbid: int) -> int:
        """The DBID of the folder that holds the object, 0 for none."""
        folder = self._folders.get((type_number, dbid))
        return self.cache.folder_of(type_number, dbid) if folder is None else folder

    def find(self, type_number: int, key: tuple[str, ...], values: tuple[Any, ...]) -> int | None:
        """DBID of the object with these values of a unique key."""
        planned = self._keys.get((type_number, key), {}).get(values)
        if planned is not None:
            return planned
        changed = self._changed_with(type_number, key, values)
        if changed is not None:
            return changed
        if type_number == FOLDER:  # the same few folders are asked for again and again
            found = self._stored_folder(key, values)
        else:
            found = self.cache.lookup(type_number, key, values)
        id = (type_number, found or 0)
        return None if found is None or id in self._now or self._has_changed(id) else found

    def _has_changed(self, id: ObjectId) -> bool:
        return self._overlay is not None and id in self._overlay

    def _changed_with(self, type_number: int, key: tuple[str, ...], values: tuple[Any, ...]) -> int | None:
        if self._overlay is None:
            return None
        kind = SCHEMA.types[type_number]
        found = self._overlay.find(type_number, key, values, partial(key_values, kind, key))
        return None if found is None or (type_number, found) in self._now else found

    def _stored_folder(self, key: tuple[str, ...], values: tuple[Any, ...]) -> int | None:
        if values not in self._stored_folders:
            self._stored_folders[values] = self.cache.lookup(FOLDER, key, values)
        return self._stored_folders[values]

    def referrers(self, type_number: int, dbid: int, *, limit: int | None = None) -> Sequence[_Link]:
        """The objects that link to this one: type, DBID and path of the link. ``limit`` bounds those of the cache."""
        stored = self.cache.referrers(type_number, dbid, limit=limit)
        if self._overlay is None and not self.steps:
            return stored
        if self._overlay is not None and not self._links.has_begun:
            self._links.begin({id: self._overlay.get(id) for id in self._overlay})
        self._links.follow(self.steps)
        return [
            *(link for link in stored if (id := (link.type, link.dbid)) not in self._now and not self._has_changed(id)),
            *self._links.to((type_number, dbid)),
        ]

    def members_of(self, folder: int) -> list[ObjectId]:
        """(type number, DBID) of the objects immediately in a folder."""
        stored = [id for id in self.cache.members_of(folder) if id not in self._folders]
        return stored + [id for id in self._members.get(folder, ()) if self._folders[id] == folder]

    def name(self, id: ObjectId) -> str:
        """How an error names the object."""
        kind = SCHEMA.types[id[0]]
        if not self._may_name(id):
            return f"a {kind.singular} that may not be read"
        return name_of(kind, self.get(*id) or {"DBID": id[1]})

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
        old = self.folder_of(*id)
        self._add(Step(Action.UPDATED, id, self.get(*id), after, old if folder is None else folder, old, delta, moved))
        for other in moved:
            self._place(other, id[1])

    def delete(self, id: ObjectId) -> None:
        """Plan a deletion."""
        self._add(Step(Action.DELETED, id, self.get(*id), None, 0, self.folder_of(*id)))

    def folder(self, dbid: int) -> dict[str, Any] | None:
        """The folder with this DBID."""
        return self.get(FOLDER, dbid)

    def _add(self, step: Step) -> None:
        self.steps.append(step)
        former = self._now.get(step.id)
        self._now[step.id] = step.after
        self._place(step.id, step.folder)
        kind = SCHEMA.types[step.id[0]]
        for key in kind.unique_keys:
            dbids = self._keys.setdefault((kind.number, key), {})
            if former is not None:
                dbids.pop(key_values(kind, key, former), None)
            if step.after is not None:
                dbids[key_values(kind, key, step.after)] = step.id[1]

    def _place(self, id: ObjectId, folder: int) -> None:
        self._folders[id] = folder
        if folder:
            self._members.setdefault(folder, {})[id] = None


class _PlannedLinks:
    """Who links to what among the planned objects; worked out when somebody asks."""

    def __init__(self) -> None:
        self.has_begun = False
        self._followed = 0
        self._from: dict[ObjectId, list[tuple[ObjectId, str]]] = {}
        self._to: dict[ObjectId, dict[_Link, None]] = {}

    def begin(self, objects: Mapping[ObjectId, dict[str, Any]]) -> None:
        """Take in the objects that were changed before the steps."""
        self.has_begun = True
        for id, obj in objects.items():
            self._put(id, obj)

    def follow(self, steps: Sequence[Step]) -> None:
        """Take in the steps that came since the last time."""
        for step in steps[self._followed :]:
            self._put(step.id, step.after)
        self._followed = len(steps)

    def _put(self, id: ObjectId, obj: dict[str, Any] | None) -> None:
        number, dbid = id
        for target, path in self._from.pop(id, ()):
            del self._to[target][number, dbid, path]
        if obj is None:
            return
        links = self._from[id] = _links_in(SCHEMA.types[number], obj)
        for target, path in links:
            self._to.setdefault(target, {})[number, dbid, path] = None

    def to(self, target: ObjectId) -> Sequence[_Link]:
        """The links that lead to an object."""
        return list(self._to.get(target, ()))


def _links_in(kind: ObjectType, obj: Mapping[str, Any]) -> list[tuple[ObjectId, str]]:
    """Every link of the object as the cache's indexes see it: what it leads to, and its path."""
    paths = link_paths(kind)
    source = reader(kind.number, tuple(path for path, _ in paths))
    record = source.decode(encode_object(kind, obj))
    found: list[tuple[ObjectId, str]] = []
    for (path, target), column in zip(paths, source.columns, strict=True):
        for value in column.values(record):
            assert isinstance(value, int)
            pair = pair_of(value)
            found.append((pair if target is None else (TYPE_NUMBERS[target], value), path))
    return found


def tenant_of(kind: ObjectType, obj: Mapping[str, Any]) -> int:
    """DBID of the tenant that the object belongs to, ENVIRONMENT for types without tenant."""
    if not is_in_tenants(kind):
        return ENVIRONMENT
    return int(scalar_at(obj, str(kind.tenant_path))) or ENVIRONMENT


def key_values(kind: ObjectType, key: tuple[str, ...], obj: Mapping[str, Any]) -> tuple[Any, ...]:
    """The values of a unique key; 0 or "" stands for an absent one."""
    return tuple([scalar_at(obj, path, default) for path, default in _with_defaults(kind, key)])


@cache
def _with_defaults(kind: ObjectType, key: tuple[str, ...]) -> tuple[tuple[str, int | str], ...]:
    return tuple((path, _default_at(kind, path)) for path in key)


def _default_at(kind: ObjectType, path: str) -> int | str:
    attributes = kind.attributes
    *outer, last = path.split(".")
    for step in outer:
        attributes = SCHEMA.structures[str(attributes[step].target)].attributes
    return "" if attributes[last].kind is AttributeKind.TEXT else 0
