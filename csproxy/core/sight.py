"""Who may read what: worked out per access control list, never per object and account.

The *readers* of an object are the accounts that its list grants READ. Objects that inherit from the same place have the
same readers, so that they are found per folder and remembered. An account sees an object when one of its *identities*
(`csproxy.core.identities`) is among the readers; accounts are numbers here (`account_key`).

What readers mean never changes: a change of a list gives objects other readers. So a change of an object that is kept
in the log says with the readers before and after it, for all time, who may be told of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

from csproxy.core.acls import DEFAULT_ACL, ROOT, Objects, Permission, container_of, inherited, upwards
from csproxy.core.containers import FOLDER, container_type
from csproxy.core.criteria import Relations
from csproxy.core.model.schema import SCHEMA
from csproxy.core.ownership import ObjectId
from csproxy.core.records import pair_key, pair_of
from csproxy.core.security_records import Acl, decode_acl, is_record

__all__ = [
    "HOLDERS",
    "Access",
    "ReaderIndex",
    "Readers",
    "TooManyCandidates",
    "Viewer",
    "VisibleRelations",
    "account_key",
    "account_keys",
    "may_read",
]

Readers = frozenset[int]
Access = frozenset[int] | None
"""Identities of an account, of which one must be among the readers of an object; None reads every object."""

HOLDERS: Final = frozenset({FOLDER, *(container_type(kind).number for kind in SCHEMA.types.values())})
"""Types from which others inherit: folders, and what can own folders."""

_NOTHING: Final[Readers] = frozenset()


class TooManyCandidates(Exception):  # noqa: N818 - no error: the search goes another way
    """A relation leads to more objects than can be looked at within one call."""


def account_key(account: ObjectId) -> int:
    """The number of a Person or an Access Group among readers and identities."""
    return pair_key(*account)


def accounts_of(keys: Iterable[int]) -> frozenset[ObjectId]:
    """The accounts that have these numbers."""
    return frozenset(map(pair_of, keys))


def account_keys(accounts: Iterable[ObjectId]) -> frozenset[int]:
    """The numbers of accounts."""
    return frozenset(pair_key(*account) for account in accounts)


def may_read(access: Access, readers: Readers) -> bool:
    """Whether an account sees objects with these readers."""
    return access is None or not access.isdisjoint(readers)


@lru_cache(maxsize=4096)
def _listed(stored: bytes) -> tuple[Readers, Readers]:
    """The readers of the object that has a list, and of what inherits it."""
    acl = decode_acl(stored)
    return _granted_read(acl), _granted_read(inherited(acl))


def _granted_read(acl: Acl) -> Readers:
    return frozenset(pair_key(entry.type, entry.dbid) for entry in acl if entry.mask & Permission.READ)


_DEFAULT: Final = _granted_read(DEFAULT_ACL)


class ReaderIndex:
    """The readers of every object of a cache or view.

    ``lists(type)`` gives the stored lists of objects of a type by DBID. What containers hand down is remembered until
    `clear`, which is due when a container, or a list of one, changes.
    """

    def __init__(self, objects: Objects, lists: Callable[[int], Mapping[int, bytes]]) -> None:
        self.objects = objects
        self.lists = lists
        self._handed_down: dict[ObjectId, Readers] = {}
        self._in_use: Counter[Readers] | None = None

    def clear(self) -> None:
        """Forget what containers hand down."""
        self._handed_down.clear()

    def of(self, number: int, dbid: int, folder: int | None = None) -> Readers:
        """The readers of an object; ``folder`` spares a look for it."""
        stored = self.lists(number).get(dbid)
        if stored is not None:
            return _listed(stored)[0]
        if folder:
            return self.within(folder)
        container = container_of(self.objects, (number, dbid))
        return _DEFAULT if container is None else self._from(container)

    def within(self, folder: int) -> Readers:
        """The readers of what stands in a folder (0: in none) and has no list of its own."""
        return self._from((FOLDER, folder) if folder else ROOT)

    def _from(self, holder: ObjectId) -> Readers:
        known = self._handed_down
        found = known.get(holder)
        if found is not None:
            return found
        way: list[ObjectId] = []
        for step in upwards(self.objects, holder):
            found = known.get(step)
            if found is not None:
                break
            way.append(step)
            stored = self.lists(step[0]).get(step[1])
            if stored is not None:
                found = _listed(stored)[1]
                break
            if step[0] == FOLDER and self.objects.get(*step) is None:
                found = _NOTHING  # a proxy that sees a part may lack it: nobody knows what it hands down
                break
        else:
            found = _DEFAULT
        known.update(dict.fromkeys(way, found))
        return found

    # what there is

    def in_use(self) -> Collection[Readers]:
        """Every set of readers that a list gives to objects, that of the built-in list included."""
        if self._in_use is None:
            self._in_use = Counter((_DEFAULT,))
            for number in SCHEMA.types:
                for stored in self.lists(number).values():
                    self._in_use.update(_listed(stored))
        return self._in_use.keys()

    def note(self, former: bytes | None, now: bytes | None) -> None:
        """A list was ``former`` and is ``now``; None for *not there*."""
        if self._in_use is None:
            return
        if now is not None:
            self._in_use.update(_listed(now))
        if former is not None:
            for readers in _listed(former):
                self._in_use[readers] -= 1
                if not self._in_use[readers]:
                    del self._in_use[readers]


class Viewer:
    """What an account sees of one state of the configuration, for one request.

    ``access`` and ``also`` are identities; both must see an object (the second is the caller's who asks for another).
    """

    def __init__(self, index: ReaderIndex, access: frozenset[int], also: Access = None) -> None:
        self.access = access
        self.also = also
        self._index = index
        self._objects = index.objects
        self._folders: dict[int, bool] = {}

    def on(self, index: ReaderIndex) -> Viewer:
        """The same account before another state."""
        return Viewer(index, self.access, self.also)

    def sees(self, number: int, dbid: int, folder: int | None = None) -> bool:
        """Whether the object may be read; ``folder`` spares a look for it. Security records are not asked for here."""
        return is_record(number) or self._allows(self._index.of(number, dbid, folder))

    def places(self, number: int, dbids: Sequence[int], folders: Sequence[int]) -> Sequence[int]:
        """The places (offsets) of the objects that may be read, some 0.1 µs an object."""
        if is_record(number):
            return range(len(dbids))
        known, within = self._folders, self._within
        lists = self._index.lists(number)
        if not lists and number != FOLDER:
            for folder in set(folders):
                if folder not in known:
                    within(folder)
            return [place for place, folder in enumerate(folders) if known[folder]]
        return [
            place
            for place, (dbid, folder) in enumerate(zip(dbids, folders, strict=True))
            if self._sees_one(number, dbid, folder, lists)
        ]

    def _sees_one(self, number: int, dbid: int, folder: int, lists: Mapping[int, bytes]) -> bool:
        if dbid in lists or (number == FOLDER and not folder):
            return self._allows(self._index.of(number, dbid, folder))
        known = self._folders.get(folder)
        return self._within(folder) if known is None else known

    def members(self, folder: int, members: Iterable[tuple[int, Sequence[int]]]) -> Iterator[tuple[int, Sequence[int]]]:
        """Of the members of a folder, by type, those that may be read."""
        for number, dbids in members:
            places = self.places(number, dbids, [folder] * len(dbids))
            if places:
                yield number, [dbids[place] for place in places]

    # a FolderSource: paths begin below the lowest folder that may not be read

    def get(self, type_number: int, dbid: int) -> bytes | None:
        """An object that may be read."""
        return self._objects.get(type_number, dbid) if self.sees(type_number, dbid) else None

    def folder_of(self, type_number: int, dbid: int) -> int:
        """The folder of an object that may be read, else 0."""
        return self._objects.folder_of(type_number, dbid) if self.sees(type_number, dbid) else 0

    def _within(self, folder: int) -> bool:
        found = self._folders[folder] = self._allows(self._index.within(folder))
        return found

    def _allows(self, readers: Readers) -> bool:
        return not self.access.isdisjoint(readers) and may_read(self.also, readers)


class VisibleRelations:
    """`csproxy.core.criteria.Relations` as if only what a viewer sees were there.

    ``limit``: relations that lead to more objects raise `TooManyCandidates`.
    """

    def __init__(self, relations: Relations, viewer: Viewer, *, limit: int | None = None) -> None:
        self._relations = relations
        self._viewer = viewer
        self._limit = limit

    def get(self, type_number: int, dbid: int) -> bytes | None:
        """The stored bytes of an object that may be read."""
        return self._relations.get(type_number, dbid) if self._viewer.sees(type_number, dbid) else None

    def folder_of(self, type_number: int, dbid: int) -> int:
        """The folder of an object that may be read, else 0."""
        return self._relations.folder_of(type_number, dbid) if self._viewer.sees(type_number, dbid) else 0

    def has_index(self, type_number: int, path: str) -> bool:
        """Whether the path is indexed."""
        return self._relations.has_index(type_number, path)

    def having(self, type_number: int, path: str, value: Any) -> Sequence[int]:
        """The DBIDs of the objects with a value at a path that may be read, ascending."""
        return self._seen(type_number, self._relations.having(type_number, path, value))

    def values_at(self, type_number: int, path: str) -> Collection[Any]:
        """All values at a path, of any object that may be read; each is looked at when it is asked for."""
        return _VisibleValues(self, type_number, path, self._relations.values_at(type_number, path))

    def shared_at(self, type_number: int, path: str) -> Iterator[Sequence[int]]:
        """The DBIDs of the objects that share a value at a path, of those that may be read."""
        for dbids in self._relations.shared_at(type_number, path):
            seen = self._seen(type_number, dbids)
            if len(seen) > 1:
                yield seen

    def _seen(self, type_number: int, dbids: Sequence[int]) -> list[int]:
        if self._limit is not None and len(dbids) > self._limit:
            raise TooManyCandidates
        return [dbid for dbid in dbids if self._viewer.sees(type_number, dbid)]


class _VisibleValues(Collection[Any]):
    def __init__(self, relations: VisibleRelations, type_number: int, path: str, values: Collection[Any]) -> None:
        self._relations = relations
        self._type_number = type_number
        self._path = path
        self._values = values

    def __contains__(self, value: object) -> bool:
        return bool(self._relations.having(self._type_number, self._path, value))

    def __iter__(self) -> Iterator[Any]:
        return (value for value in self._values if value in self)

    def __len__(self) -> int:
        return len(self._values)
