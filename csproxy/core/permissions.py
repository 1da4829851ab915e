"""Permissions: access control lists, how objects inherit them, and what an account may do in the end.

- An ACL belongs to an object; an object without one of its own inherits that of the folder it stands
  in, a folder that of its parent, a folder at the top that of its owner (a tenant, switch, IVR,
  enumerator or campaign), and so on up to the tenant Environment, which has `DEFAULT_ACL` unless
  it was given another.
- An entry names a Person or an Access Group and a mask of `Permission`. An entry with NO_PROPAGATION
  holds for the object that has the ACL and is not inherited.
- What an account may do is the union over the person, the groups that hold it, and EVERYONE. What
  is not granted is forbidden.
- Members of Super Administrators may read and change every ACL, so that no object is lost to all.

Source: the published permissions and well-known groups; where the documents are silent (default
ACL, order of containers, the last rule) the decision is ours. Writes are checked in
`csproxy.core.authority`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from enum import IntFlag
from itertools import islice
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from csproxy.core.cache import ConfigurationCache
from csproxy.core.containers import ENVIRONMENT, FOLDER, TENANT
from csproxy.core.model.enumerations import CfgObjectState, CfgObjectType
from csproxy.core.model.schema import SCHEMA
from csproxy.core.ownership import ObjectId
from csproxy.core.paths import name_of, scalar_at
from csproxy.core.wellknown import ADMINISTRATORS, EVERYONE, SUPER_ADMINISTRATORS, SYSTEM, USERS
from csproxy.errors import ErrorCode, ModelError

__all__ = [
    "DEFAULT_ACL",
    "MAX_ENTRIES",
    "SYSTEM_ACCOUNT_ID",
    "Acl",
    "AclEntry",
    "EffectiveAcl",
    "Permission",
    "Permissions",
    "check_account",
    "checked_acl",
    "container_by",
    "container_of",
    "existing_name",
    "identities",
    "is_super_administrator",
]

_PERSON: Final = int(CfgObjectType.CFGPerson)
_ACCESS_GROUP: Final = int(CfgObjectType.CFGAccessGroup)
_DISABLED: Final = int(CfgObjectState.CFGDisabled)
_ROOT: Final[ObjectId] = (TENANT, ENVIRONMENT)
_ACCOUNT_TYPES: Final = (_PERSON, _ACCESS_GROUP)

SYSTEM_ACCOUNT_ID: Final[ObjectId] = (_ACCESS_GROUP, SYSTEM)
"""The account of an application that was given none: the access group SYSTEM."""

MAX_ENTRIES: Final = 1_000
"""Entries of one ACL: who needs more makes a group."""


class Permission(IntFlag):
    """The published bits of an access mask."""

    READ = 1
    CREATE = 2
    CHANGE = 4
    EXECUTE = 8
    DELETE = 16
    READ_PERMISSIONS = 32
    CHANGE_PERMISSIONS = 64
    FULL = 127
    NO_PROPAGATION = 128


_RESCUE: Final = Permission.READ_PERMISSIONS | Permission.CHANGE_PERMISSIONS
_SUPER: Final[ObjectId] = (_ACCESS_GROUP, SUPER_ADMINISTRATORS)
_ALL_BITS: Final = int(Permission.FULL | Permission.NO_PROPAGATION)


class AclEntry(NamedTuple):
    """What one Person or Access Group may do."""

    type: int
    dbid: int
    mask: int


Acl = tuple[AclEntry, ...]
"""Entries in the order of type and DBID, at most one for each account; empty: nobody may do anything."""

DEFAULT_ACL: Final[Acl] = tuple(
    AclEntry(_ACCESS_GROUP, group, int(mask))
    for group, mask in (
        (USERS, Permission.READ | Permission.EXECUTE),
        (ADMINISTRATORS, Permission.FULL),
        (SUPER_ADMINISTRATORS, Permission.FULL),
        (SYSTEM, Permission.FULL),
    )
)
"""What Environment starts with, and everything with it."""


class EffectiveAcl(NamedTuple):
    """The ACL that holds for an object, and the object that it belongs to, (0, 0) for `DEFAULT_ACL`."""

    acl: Acl
    source: ObjectId


_NOBODY: Final[ObjectId] = (0, 0)


class Permissions:
    """The ACLs of a configuration. Objects inherit as they stand in the cache that a method is given."""

    def __init__(self, explicit: Mapping[ObjectId, Acl] | None = None) -> None:
        self._explicit: dict[ObjectId, Acl] = dict(explicit or {})

    def __repr__(self) -> str:
        return f"<Permissions of {len(self._explicit)} objects>"

    @property
    def explicit(self) -> Mapping[ObjectId, Acl]:
        """The ACLs that objects have of their own."""
        return MappingProxyType(self._explicit)

    def acl_of(self, cache: ConfigurationCache, id: ObjectId) -> EffectiveAcl:
        """The ACL that holds for an object, inherited or its own."""
        for holder in _upwards(cache, id):
            acl = self._explicit.get(holder)
            if acl is not None:
                return EffectiveAcl(acl if holder == id else _inherited(acl), holder)
        return EffectiveAcl(DEFAULT_ACL, _NOBODY)

    def mask_of(self, cache: ConfigurationCache, id: ObjectId, account: ObjectId) -> int:
        """What an account may do with an object, a mask without NO_PROPAGATION."""
        return self.granted(cache, id, identities(cache, account), {})

    def granted(
        self, cache: ConfigurationCache, id: ObjectId, who: frozenset[ObjectId], known: dict[ObjectId, int]
    ) -> int:
        """What ``who`` (`identities`) may do with an object, a mask without NO_PROPAGATION.

        ``known`` keeps what each container hands down, for the next call with the same cache and ``who``.
        """
        own = self._explicit.get(id)
        if own is not None:
            return _granted(own, who)
        way: list[ObjectId] = []
        mask = None
        for holder in islice(_upwards(cache, id), 1, None):
            mask = known.get(holder)
            if mask is not None:
                break
            way.append(holder)
            acl = self._explicit.get(holder)
            if acl is not None:
                mask = _granted(_inherited(acl), who)
                break
        if mask is None:
            mask = _granted(DEFAULT_ACL, who)
        known.update(dict.fromkeys(way, mask))
        return mask

    def plan(
        self, cache: ConfigurationCache, id: ObjectId, acl: Acl | None, *, recursive: bool
    ) -> dict[ObjectId, Acl | None]:
        """What an update changes: each object whose own ACL becomes another, None where it inherits again.

        ``acl`` None takes the object's own ACL away. ``recursive`` also takes away those of all objects
        below it, so that they inherit from it. Nothing is changed before `apply`.
        """
        changed: dict[ObjectId, Acl | None] = {}
        if acl != self._explicit.get(id):
            changed[id] = acl
        if recursive:
            changed |= dict.fromkeys(_below(cache, id, self._explicit))
        return changed

    def apply(self, changed: Mapping[ObjectId, Acl | None]) -> None:
        """Take over what `plan` has given."""
        for id, acl in changed.items():
            if acl is None:
                self._explicit.pop(id, None)
            else:
                self._explicit[id] = acl

    def orphans(self, cache: ConfigurationCache) -> list[ObjectId]:
        """Objects that have an ACL of their own and are not there any more."""
        return [id for id in self._explicit if cache.get(*id) is None]


def checked_acl(cache: ConfigurationCache, entries: Iterable[AclEntry], *, object_type: int) -> Acl:
    """Entries as an ACL.

    Raises `ModelError`: VALUE_OUT_OF_RANGE (a mask, or too many entries), INCORRECT_REFERENCES (no such
    Person or Access Group), UNIQUENESS_VIOLATION (one account twice).
    """
    acl = tuple(sorted(entries))
    if len(acl) > MAX_ENTRIES:
        raise _wrong(
            ErrorCode.VALUE_OUT_OF_RANGE, f"an ACL has at most {MAX_ENTRIES} entries, not {len(acl)}", object_type
        )
    before: ObjectId | None = None
    for entry in acl:
        account = (entry.type, entry.dbid)
        check_account(cache, account, object_type=object_type, property_name="entries")
        if account == before:
            raise _wrong(
                ErrorCode.UNIQUENESS_VIOLATION, f"{existing_name(cache, account)} has two entries", object_type
            )
        if not 0 <= entry.mask <= _ALL_BITS:
            raise _wrong(
                ErrorCode.VALUE_OUT_OF_RANGE,
                f"mask {entry.mask} of {existing_name(cache, account)}: valid are sums of {_bits()}",
                object_type,
            )
        before = account
    return acl


def check_account(cache: ConfigurationCache, account: ObjectId, *, object_type: int, property_name: str) -> None:
    """Raise `ModelError` INCORRECT_REFERENCES unless the account is a Person or an Access Group that is there."""
    number, dbid = account
    if number not in _ACCOUNT_TYPES or cache.get(number, dbid) is None:
        kind = SCHEMA.types.get(number)
        what = f"{kind.singular if kind else f'an object of type {number}'} {dbid}"
        problem = "does not exist" if number in _ACCOUNT_TYPES else "is neither a person (3) nor an access group (21)"
        raise ModelError(
            ErrorCode.INCORRECT_REFERENCES, f"{what} {problem}", object_type=object_type, property_name=property_name
        )


def existing_name(cache: ConfigurationCache, id: ObjectId) -> str:
    """How an error names an object; raises `ModelError` when its type (32) or the object (10) is not there."""
    kind = SCHEMA.object_type(id[0])
    stored = cache.stored(*id)
    if stored is None:
        raise ModelError(ErrorCode.OBJECT_NOT_FOUND, f"there is no {kind.singular} {id[1]}", object_type=kind.number)
    return name_of(kind, stored)


def container_of(cache: ConfigurationCache, id: ObjectId) -> ObjectId | None:
    """The object from which ``id`` inherits; None for Environment, where inheritance ends."""
    if id == _ROOT:
        return None
    folder = cache.folder_of(*id)
    return container_by(id, folder, (cache.stored(*id) or {}) if id[0] == FOLDER and not folder else {})


def container_by(id: ObjectId, folder: int, obj: Mapping[str, Any]) -> ObjectId:
    """The object from which ``id`` inherits, not Environment itself, by its folder (0: none) and attributes."""
    if folder:
        return FOLDER, folder
    if id[0] == FOLDER:
        owner = obj.get("ownerID", {})
        return owner.get("type", TENANT), owner.get("DBID", ENVIRONMENT)
    return _ROOT


def identities(cache: ConfigurationCache, account: ObjectId) -> frozenset[ObjectId]:
    """The account itself, the enabled groups that hold it directly or through other groups, and EVERYONE."""
    found = {account, (_ACCESS_GROUP, EVERYONE)}
    waiting = list(found)
    while waiting:
        for number, dbid, _ in cache.referrers(*waiting.pop()):
            group = (number, dbid)
            if number == _ACCESS_GROUP and group not in found and _is_enabled(cache, dbid):
                found.add(group)
                waiting.append(group)
    return frozenset(found)


def is_super_administrator(cache: ConfigurationCache, person_dbid: int) -> bool:
    """Whether a Person belongs to the access group Super Administrators."""
    return _SUPER in identities(cache, (_PERSON, person_dbid))


def _upwards(cache: ConfigurationCache, id: ObjectId) -> Iterator[ObjectId]:
    """The object and all from which it inherits, nearest first; damaged data that goes in circles ends."""
    seen: set[ObjectId] = set()
    step: ObjectId | None = id
    while step is not None and step not in seen:
        seen.add(step)
        yield step
        step = container_of(cache, step)


def _below(cache: ConfigurationCache, root: ObjectId, ids: Iterable[ObjectId]) -> Iterator[ObjectId]:
    """Those of ``ids`` that inherit from ``root``; what is shared of their ways up is walked once."""
    known: dict[ObjectId, bool] = {root: True}
    for id in ids:
        way: list[ObjectId] = []
        for step in _upwards(cache, id):
            if step in known:
                break
            way.append(step)
        else:
            step = way[-1]
            known[step] = False
        known |= dict.fromkeys(way, known[step])
        if id != root and known[id]:
            yield id


def _inherited(acl: Acl) -> Acl:
    return tuple(entry for entry in acl if not entry.mask & Permission.NO_PROPAGATION)


def _granted(acl: Acl, who: frozenset[ObjectId]) -> int:
    mask = int(_RESCUE) if _SUPER in who else 0
    for entry in acl:
        if (entry.type, entry.dbid) in who:
            mask |= entry.mask
    return mask & Permission.FULL


def _is_enabled(cache: ConfigurationCache, group: int) -> bool:
    return bool(scalar_at(cache.stored(_ACCESS_GROUP, group) or {}, "groupInfo.state") != _DISABLED)


def _bits() -> str:
    return ", ".join(f"{int(bit)}" for bit in Permission if bit is not Permission.FULL)


def _wrong(code: ErrorCode, message: str, object_type: int) -> ModelError:
    return ModelError(code, message, object_type=object_type, property_name="entries")
