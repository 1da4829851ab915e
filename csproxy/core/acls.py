"""Access control lists as the cache holds them: who inherits which, and what a list allows.

Works on objects and records alone, of a cache or of a view; the rules are those of `csproxy.core.permissions`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import IntFlag
from itertools import islice
from typing import Any, Final, NamedTuple, Protocol

from csproxy.core import codec
from csproxy.core.containers import ENVIRONMENT, FOLDER, TENANT
from csproxy.core.model.enumerations import CfgObjectType
from csproxy.core.ownership import ObjectId
from csproxy.core.security_records import NOBODY, Acl, AclEntry, decode_acl, list_of
from csproxy.core.wellknown import ADMINISTRATORS, SUPER_ADMINISTRATORS, SYSTEM, USERS

__all__ = [
    "DEFAULT_ACL",
    "ROOT",
    "EffectiveAcl",
    "Masks",
    "Objects",
    "Permission",
    "acl_of",
    "container_by",
    "container_of",
    "inherited",
    "own_acl",
    "upwards",
]

_ACCESS_GROUP: Final = int(CfgObjectType.CFGAccessGroup)
ROOT: Final[ObjectId] = (TENANT, ENVIRONMENT)
"""Where inheritance ends."""


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


class Objects(Protocol):
    """Objects and security records with their folders: a cache, or a view of one."""

    def get(self, type_number: int, dbid: int) -> bytes | None:
        """The stored bytes of an object or a record."""

    def folder_of(self, type_number: int, dbid: int) -> int:
        """The folder of an object, 0 for none."""


class EffectiveAcl(NamedTuple):
    """The ACL that holds for an object, and the object that it belongs to, (0, 0) for `DEFAULT_ACL`."""

    acl: Acl
    source: ObjectId


def own_acl(objects: Objects, id: ObjectId) -> Acl | None:
    """The ACL that an object has of its own; None if it inherits."""
    stored = objects.get(*list_of(id))
    return None if stored is None else decode_acl(stored)


def acl_of(objects: Objects, id: ObjectId) -> EffectiveAcl:
    """The ACL that holds for an object, inherited or its own."""
    for holder in upwards(objects, id):
        acl = own_acl(objects, holder)
        if acl is not None:
            return EffectiveAcl(acl if holder == id else inherited(acl), holder)
    return EffectiveAcl(DEFAULT_ACL, NOBODY)


class Masks:
    """What ``who`` (`identities`) may do with the objects of one state of the configuration."""

    def __init__(self, objects: Objects, who: frozenset[ObjectId]) -> None:
        self._objects = objects
        self._who = who
        self._handed_down: dict[ObjectId, int] = {}

    def of(self, id: ObjectId) -> int:
        """A mask of `Permission` without NO_PROPAGATION. What containers hand down is worked out once."""
        own = own_acl(self._objects, id)
        if own is not None:
            return _granted(own, self._who)
        known = self._handed_down
        way: list[ObjectId] = []
        mask = None
        for holder in islice(upwards(self._objects, id), 1, None):
            mask = known.get(holder)
            if mask is not None:
                break
            way.append(holder)
            acl = own_acl(self._objects, holder)
            if acl is not None:
                mask = _granted(inherited(acl), self._who)
                break
        if mask is None:
            mask = _granted(DEFAULT_ACL, self._who)
        known.update(dict.fromkeys(way, mask))
        return mask


def container_of(objects: Objects, id: ObjectId) -> ObjectId | None:
    """The object from which ``id`` inherits; None for Environment, where inheritance ends."""
    if id == ROOT:
        return None
    folder = objects.folder_of(*id)
    if folder or id[0] != FOLDER:
        return container_by(id, folder, {})
    return container_by(id, 0, codec.decode_map(objects.get(*id) or b"\x80"))


def container_by(id: ObjectId, folder: int, obj: Mapping[str, Any]) -> ObjectId:
    """The object from which ``id`` inherits, not Environment itself, by its folder (0: none) and attributes."""
    if folder:
        return FOLDER, folder
    if id[0] == FOLDER:
        owner = obj.get("ownerID", {})
        return owner.get("type", TENANT), owner.get("DBID", ENVIRONMENT)
    return ROOT


def upwards(objects: Objects, id: ObjectId) -> Iterator[ObjectId]:
    """The object and all from which it inherits, nearest first; damaged data that goes in circles ends."""
    seen: set[ObjectId] = set()
    step: ObjectId | None = id
    while step is not None and step not in seen:
        seen.add(step)
        yield step
        step = container_of(objects, step)


def inherited(acl: Acl) -> Acl:
    """What of an ACL holds for objects that inherit it."""
    return tuple(entry for entry in acl if not entry.mask & Permission.NO_PROPAGATION)


def _granted(acl: Acl, who: frozenset[ObjectId]) -> int:
    mask = int(_RESCUE) if _SUPER in who else 0
    for entry in acl:
        if (entry.type, entry.dbid) in who:
            mask |= entry.mask
    return mask & Permission.FULL
