"""Write requests: from what a client asks to a checked list of changes, all or nothing.

`WritePlanner` decides and stores nothing: the master writes a `Plan` to the database and then
publishes it. A plan follows the integrity rules (`csproxy.core.integrity`), and these decisions of
ours where the vendor's documents are silent:

- A deletion takes with it what the object owns (`csproxy.core.ownership`): a tenant its folders and
  objects, a switch its DNs, a folder its content. Memberships of a deleted object (in groups, of a
  skill at agents, a connection between applications) are removed by an accompanying update of the
  object that holds the list. Any other link prevents the deletion (error 13).
- Access control lists, and the account of an application, go with the object that they belong to.
- A change of state takes everything that the object owns along.
- Dependants come first, the requested change last; only a creation comes before the default
  folders that are made for it. A request changes each object once; the requests of one transaction
  may change the same object again. More than 1,000 changes, cascades and default folders included,
  are refused (error 20): they would not be one transaction any more.
- An update that gives values which are there already is an update with an empty effect and is
  announced as it was asked; an update without any attribute is refused (error 18).
- Passwords are taken out of objects here. They are never part of an object, a delta or a former
  object; the plan carries them beside the changes for hashing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import msgspec

from csproxy.core import codec
from csproxy.core.authority import Authority
from csproxy.core.cache import ConfigurationCache
from csproxy.core.cascades import delete_owned, set_state
from csproxy.core.changes import Action, ObjectCreated, ObjectDeleted, ObjectUpdated
from csproxy.core.containers import FOLDER, TENANT, default_folder, held_types
from csproxy.core.defaults import with_defaults
from csproxy.core.draft import Changed, Draft, Step
from csproxy.core.folder_rules import folder_for, is_top_default, moved_objects, place_folder, reparent
from csproxy.core.integrity import check_integrity
from csproxy.core.model.delta import apply_delta, compute_delta, encode_object
from csproxy.core.model.enumerations import CfgObjectType
from csproxy.core.model.schema import SCHEMA, ObjectType
from csproxy.core.model.values import check_delta, check_object
from csproxy.core.ownership import ObjectId
from csproxy.core.password_rules import broken_rules, password_rules
from csproxy.core.paths import name_of
from csproxy.core.permissions import Permission
from csproxy.core.placeholders import Placeholders
from csproxy.core.rules import MAX_CHANGES, PASSWORD_TYPES, SCRYPT_ALGORITHM
from csproxy.core.security_records import records_of
from csproxy.core.transactions import RequestedChange, Verb
from csproxy.errors import ErrorCode, ModelError

__all__ = ["Plan", "PlannedChange", "WritePlanner", "planned_record"]

_PERSON: Final = int(CfgObjectType.CFGPerson)


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
    set, by object; what a deleted object had is to be forgotten. ``answers`` holds for each request
    the place in ``changes`` of the change that answers it. ``no_repeats`` says of how many of the last
    passwords, the present one included, a new one must be none, for each object that has this rule.
    """

    changes: tuple[PlannedChange, ...]
    counters: Mapping[int, int]
    passwords: Mapping[ObjectId, str]
    answers: tuple[int, ...]
    no_repeats: Mapping[ObjectId, int] = MappingProxyType({})


def planned_record(id: ObjectId, before: bytes | None, after: bytes | None, **author: Any) -> PlannedChange:
    """The change of a security record from one stored form to another; None for *not there*, of one of them at most.

    ``author`` is what notifications say of it: ``user``, ``application``, ``time_ms``.
    """
    number, dbid = id
    if after is None:
        payload = codec.encode(ObjectDeleted(type=number, dbid=dbid, former=msgspec.Raw(before or b""), **author))
        return PlannedChange(Action.DELETED, number, dbid, None, before, None, 0, 0, (), payload)
    if before is None:
        payload = codec.encode(ObjectCreated(type=number, object=msgspec.Raw(after), **author))
        return PlannedChange(Action.CREATED, number, dbid, after, None, None, 0, 0, (), payload)
    payload = codec.encode(ObjectUpdated(type=number, dbid=dbid, object=msgspec.Raw(after), **author))
    return PlannedChange(Action.UPDATED, number, dbid, after, None, None, 0, 0, (), payload)


class WritePlanner:
    """Plans one transaction against one state of the configuration: a request, or several.

    ``counters`` holds the last DBID given out per type. ``user`` and ``application`` are the
    author, ``time_ms`` is now; ``authority`` is what the author may do, None for everything. ``overlay``:
    what transactions have changed that come before it and are not in the cache yet. All
    methods raise `ModelError` with the published code; then nothing is to be done and the planner
    cannot be used any more. Until the plan is finished, the cache must not change.
    """

    def __init__(
        self,
        cache: ConfigurationCache,
        *,
        counters: Mapping[int, int],
        user: str = "",
        application: str = "",
        time_ms: int = 0,
        authority: Authority | None = None,
        overlay: Changed | None = None,
    ) -> None:
        if authority is None:
            self._draft = Draft(cache, counters, overlay=overlay)
        else:
            self._draft = Draft(cache, counters, authority.knows, authority.names, overlay=overlay)
        self._authority = authority
        self._author: dict[str, Any] = {"user": user, "application": application, "time_ms": time_ms}
        self._time_ms = time_ms
        self._placeholders = Placeholders()
        self._passwords: dict[ObjectId, str] = {}
        self._no_repeats: dict[ObjectId, int] = {}
        self._answers: list[int] = []
        self._changes: list[PlannedChange] = []

    def create(self, type_number: int, obj: Mapping[str, Any], *, folder: int = 0) -> Plan:
        """Plan a creation; ``folder`` 0 means the default folder of the object's container and type."""
        self._create(SCHEMA.object_type(type_number), obj, folder)
        return self.finish()

    def update(self, type_number: int, dbid: int, delta: Mapping[str, Any]) -> Plan:
        """Plan an update by ``delta`` (docs/reference/delta.md)."""
        self._update(SCHEMA.object_type(type_number), dbid, delta)
        return self.finish()

    def delete(self, type_number: int, dbid: int) -> Plan:
        """Plan a deletion of an object and of what belongs to it."""
        self._delete(SCHEMA.object_type(type_number), dbid)
        return self.finish()

    def transaction(self, changes: Iterable[RequestedChange]) -> Plan:
        """Plan all ``changes``, each seeing those before it, or refuse them all; as `add` for each, then `finish`."""
        for change in changes:
            self.add(change)
        return self.finish()

    def add(self, change: RequestedChange) -> None:
        """Plan one more change of a transaction. The error's text begins with ``change N:``, counted from 0."""
        number = len(self._answers)
        try:
            self._carry_out(change)
            if len(self._draft.steps) > MAX_CHANGES:
                raise ModelError(
                    ErrorCode.WRONG_API_PARAMETERS,
                    f"the transaction has more than {MAX_CHANGES} changes, with all that follows from them: divide it",
                    object_type=change.type,
                )
            self._take_steps()
        except ModelError as e:
            raise ModelError(
                e.code, f"change {number}: {e}", object_type=e.object_type, property_name=e.property_name
            ) from e

    def finish(self) -> Plan:
        """The plan of everything so far. Raises WRONG_API_PARAMETERS if nothing was asked for."""
        if not self._draft.steps:
            raise ModelError(ErrorCode.WRONG_API_PARAMETERS, "a transaction needs at least one change")
        self._take_steps()
        records = self._records_that_go()
        changes = (*records, *self._changes)
        if records and len(changes) > MAX_CHANGES:
            raise ModelError(
                ErrorCode.WRONG_API_PARAMETERS,
                f"the deletion has {len(changes)} changes with the access control lists that go along, "
                f"more than {MAX_CHANGES}: divide it",
                object_type=self._changes[-1].type,
            )
        answers = tuple(place + len(records) for place in self._answers)
        return Plan(changes, self._draft.counters, self._passwords, answers, self._no_repeats)

    def _records_that_go(self) -> list[PlannedChange]:
        """The security records of deleted objects; before them, so that the last change is one that clients may see."""
        cache = self._draft.cache
        return [
            planned_record(id, stored, None, **self._author)
            for step in self._draft.steps
            if step.after is None
            for id in records_of(step.id)
            if (stored := cache.get(*id)) is not None
        ]

    def _take_steps(self) -> None:
        new = self._draft.steps[len(self._changes) :]
        if self._authority is not None:
            for step in new:
                self._authority.check(step)
        self._changes += [self._planned(step) for step in new]

    def _carry_out(self, change: RequestedChange) -> None:
        kind, names = SCHEMA.object_type(change.type), self._placeholders
        if change.message == Verb.CREATE:
            self._create_named(kind, change)
            return
        dbid = names.dbid(kind, change.dbid, of=kind, path="dbid")
        if change.message == Verb.UPDATE:
            before = self._draft.get(kind.number, dbid) or {}
            self._update(kind, dbid, names.resolve(kind, change.delta, before))
        elif change.message == Verb.DELETE:
            self._delete(kind, dbid)
        else:
            verbs = ", ".join(f"{verb} ({verb.name.lower()})" for verb in Verb)
            raise ModelError(
                ErrorCode.WRONG_API_PARAMETERS,
                f"message {change.message} is no change; valid are {verbs}",
                object_type=kind.number,
                property_name="message",
            )

    def _create_named(self, kind: ObjectType, change: RequestedChange) -> None:
        folder = self._placeholders.dbid(SCHEMA.types[FOLDER], change.folder, of=kind, path="folder")
        given = self._placeholders.resolve(kind, change.object)
        name = given.get("DBID")
        if not isinstance(name, int) or name >= 0:
            self._create(kind, given, folder)
            return
        del given["DBID"]
        dbid = self._create(kind, given, folder)
        self._placeholders.define(kind, name, dbid)

    def _create(self, kind: ObjectType, obj: Mapping[str, Any], folder: int) -> int:
        draft = self._draft
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
        self._answers.append(len(draft.steps))
        draft.create(kind.number, new, folder=where)
        for held in held_types(kind):
            owned = default_folder(held, owner_type=kind.number, owner_dbid=new["DBID"])
            draft.create(FOLDER, {"DBID": draft.next_dbid(FOLDER), **owned}, folder=0)
        self._keep_password((kind.number, new["DBID"]), password, new)
        return int(new["DBID"])

    def _update(self, kind: ObjectType, dbid: int, delta: Mapping[str, Any]) -> None:
        draft = self._draft
        before = self._existing(kind, dbid, Permission.CHANGE)
        if not delta:
            raise ModelError(
                ErrorCode.UNSPECIFIED_MODIFICATION,
                f"the update of {name_of(kind, before)} changes nothing: its delta is empty",
                object_type=kind.number,
            )
        check_delta(kind, delta)
        rest, password = _without_password(kind, delta)
        given = dict(rest)
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
        set_state(draft, kind, before, after)
        self._answers.append(len(draft.steps))
        draft.update((kind.number, dbid), after, delta=given, folder=where, moved=moved)
        self._keep_password((kind.number, dbid), password, after)

    def _delete(self, kind: ObjectType, dbid: int) -> None:
        draft = self._draft
        before = self._existing(kind, dbid, Permission.DELETE)
        if kind.number == FOLDER and is_top_default(before):
            raise ModelError(
                ErrorCode.UNCHANGEABLE_INFO,
                f"{name_of(kind, before)} is a default folder: it goes only with its owner",
                object_type=FOLDER,
            )
        first = len(draft.steps)
        delete_owned(draft, (kind.number, dbid))
        self._answers.append(len(draft.steps) - 1)
        for step in draft.steps[first:]:
            if step.after is None:
                self._passwords.pop(step.id, None)
                self._no_repeats.pop(step.id, None)

    def _keep_password(self, id: ObjectId, password: str | None, obj: Mapping[str, Any]) -> None:
        if password is None or id[0] not in PASSWORD_TYPES:
            return
        if id[0] == _PERSON:
            self._check_password(id, password, obj)
        self._passwords[id] = password

    def _check_password(self, id: ObjectId, password: str, person: Mapping[str, Any]) -> None:
        rules, _ = password_rules(person, lambda dbid: self._draft.get(TENANT, dbid))
        broken = broken_rules(password, rules)
        if broken:
            raise ModelError(
                ErrorCode.VALUE_OUT_OF_RANGE,
                f"the new password is refused, it needs {broken}",
                object_type=_PERSON,
                property_name="password",
            )
        if rules.password_no_repeats:
            self._no_repeats[id] = rules.password_no_repeats
        else:
            self._no_repeats.pop(id, None)

    def _existing(self, kind: ObjectType, dbid: int, permission: Permission) -> dict[str, Any]:
        """The object. The permission is asked for again with all that follows; here before anything is told of it."""
        before = self._draft.get(kind.number, dbid)
        if before is None:
            raise ModelError(ErrorCode.OBJECT_NOT_FOUND, f"there is no {kind.singular} {dbid}", object_type=kind.number)
        if self._authority is not None:
            self._authority.require_for(permission, (kind.number, dbid))
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

    def _planned(self, step: Step) -> PlannedChange:
        number, dbid = step.id
        kind = SCHEMA.types[number]
        author = self._author
        if step.after is None:
            former = encode_object(kind, step.before or {})
            body = msgspec.Raw(former)
            payload = codec.encode(ObjectDeleted(type=number, dbid=dbid, former=body, **author))
            return PlannedChange(step.action, number, dbid, None, former, None, 0, 0, (), payload)
        stored = encode_object(kind, step.after)
        if step.before is None:
            created = ObjectCreated(type=number, object=msgspec.Raw(stored), folder=step.folder, **author)
            payload = codec.encode(created)
            return PlannedChange(step.action, number, dbid, stored, None, None, step.folder, step.folder, (), payload)
        delta = self._announced(kind, step)
        new_folder = step.folder if step.folder != step.from_folder else 0
        payload = codec.encode(ObjectUpdated(type=number, dbid=dbid, delta=delta, folder=new_folder, **author))
        return PlannedChange(
            step.action, number, dbid, stored, None, delta, step.folder, new_folder, step.moved, payload
        )

    def _announced(self, kind: ObjectType, step: Step) -> dict[str, Any]:
        """The delta of the notification: what was asked where that explains the result, else computed."""
        assert step.before is not None
        assert step.after is not None
        if step.delta is None:
            return compute_delta(kind, step.before, step.after)
        asked = {name: value for name, value in step.delta.items() if name != "objectIDs"}
        reached = apply_delta(kind, step.before, asked)
        if reached != step.after and compute_delta(kind, reached, step.after):  # the second costs 10 times the first
            asked = compute_delta(kind, step.before, step.after)
        return {**asked, "objectIDs": step.delta["objectIDs"]} if "objectIDs" in step.delta else asked


def _without_password(kind: ObjectType, obj: Mapping[str, Any]) -> tuple[Mapping[str, Any], str | None]:
    """The object or delta without its password, and the password; None if it gives none."""
    if "password" not in obj or "password" not in kind.attributes:
        return obj, None
    rest = dict(obj)
    password = rest.pop("password")
    if password is not None and "\0" in password:
        raise ModelError(
            ErrorCode.VALUE_OUT_OF_RANGE,
            f"a password of a {kind.singular} must not contain the NUL character",
            object_type=kind.number,
            property_name="password",
        )
    return rest, password
