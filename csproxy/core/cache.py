"""The configuration: encoded objects by type and DBID, with indexes, folders, views and digests.

Objects are kept as the bytes that travel. A point read is two dictionary look-ups; decoding happens
only where an index or a filter needs a value. Changes come as transactions and take effect as a
whole; views taken before do not see them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial
from typing import Any, Final, NamedTuple, Self

from csproxy.core import codec
from csproxy.core.applying import Footprint, ObjectState, PlannedChange, TransactionPlan
from csproxy.core.changes import Change, Position
from csproxy.core.criteria import Criterion, criteria
from csproxy.core.digests import Digests
from csproxy.core.filter_keys import FILTER_KEYS
from csproxy.core.filter_rules import Equal, ValueKind
from csproxy.core.filter_values import Query, parse_filter
from csproxy.core.filters import IMMEDIATE_LIMIT, Matcher, Part, Selection, driver_of, trim_all
from csproxy.core.folders import FOLDER_TYPE, Membership, compose_folder, folder_path
from csproxy.core.indexes import Index, TypeIndexes, link_paths
from csproxy.core.model import SCHEMA
from csproxy.core.ownership import ObjectId
from csproxy.core.records import TYPE_NUMBERS, pair_key, reader
from csproxy.core.relations import LiveRelations
from csproxy.core.security_records import ACCOUNT, RECORDS, STORED_TYPES, is_record
from csproxy.core.segments import Table, TableSnapshot
from csproxy.core.shifts import Shift, changed_alone, holders_change, shape_of, shifts
from csproxy.core.sight import HOLDERS, ReaderIndex, Readers, TooManyCandidates, Viewer, VisibleRelations
from csproxy.core.tenants import Lookup, tenants_of
from csproxy.core.views import View
from csproxy.errors import ErrorCode, ModelError

__all__ = ["Applied", "ConfigurationCache", "Footprint", "Referrer", "Sighting", "View"]

_NO_OBJECTS: Final[dict[int, bytes]] = {}


class Sighting(NamedTuple):
    """The readers of an object before and after a transaction; None: it was, or is, not there.

    If they are the same they are the same object. Both are None for a security record.
    """

    before: Readers | None
    after: Readers | None


class Applied(NamedTuple):
    """Whom a transaction concerns: for each change the tenants, and who may read its object; and what else shifted."""

    footprints: Sequence[Footprint]
    sightings: Sequence[Sighting]
    shifts: Sequence[Shift]


class Referrer(NamedTuple):
    """An object that links to another one, and the path of the link in it."""

    type: int
    dbid: int
    path: str


class ConfigurationCache:
    """All configuration objects at one position.

    Reads by DBID of a type that does not exist answer as for an object that is not there; filters
    and unique keys of such a type raise `ModelError`.
    """

    def __init__(self, position: Position = Position(0, 0)) -> None:  # noqa: B008  (immutable)
        self.position = position
        self._generation = 1
        self._tables = {number: Table() for number in STORED_TYPES}
        self._indexes = {number: TypeIndexes(object_type) for number, object_type in STORED_TYPES.items()}
        self._membership = Membership()
        self._views: dict[bool, View] = {}
        self._wire()

    def _wire(self) -> None:
        """Make what hangs on tables, indexes and membership; they are in place."""
        self._objects = {number: table.by_dbid for number, table in self._tables.items()}
        self._relations = LiveRelations(self._tables, self._indexes, self._membership)
        self._digests = Digests(self._table_snapshot)
        self._direct = dict(_direct_keys(self._indexes))
        self._links_to = _links_by_target(self._indexes)
        self.readers = ReaderIndex(self, self._lists)
        """Who may read what."""

    @classmethod
    def assembled(
        cls, tables: Mapping[int, Table], indexes: dict[int, TypeIndexes], membership: Membership, *, position: Position
    ) -> ConfigurationCache:
        """A cache of finished pieces, which it takes over; types without a table are empty."""
        cache = cls.__new__(cls)
        cache.position = position
        cache._generation = 1
        cache._tables = {number: tables.get(number) or Table() for number in STORED_TYPES}
        cache._indexes = indexes
        cache._membership = membership
        cache._views = {}
        cache._wire()
        return cache

    def renewed(self, tables: Mapping[int, Table], indexes: Mapping[int, TypeIndexes], membership: Membership) -> Self:
        """A cache with other tables, indexes and memberships for some types, at the same position.

        It takes over what this one holds of all other types, so this one must not be changed any more.
        """
        cache = type(self).__new__(type(self))
        cache.position = self.position
        cache._generation = self._generation + 1  # views of this cache share the segments
        cache._tables = {**self._tables, **tables}
        cache._indexes = {**self._indexes, **indexes}
        cache._membership = self._membership.renewed(membership, tables)
        cache._views = {}
        cache._wire()
        return cache

    def __repr__(self) -> str:
        return f"<ConfigurationCache at UEN {self.position.uen} of {sum(self.counts().values())} objects>"

    # --- reads by DBID --------------------------------------------------------------------------

    def get(self, type_number: int, dbid: int) -> bytes | None:
        """The stored bytes of an object, or None."""
        return self._objects.get(type_number, _NO_OBJECTS).get(dbid)

    def stored(self, type_number: int, dbid: int) -> dict[str, Any] | None:
        """The object in plain form as it is stored (a folder without ``objectIDs``), or None."""
        stored = self.get(type_number, dbid)
        return None if stored is None else codec.decode_map(stored)

    def count(self, type_number: int) -> int:
        """The number of objects of a type."""
        return len(self._objects.get(type_number, _NO_OBJECTS))

    def counts(self, *, records: bool = False) -> dict[int, int]:
        """The number of objects of each type that has any, and with ``records`` of security records, too."""
        types = STORED_TYPES if records else SCHEMA.types
        return {number: len(self._objects[number]) for number in types if self._objects[number]}

    def dbids(self, type_number: int) -> Iterator[int]:
        """The DBIDs of a type, ascending; not to be used across a change."""
        return self._tables[type_number].dbids() if type_number in self._tables else iter(())

    def objects(self, type_number: int) -> Mapping[int, bytes]:
        """All objects of a type by DBID, in no order; not to be used across a change."""
        return self._objects.get(type_number, _NO_OBJECTS)

    def folders(self, type_number: int) -> dict[int, int]:
        """The folder of each object of a type, by DBID."""
        segments = self._tables[type_number].segments() if type_number in self._tables else ()
        return {
            dbid: folder for segment in segments for dbid, folder in zip(segment.dbids, segment.folders, strict=True)
        }

    def folder_of(self, type_number: int, dbid: int) -> int:
        """The DBID of the object's folder; 0 for none, also if there is no such object."""
        return self._relations.folder_of(type_number, dbid)

    def path_of(self, type_number: int, dbid: int) -> list[str]:
        """The names of the folders that lead to the object, outermost first; the last one holds it."""
        return folder_path(self.folder_of(type_number, dbid), self)

    def members_of(self, folder_dbid: int) -> list[tuple[int, int]]:
        """(type number, DBID) of the objects immediately in a folder, sorted."""
        return [(number, dbid) for number, dbids in self._membership.members(folder_dbid) for dbid in dbids]

    def tenants_of(self, type_number: int, dbid: int) -> tuple[int, ...]:
        """The DBIDs of the tenants an object belongs to; see `csproxy.core.tenants`."""
        return tenants_of(type_number, dbid, self.get)

    def dbids_in(self, type_number: int, folder_dbid: int) -> Sequence[int]:
        """The DBIDs of the objects of a type immediately in a folder (0: in none), ascending.

        Valid until the next change.
        """
        if folder_dbid:
            return self._membership.find(type_number, folder_dbid)
        return self._tables[type_number].outside()

    def owners(self) -> Lookup:
        """A look-up of the folders and containers of this moment, for ever; other types are not in it."""
        tables = {number: self._table_snapshot(number) for number in HOLDERS}
        return lambda number, dbid: tables[number].get(dbid) if number in tables else None

    def compose(self, type_number: int, stored: bytes) -> bytes:
        """A stored object as a reader sees it: a folder with its ``objectIDs``, any other as it is."""
        if type_number != FOLDER_TYPE:
            return stored
        return self._membership.compose(_folder_dbid(stored), stored)

    # --- unique keys and links ------------------------------------------------------------------

    def find(self, type_number: int, **key: Any) -> int | None:
        """The object with a unique key: ``find(3, userName="x")``; the last step of a path is enough.

        Raises `ModelError` (WRONG_API_PARAMETERS) if the names are no unique key of the type.
        """
        paths = _key_paths(type_number, frozenset(key))
        return self.lookup(type_number, paths, tuple([key[path.rpartition(".")[2]] for path in paths]))

    def lookup(self, type_number: int, paths: tuple[str, ...], values: tuple[Any, ...]) -> int | None:
        """The lowest DBID of the objects with these values at these paths; None if there is none.

        Fast for the unique keys of the schema; 0 and "" stand for an absent value.
        """
        indexes = self._indexes[SCHEMA.object_type(type_number).number].indexes
        candidates: Sequence[int] | None = None
        for path, value in zip(paths, values, strict=True):
            if value and path in indexes:
                found = indexes[path].find(value)
                if not found:
                    return None
                if candidates is None or len(found) < len(candidates):
                    candidates = found
        if candidates is None:
            candidates = list(self.dbids(type_number))
        elif len(paths) == 1:
            return candidates[0]
        fields = reader(type_number, paths)
        objects = self._objects[type_number]
        for dbid in candidates:
            record = fields.decode(objects[dbid])
            if all(
                column.values(record) == ({value} if value else set())
                for column, value in zip(fields.columns, values, strict=True)
            ):
                return dbid
        return None

    def referrers(
        self, type_number: int, dbid: int, *, limit: int | None = None, by: int | None = None
    ) -> list[Referrer]:
        """The objects that link to this one, by type and DBID of the referrer, at most ``limit``.

        ``by``: only those of this type. Only links in attributes: the members of a folder are no referrers (see
        `members_of`).
        """
        found: list[Referrer] = []
        for number, path, index in self._links_to.get(type_number, ()):
            if by is not None and number != by:
                continue
            for referrer in index.find(pair_key(type_number, dbid) if path.endswith(")") else dbid):
                if limit is not None and len(found) >= limit:
                    return found
                found.append(Referrer(number, referrer, path))
        return found

    # --- filters --------------------------------------------------------------------------------

    def select(self, type_number: int, filter_values: Mapping[str, Any], viewer: Viewer | None = None) -> Selection:
        """The objects that fit a filter, as of now, whatever changes while the parts are taken.

        With a ``viewer`` the answer is as if only what it sees were there.

        Raises `ModelError`: UNSUPPORTED_OBJECT for an unknown type, WRONG_API_PARAMETERS for an unknown
        key or a value of the wrong kind; both say what is valid.
        """
        if viewer is not None:
            return self._select_visible(type_number, filter_values, viewer)
        if len(filter_values) == 1:
            ((name, value),) = filter_values.items()
            direct = self._direct.get((type_number, name))
            if direct is not None and type(value) is direct.kind and value:
                dbids = direct.find(value)
                if len(dbids) <= IMMEDIATE_LIMIT:
                    objects = self._objects[type_number]
                    return self._at_once(type_number, dbids, [objects[dbid] for dbid in dbids])
        query = parse_filter(type_number, filter_values)
        number = query.object_type.number
        if query.dbid is not None:
            return self._answer(query, (query.dbid,), ())
        driver, to_check = driver_of(criteria(query, self._relations))
        candidates = driver and driver.dbids
        if (self.count(number) if candidates is None else len(candidates)) <= IMMEDIATE_LIMIT:
            return self._answer(query, tuple(self.dbids(number)) if candidates is None else candidates, to_check)
        if driver is not None and candidates is not None:
            if driver.bind is None:
                candidates = [dbid for dbid in candidates if dbid in self._objects[number]]
            else:
                candidates = None if len(candidates) == self.count(number) else list(candidates)
        return self.view().selection(query, candidates, [_independent(criterion) for criterion in to_check])

    def _select_visible(self, type_number: int, filter_values: Mapping[str, Any], viewer: Viewer) -> Selection:
        query = parse_filter(type_number, filter_values)
        if query.dbid is not None:
            return self._answer(query, (query.dbid,), (), viewer)
        relations = VisibleRelations(self._relations, viewer, limit=IMMEDIATE_LIMIT)
        try:
            driver, to_check = driver_of(criteria(query, relations))
            candidates: Sequence[int] = tuple(self.dbids(type_number)) if driver is None else driver.dbids or ()
            if len(candidates) <= IMMEDIATE_LIMIT:
                return self._answer(query, candidates, to_check, viewer)
        except TooManyCandidates:
            pass
        view = self.view()
        return view.select(type_number, filter_values, viewer.on(view.readers))

    def _answer(
        self, query: Query, candidates: Sequence[int], to_check: Sequence[Criterion], viewer: Viewer | None = None
    ) -> Selection:
        """The answer out of few candidates; those that are not there (any more) are passed over."""
        number = query.object_type.number
        present = self._objects[number]
        dbids: Sequence[int] = [dbid for dbid in candidates if dbid in present]
        if viewer is not None:
            dbids = [dbid for dbid in dbids if viewer.sees(number, dbid)]
        objects = [present[dbid] for dbid in dbids]
        if to_check:
            places = Matcher(number, to_check).fitting(dbids, objects)
            dbids = [dbids[place] for place in places]
            objects = [objects[place] for place in places]
        return self._at_once(number, dbids, objects, query, viewer)

    def _at_once(
        self,
        number: int,
        dbids: Sequence[int],
        objects: Sequence[bytes],
        query: Query | None = None,
        viewer: Viewer | None = None,
    ) -> Selection:
        """A selection of these objects, made ready now."""
        if number == FOLDER_TYPE and viewer is not None:
            objects = [
                compose_folder(stored, viewer.members(dbid, self._membership.members(dbid)))
                for dbid, stored in zip(dbids, objects, strict=True)
            ]
        elif number == FOLDER_TYPE:
            objects = [self._membership.compose(dbid, stored) for dbid, stored in zip(dbids, objects, strict=True)]
        folders: Sequence[int] = ()
        paths: Sequence[Sequence[str]] = ()
        if query is None:
            part = Part(tuple(dbids), objects)
            return Selection(partial(iter, (part,)), total=len(objects), immediate=True)
        if query.want_folders:
            folders = [self.folder_of(number, dbid) for dbid in dbids]
        if query.want_paths:
            source = viewer or self
            paths = [folder_path(self.folder_of(number, dbid), source) for dbid in dbids]
        part = Part(dbids, trim_all(query, objects), folders, paths)
        return Selection(
            partial(iter, (part,)),
            total=len(objects),
            immediate=True,
            want_folders=query.want_folders,
            want_paths=query.want_paths,
        )

    # --- views, changes, digests ----------------------------------------------------------------

    def view(self, *, composed: bool = True) -> View:
        """The present state, for ever. Costs some 10 µs, and nothing while nothing changes.

        ``composed`` False: reads of the view give folders as they are stored, as a load needs them.
        """
        view = self._views.get(composed)
        if view is None:
            self._generation += 1
            tables = {number: table.snapshot() for number, table in self._tables.items()}
            view = self._views[composed] = View(self.position, tables, composed=composed)
        return view

    def apply(self, transaction: Sequence[Change]) -> Applied:
        """Apply a transaction and move to its last position; returns whom it concerns.

        Raises `ModelError` for a change that does not fit (an object that is or is not there, a delta
        that does not apply, bytes that are no object); then nothing has changed.
        """
        plan = TransactionPlan(self._load, self._indexes)
        footprints = [plan.add(change) for change in transaction]
        planned = list(plan.changes())
        ids = [(change.type, change.dbid) for change in transaction]
        former = {(each.type, each.dbid): each.former for each in planned}
        told = {id: self._readers_in(id, former[id]) for id in ids}
        alone = {id: self.readers.of(*id) for id in changed_alone(planned, told) if self.get(*id) is not None}
        shape = shape_of(self, planned) if holders_change(planned, self) else None
        stays = _objects_that_stay(planned) if shape is None else frozenset()
        for each in planned:
            self._take_over(each)
        if transaction:
            self.position = transaction[-1].position
            self._views.clear()
        return Applied(
            footprints,
            [
                Sighting(told[id], told[id] if id in stays or (now := self.readers_of(*id)) == told[id] else now)
                for id in ids
            ],
            shifts(shape, alone, self, told),
        )

    def readers_of(self, number: int, dbid: int) -> Readers | None:
        """The readers of an object; None if it is not there, or a security record."""
        return None if is_record(number) or self.get(number, dbid) is None else self.readers.of(number, dbid)

    def _readers_in(self, id: ObjectId, state: ObjectState | None) -> Readers | None:
        """As `readers_of`, of an object whose state is known."""
        return None if is_record(id[0]) or state is None else self.readers.of(*id, state.folder)

    def _lists(self, type_number: int) -> Mapping[int, bytes]:
        return self._objects.get(RECORDS + type_number, _NO_OBJECTS)

    def digest(self, type_number: int) -> str:
        """32 hexadecimal digits over all objects of a type with their folders.

        The first digest of a type costs 1.5 µs an object, later ones nothing; `digest_steps` spreads it.
        """
        return self._digests.hexadecimal(_stored_number(type_number))

    def forget_digest(self, type_number: int) -> None:
        """Let the next digest of a type be computed from its objects, not carried forward from change to change."""
        self._digests.forget(type_number)

    def digest_steps(self, type_number: int) -> Iterator[None]:
        """The work of the first digest in steps of about 1.5 ms; changes may be applied between them."""
        return self._digests.steps(_stored_number(type_number))

    def _load(self, type_number: int, dbid: int) -> tuple[bytes, int] | None:
        stored = self.get(type_number, dbid)
        return None if stored is None else (stored, self._tables[type_number].folder_of(dbid))

    def _take_over(self, planned: PlannedChange) -> None:
        number, dbid, former, now = planned
        table = self._tables[number]
        if former is None and now is None:
            return
        if is_record(number) and number != ACCOUNT:
            self.readers.note(former and former.stored, now and now.stored)
        if number in HOLDERS or number - RECORDS in HOLDERS:
            self.readers.clear()
        if now is None:
            table.remove(dbid, generation=self._generation)
        elif former is None:
            table.insert(dbid, now.stored, now.folder, generation=self._generation)
        else:
            table.replace(dbid, now.stored, now.folder, generation=self._generation)
        self._indexes[number].change(dbid, former and former.record, now and now.record)
        before, after = (former.folder if former else 0), (now.folder if now else 0)
        if before != after:
            self._membership.discard(before, number, dbid)
            self._membership.add(after, number, dbid)
        if number == FOLDER_TYPE and now is None:
            self._membership.forget(dbid)
        self._digests.note(
            number,
            dbid,
            former=(former.folder, former.stored) if former else None,
            now=(now.folder, now.stored) if now else None,
        )

    def _table_snapshot(self, type_number: int) -> TableSnapshot:
        self._generation += 1
        return self._tables[type_number].snapshot()


@cache
def _key_paths(type_number: int, names: frozenset[str]) -> tuple[str, ...]:
    """The paths of the unique key whose last steps are ``names``. Raises `ModelError` as `ConfigurationCache.find`."""
    object_type = SCHEMA.object_type(type_number)
    for paths in object_type.unique_keys:
        if {path.rpartition(".")[2] for path in paths} == names:
            return paths
    known = ", ".join("+".join(paths) for paths in object_type.unique_keys) or "none"
    raise ModelError(
        ErrorCode.WRONG_API_PARAMETERS,
        f"{'+'.join(sorted(names))} is no unique key of {object_type.name}; its keys: {known}",
        object_type=object_type.number,
    )


def _objects_that_stay(planned: Sequence[PlannedChange]) -> frozenset[ObjectId]:
    """Objects that keep their readers in a transaction that changes no holder: they are not moved and get no list."""
    if any(is_record(each.type) for each in planned):
        return frozenset()
    return frozenset(
        (number, dbid)
        for number, dbid, former, now in planned
        if former is not None and now is not None and former.folder == now.folder
    )


def _stored_number(type_number: int) -> int:
    """The number itself, if there is such a type. Raises `ModelError` UNSUPPORTED_OBJECT."""
    return type_number if type_number in STORED_TYPES else SCHEMA.object_type(type_number).number


class _Direct(NamedTuple):
    """A filter key that an index answers exactly, and the Python type of its plain values."""

    find: Callable[[Any], Sequence[int]]
    kind: type


def _direct_keys(indexes: Mapping[int, TypeIndexes]) -> Iterator[tuple[tuple[int, str], _Direct]]:
    kinds = {ValueKind.INT: int, ValueKind.TEXT: str, ValueKind.ENUM: int}
    for number, keys in FILTER_KEYS.items():
        for key in keys.values():
            if isinstance(key.rule, Equal) and len(key.rule.paths) == 1 and key.kind in kinds:
                index = indexes[number].indexes.get(key.rule.paths[0])
                if index is not None:
                    yield (number, key.name), _Direct(index.find, kinds[key.kind])


def _links_by_target(indexes: Mapping[int, TypeIndexes]) -> dict[int, list[tuple[int, str, Index]]]:
    """For each type: the (type number, path, index) of every link that can lead to it."""
    found: dict[int, list[tuple[int, str, Index]]] = {number: [] for number in SCHEMA.types}
    for number, object_type in SCHEMA.types.items():
        for path, target in link_paths(object_type):
            targets = SCHEMA.types if target is None else (TYPE_NUMBERS[target],)
            for leads_to in targets:
                found[leads_to].append((number, path, indexes[number].indexes[path]))
    return found


def _independent(criterion: Criterion) -> Criterion:
    """A criterion that no later change of the cache can reach: its test if it has one, else copies."""
    if criterion.bind is not None:
        return criterion
    return Criterion(
        None if criterion.dbids is None else tuple(criterion.dbids), excluded=frozenset(criterion.excluded)
    )


def _folder_dbid(stored: bytes) -> int:
    fields = reader(FOLDER_TYPE, ("DBID",))
    return int(fields.columns[0].read(fields.decode(stored)))
