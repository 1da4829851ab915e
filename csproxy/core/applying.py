"""A transaction, from changes to new states: everything is checked before anything is touched.

`TransactionPlan` holds the states that the objects of the transaction will have. Later changes of
the same transaction see the earlier ones in it. When all changes have found their place, the cache
takes over the states, which cannot fail.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from csproxy.core import codec
from csproxy.core.changes import Action, Change
from csproxy.core.folders import FOLDER_TYPE, without_members
from csproxy.core.indexes import TypeIndexes
from csproxy.core.model import SCHEMA
from csproxy.core.model.delta import apply_delta
from csproxy.core.model.values import check_delta
from csproxy.core.security_records import STORED_TYPES
from csproxy.core.tenants import deciding_attributes, tenants_of
from csproxy.errors import ErrorCode, ModelError

__all__ = ["MAX_DBID", "Footprint", "ObjectState", "PlannedChange", "TransactionPlan"]

MAX_DBID: Final = 2**31 - 1
_MEMBERS: Final = "objectIDs"


class Footprint(NamedTuple):
    """Whom a change concerns: the tenants of the object before or after it."""

    tenants: tuple[int, ...]


class ObjectState(NamedTuple):
    """An object with its folder, and the record that its indexes are fed from."""

    stored: bytes
    folder: int
    record: Any


class PlannedChange(NamedTuple):
    """What a transaction makes of one object; None stands for *not there*."""

    type: int
    dbid: int
    former: ObjectState | None
    now: ObjectState | None


class TransactionPlan:
    """The states after the changes added so far, over those of the cache.

    ``load`` gives an object's present bytes and folder, or None.
    """

    def __init__(
        self, load: Callable[[int, int], tuple[bytes, int] | None], indexes: Mapping[int, TypeIndexes]
    ) -> None:
        self._load = load
        self._indexes = indexes
        self._former: dict[tuple[int, int], ObjectState | None] = {}
        self._now: dict[tuple[int, int], ObjectState | None] = {}

    def add(self, change: Change) -> Footprint:
        """Plan one change. Raises `ModelError` if it does not fit what is there."""
        if change.type not in STORED_TYPES:
            raise ModelError(
                ErrorCode.UNSUPPORTED_OBJECT,
                f"change {change.position.uen} is of object type {change.type}, which does not exist",
                object_type=change.type,
            )
        tenants = () if change.action is Action.CREATED else self._tenants(change)
        if change.correction:
            self._correct(change)
        elif change.action is Action.CREATED:
            self._create(change)
        elif change.action is Action.UPDATED:
            self._update(change)
        else:
            self._delete(change)
        if change.action is not Action.DELETED and not _stays_in_tenants(change):
            tenants = tuple(sorted({*tenants, *self._tenants(change)}))
        return Footprint(tenants)

    def changes(self) -> Iterator[PlannedChange]:
        """The net change of each object touched."""
        for key, now in self._now.items():
            yield PlannedChange(*key, self._former[key], now)

    def _create(self, change: Change) -> None:
        if self._state(change.type, change.dbid) is not None:
            raise _misfit(change, ErrorCode.UNIQUENESS_VIOLATION, "creates an object that is there")
        if change.object is None:
            raise _misfit(change, ErrorCode.INCOMPLETE_OBJECT_DATA, "creates an object without saying what it is")
        self._put(change, change.object, change.folder)

    def _update(self, change: Change) -> None:
        before = self._existing(change)
        folder = change.folder or before.folder
        if change.object is not None:
            self._put(change, change.object, folder)
            return
        if change.delta is None:
            raise _misfit(change, ErrorCode.UNSPECIFIED_MODIFICATION, "updates an object without saying how")
        delta = change.delta
        if change.type == FOLDER_TYPE and _MEMBERS in delta:
            self._move_members(change, delta[_MEMBERS])
            delta = {name: value for name, value in delta.items() if name != _MEMBERS}
        object_type = STORED_TYPES[change.type]
        stored = before.stored
        if delta:
            stored = codec.encode(apply_delta(object_type, codec.decode_map(stored), delta))
        self._put(change, stored, folder)

    def _correct(self, change: Change) -> None:
        """The object is what the change says, whether or not it was so before."""
        before = self._state(change.type, change.dbid)
        if change.action is not Action.DELETED:
            if change.object is None:
                raise _misfit(change, ErrorCode.INCOMPLETE_OBJECT_DATA, "corrects an object without saying what it is")
            self._put(change, change.object, change.folder or (before.folder if before else 0))
        else:
            self._now[change.type, change.dbid] = None

    def _delete(self, change: Change) -> None:
        self._existing(change)
        self._now[change.type, change.dbid] = None

    def _move_members(self, change: Change, parts: Mapping[str, Any]) -> None:
        """Objects added to a folder come from wherever they were.

        Objects that are not here are passed over: a cache may hold only what its owner may read.
        """
        check_delta(SCHEMA.types[FOLDER_TYPE], {_MEMBERS: parts})
        if parts.get("changed") or parts.get("deleted"):
            raise _misfit(
                change,
                ErrorCode.UNSPECIFIED_MODIFICATION,
                "takes objects out of a folder; adding them to another one is what moves them",
            )
        for member in parts.get("added", ()):
            key = (member.get("type", 0), member.get("DBID", 0))
            state = self._state(*key) if key[0] in SCHEMA.types else None
            if state is not None:
                self._now[key] = state._replace(folder=change.dbid)

    def _put(self, change: Change, stored: bytes, folder: int) -> None:
        if change.type == FOLDER_TYPE:
            stored = without_members(stored)
        record = self._indexes[change.type].decode(stored)
        if change.dbid != record.DBID or not 0 < change.dbid <= MAX_DBID:
            raise _misfit(change, ErrorCode.VALUE_OUT_OF_RANGE, f"holds an object with the DBID {record.DBID}")
        if not 0 <= folder <= MAX_DBID:
            raise _misfit(change, ErrorCode.VALUE_OUT_OF_RANGE, f"puts an object into folder {folder}")
        self._now[change.type, change.dbid] = ObjectState(stored, folder, record)

    def _existing(self, change: Change) -> ObjectState:
        state = self._state(change.type, change.dbid)
        if state is None:
            raise _misfit(change, ErrorCode.OBJECT_NOT_FOUND, "is of an object that is not there")
        return state

    def _state(self, type_number: int, dbid: int) -> ObjectState | None:
        key = (type_number, dbid)
        if key in self._now:
            return self._now[key]
        if key not in self._former:
            found = self._load(type_number, dbid)
            self._former[key] = (
                None if found is None else ObjectState(*found, self._indexes[type_number].decode(found[0]))
            )
        return self._former[key]

    def _tenants(self, change: Change) -> tuple[int, ...]:
        return tenants_of(change.type, change.dbid, self._stored)

    def _stored(self, type_number: int, dbid: int) -> bytes | None:
        state = self._state(type_number, dbid) if type_number in STORED_TYPES else None
        return None if state is None else state.stored


def _stays_in_tenants(change: Change) -> bool:
    """Whether an update touches nothing that decides to which tenants its object belongs."""
    if change.action is not Action.UPDATED or change.delta is None or change.object is not None:
        return False
    return change.delta.keys().isdisjoint(deciding_attributes(change.type))


def _misfit(change: Change, code: ErrorCode, what: str) -> ModelError:
    name = STORED_TYPES[change.type].name
    return ModelError(
        code,
        f"change {change.position.uen} ({change.action.name.lower()} {name} {change.dbid}) {what}",
        object_type=change.type,
    )
