"""Write requests: from what a client asks to a checked list of changes, all or nothing.

`WritePlanner` decides and stores nothing: the master writes a `Plan` to the database and then
publishes it. A plan follows the integrity rules (`csproxy.core.integrity`), and these decisions of
ours where the vendor's documents are silent:

- A deletion takes with it what the object owns (`csproxy.core.ownership`): a tenant its folders and
  objects, a switch its DNs, a folder its content. Memberships of a deleted object (in groups, of a
  skill at agents, a connection between applications) are removed by an accompanying update of the
  object that holds the list. Any other link prevents the deletion (error 13).
- A change of state takes everything that the object owns along.
- Dependants come first, the requested change last; only a creation comes before the default
  folders that are made for it. Each object changes once. More than 1,000 changes are refused
  (error 20): they would not be one transaction any more.
- An update that gives values which are there already is an update with an empty effect and is
  announced as it was asked; an update without any attribute is refused (error 18).
- Passwords are taken out of objects here. They are never part of an object, a delta or a former
  object; the plan carries them beside the changes for hashing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from csproxy.core import codec
from csproxy.core.cache import ConfigurationCache
from csproxy.core.changes import Action, ObjectCreated, ObjectDeleted, ObjectUpdated
from csproxy.core.containers import FOLDER, default_folder, held_types
from csproxy.core.defaults import with_defaults
from csproxy.core.draft import Draft, Step
from csproxy.core.folder_rules import folder_for, is_top_default, moved_objects, place_folder, reparent
from csproxy.core.integrity import check_integrity
from csproxy.core.model.delta import apply_delta, compute_delta, encode_object
from csproxy.core.model.schema import SCHEMA, ObjectType
from csproxy.core.model.values import check_delta, check_object
from csproxy.core.ownership import LinkKind, ObjectId, link_kind, owned_closure, without_link
from csproxy.core.paths import name_of, scalar_at, set_at
from csproxy.core.rules import MAX_CHANGES, MAX_NAMED, PASSWORD_TYPES, SCRYPT_ALGORITHM, state_path
from csproxy.core.wellknown import PERMANENT
from csproxy.errors import ErrorCode, ModelError

__all__ = ["Plan", "PlannedChange", "WritePlanner"]

_DISABLED: Final = 2
_ENOUGH: Final = 5 * MAX_CHANGES
"""Referrers of one owner beyond which it surely owns more than `MAX_CHANGES` objects."""


class PlannedChange(NamedTuple):
    """One change of a plan, in every form that somebody needs.

    ``stored`` is the object afterwards (None: deleted), ``former`` what a deleted object was,
    ``payload`` that of the notification. ``folder`` is where the object is afterwards; ``moved``
    are other objects that this change brings into the folder ``dbid``.
    """

    action: Action
    type: int
    dbid: int
    stored: bytes | None
    former: bytes | None
    delta: Mapping[str, Any] | None
    folder: int
    new_folder: int
    moved: tuple[ObjectId, ...]
    payload: bytes


class Plan(NamedTuple):
    """One transaction: its changes in order, the DBIDs given out, and passwords to hash.

    ``counters`` holds the new last DBID of each type concerned. ``passwords`` are those that were
    set, by object; what a deleted object had is to be forgotten.
    """

    changes: tuple[PlannedChange, ...]
    counters: Mapping[int, int]
    passwords: Mapping[ObjectId, str]


class WritePlanner:
    """Plans requests against one state of the configuration.

    ``counters`` holds the last DBID given out per type. ``user`` and ``application`` are the
    author, ``time_ms`` is now. All methods raise `ModelError` with the published code and then
    nothing is to be done.
    """

    def __init__(
        self,
        cache: ConfigurationCache,
        *,
        counters: Mapping[int, int],
        user: str = "",
        application: str = "",
        time_ms: int = 0,
    ) -> None:
        self._draft = Draft(cache, counters)
        self._cache = cache
        self._user = user
        self._application = application
        self._time_ms = time_ms

    def create(self, type_number: int, obj: Mapping[str, Any], *, folder: int = 0) -> Plan:
        """Plan a creation; ``folder`` 0 means the default folder of the object's container and type."""
        draft, kind = self._draft, SCHEMA.object_type(type_number)
        check_object(kind, obj)
        given, password = _without_password(kind, obj)
        new = with_defaults(draft, kind, given, dbid=draft.next_dbid(kind.number))
        if kind.number == FOLDER:
            new, where = place_folder(draft, new, asked=folder)
        else:
            where = 0
        new = self._with_password_date(kind, new, password)
        check_integrity(draft, kind, None, new)
        if kind.number != FOLDER:
            where = folder_for(draft, kind, new, asked=folder)
        draft.create(kind.number, new, folder=where)
        for held in held_types(kind):
            owned = default_folder(held, owner_type=kind.number, owner_dbid=new["DBID"])
            draft.create(FOLDER, {"DBID": draft.next_dbid(FOLDER), **owned}, folder=0)
        return self._plan(password, (kind.number, new["DBID"]))

    def update(self, type_number: int, dbid: int, delta: Mapping[str, Any]) -> Plan:
        """Plan an update by ``delta`` (docs/reference/delta.md)."""
        draft, kind = self._draft, SCHEMA.object_type(type_number)
        before = self._existing(kind, dbid)
        if not delta:
            raise ModelError(
                ErrorCode.UNSPECIFIED_MODIFICATION,
                f"the update of {name_of(kind, before)} changes nothing: its delta is empty",
                object_type=kind.number,
            )
        check_delta(kind, delta)
        given, password = _without_password(kind, delta)
        moved: tuple[ObjectId, ...] = ()
        objects = given.pop("objectIDs", None) if kind.number == FOLDER else None
        after = self._with_password_date(kind, apply_delta(kind, before, given), password)
        where = None
        if kind.number == FOLDER:
            after, where = self._folder_update(before, after)
        check_object(kind, after)
        check_integrity(draft, kind, before, after)
        if objects is not None:
            moved = moved_objects(draft, dbid, objects)
            given["objectIDs"] = {"added": [{"DBID": other, "type": number} for number, other in moved]}
        self._cascade_state(kind, before, after)
        draft.update((kind.number, dbid), after, delta=given, folder=where, moved=moved)
        return self._plan(password, (kind.number, dbid))

    def delete(self, type_number: int, dbid: int) -> Plan:
        """Plan a deletion of an object and of what belongs to it."""
        draft, kind = self._draft, SCHEMA.object_type(type_number)
        before = self._existing(kind, dbid)
        if kind.number == FOLDER and is_top_default(before):
            raise ModelError(
                ErrorCode.UNCHANGEABLE_INFO,
                f"{name_of(kind, before)} is a default folder: it goes only with its owner",
                object_type=FOLDER,
            )
        doomed = self._closure((kind.number, dbid))
        kept = next((id for id in doomed if id in PERMANENT), None)
        if kept is not None:
            raise ModelError(ErrorCode.UNCHANGEABLE_INFO, f"{draft.name(kept)} cannot be deleted", object_type=kept[0])
        for id, after in self._released(doomed).items():
            draft.update(id, after)
        for id in doomed:
            draft.delete(id)
        return self._plan(None, (kind.number, dbid))

    def _existing(self, kind: ObjectType, dbid: int) -> dict[str, Any]:
        before = self._draft.get(kind.number, dbid)
        if before is None:
            raise ModelError(ErrorCode.OBJECT_NOT_FOUND, f"there is no {kind.singular} {dbid}", object_type=kind.number)
        return before

    def _with_password_date(self, kind: ObjectType, obj: dict[str, Any], password: str | None) -> dict[str, Any]:
        if password is None or "PasswordUpdatingDate" not in kind.attributes:
            return obj
        return {**obj, "passwordHashAlgorithm": SCRYPT_ALGORITHM, "PasswordUpdatingDate": self._time_ms // 1000}

    def _folder_update(self, before: dict[str, Any], after: dict[str, Any]) -> tuple[dict[str, Any], int | None]:
        if is_top_default(before) and after.get("name") != before.get("name"):
            raise ModelError(
                ErrorCode.UNCHANGEABLE_INFO,
                f"{name_of(SCHEMA.types[FOLDER], before)} is a default folder: its name may not change",
                object_type=FOLDER,
                property_name="name",
            )
        return reparent(self._draft, before, after)

    def _closure(self, root: ObjectId) -> list[ObjectId]:
        def referrers(number: int, dbid: int) -> Sequence[tuple[int, int, str]]:
            # a tenant may have 100,000: finding them all only to refuse would hold everybody up for 0.4 s
            found = self._cache.referrers(number, dbid, limit=_ENOUGH)
            self._check_size(root, len(found), most=_ENOUGH - 1)
            return found

        order = owned_closure(root, referrers=referrers, members=self._cache.members_of, limit=MAX_CHANGES)
        self._check_size(root, len(order))
        return order

    def _check_size(self, root: ObjectId, objects: int, *, most: int = MAX_CHANGES) -> None:
        if objects > most:
            raise ModelError(
                ErrorCode.WRONG_API_PARAMETERS,
                f"{self._draft.name(root)} has too much that depends on it for one transaction "
                f"(more than {MAX_CHANGES} objects): change or delete its content first",
                object_type=root[0],
            )

    def _cascade_state(self, kind: ObjectType, before: dict[str, Any], after: dict[str, Any]) -> None:
        """A changed state reaches everything that the object owns, dependants first."""
        path = state_path(kind)
        if path is None or scalar_at(before, path) == scalar_at(after, path):
            return
        state, root = scalar_at(after, path), (kind.number, after["DBID"])
        for id in self._closure(root):
            if state == _DISABLED and id in PERMANENT:
                raise ModelError(
                    ErrorCode.UNCHANGEABLE_INFO, f"{self._draft.name(id)} cannot be disabled", object_type=id[0]
                )
            owned, owned_path = self._draft.get(*id), state_path(SCHEMA.types[id[0]])
            if id != root and owned is not None and owned_path and scalar_at(owned, owned_path) != state:
                self._draft.update(id, set_at(owned, owned_path, state))

    def _released(self, doomed: list[ObjectId]) -> dict[ObjectId, dict[str, Any]]:
        """The objects that stay but lose a membership, as they will be. Raises DEPENDENT_OBJECTS."""
        going = set(doomed)
        released: dict[ObjectId, dict[str, Any]] = {}
        dependants: dict[ObjectId, str] = {}
        for target in doomed:
            for number, dbid, path in self._cache.referrers(*target):
                id = (number, dbid)
                if id in going:
                    continue
                kind = SCHEMA.types[number]
                if link_kind(kind, path) is LinkKind.MEMBERSHIP:
                    holder = released.get(id) or self._existing(kind, dbid)
                    released[id] = without_link(kind, holder, path, target)
                    self._check_size(doomed[-1], len(doomed) + len(released))
                else:
                    dependants[id] = path
        if dependants:
            raise self._dependants_error(doomed[-1], dependants)
        return released

    def _dependants_error(self, root: ObjectId, dependants: Mapping[ObjectId, str]) -> ModelError:
        named = [f"{self._draft.name(id)} ({path})" for id, path in sorted(dependants.items())[:MAX_NAMED]]
        more = f" and {len(dependants) - MAX_NAMED} more" if len(dependants) > MAX_NAMED else ""
        return ModelError(
            ErrorCode.DEPENDENT_OBJECTS,
            f"{self._draft.name(root)} cannot be deleted: it is referred to by {', '.join(named)}{more}",
            object_type=root[0],
        )

    def _plan(self, password: str | None, id: ObjectId) -> Plan:
        passwords = {id: password} if password is not None and id[0] in PASSWORD_TYPES else {}
        changes = tuple(self._planned(step) for step in self._draft.steps)
        return Plan(changes, self._draft.counters, passwords)

    def _planned(self, step: Step) -> PlannedChange:
        number, dbid = step.id
        kind = SCHEMA.types[number]
        author: dict[str, Any] = {
            "user": self._user,
            "application": self._application,
            "time_ms": self._time_ms,
        }
        if step.after is None:
            former = self._cache.get(number, dbid) or b"\x80"
            body = msgspec.Raw(former)
            payload = codec.encode(ObjectDeleted(type=number, dbid=dbid, former=body, **author))
            return PlannedChange(step.action, number, dbid, None, former, None, 0, 0, (), payload)
        stored = encode_object(kind, step.after)
        if step.before is None:
            created = ObjectCreated(type=number, object=msgspec.Raw(stored), folder=step.folder, **author)
            payload = codec.encode(created)
            return PlannedChange(step.action, number, dbid, stored, None, None, step.folder, step.folder, (), payload)
        delta = self._announced(kind, step)
        old_folder = self._cache.folder_of(number, dbid)
        new_folder = step.folder if step.folder != old_folder else 0
        payload = codec.encode(ObjectUpdated(type=number, dbid=dbid, delta=delta, folder=new_folder, **author))
        return PlannedChange(
            step.action, number, dbid, stored, None, delta, step.folder, new_folder, step.moved, payload
        )

    def _announced(self, kind: ObjectType, step: Step) -> dict[str, Any]:
        """The delta of the notification: what was asked where that explains the result, else computed."""
        assert step.before is not None
        assert step.after is not None
        computed = compute_delta(kind, step.before, step.after)
        if step.delta is None:
            return computed
        asked = {name: value for name, value in step.delta.items() if name != "objectIDs"}
        if compute_delta(kind, apply_delta(kind, step.before, asked), step.after):
            asked = computed
        return {**asked, "objectIDs": step.delta["objectIDs"]} if "objectIDs" in step.delta else asked


def _without_password(kind: ObjectType, obj: Mapping[str, Any]) -> tuple[dict[str, Any], str | None]:
    """The object or delta without its password, and the password; None if it gives none."""
    rest = dict(obj)
    password = rest.pop("password", None) if "password" in kind.attributes else None
    if password is not None and "\0" in password:
        raise ModelError(
            ErrorCode.VALUE_OUT_OF_RANGE,
            f"a password of a {kind.singular} must not contain the NUL character",
            object_type=kind.number,
            property_name="password",
        )
    return rest, password
