"""What one account may change: the permissions of its writes, those included that a request takes along.

Permissions count as they are before a transaction. What the transaction itself creates may be changed by it as
well: only the creation is asked for, and only where the container was there before.

| step | needs |
|---|---|
| creation | CREATE on the container: the folder, for a folder at the top its owner |
| update, also one that only follows from another (state, a lost membership) | CHANGE on the object |
| move to another folder | CHANGE on what is moved, CREATE on the folder |
| deletion, also of what goes along | DELETE on the object |

Source: the published permissions; that all of a cascade is asked for is published, too, the rest is our reading.
"""

from __future__ import annotations

from typing import Final

from csproxy.core.cache import ConfigurationCache
from csproxy.core.containers import FOLDER
from csproxy.core.draft import Step
from csproxy.core.identities import identities
from csproxy.core.model.schema import SCHEMA
from csproxy.core.ownership import ObjectId
from csproxy.core.paths import name_of
from csproxy.core.permissions import Masks, Permission, container_by
from csproxy.errors import ErrorCode, ModelError

__all__ = ["Authority"]

_VERBS: Final = {
    Permission.CREATE: "create objects in",
    Permission.CHANGE: "change",
    Permission.DELETE: "delete",
    Permission.READ_PERMISSIONS: "read the permissions of",
    Permission.CHANGE_PERMISSIONS: "change the permissions of",
}


class Authority:
    """What an account may do with the objects of one state of the configuration, while it stays as it is."""

    def __init__(self, cache: ConfigurationCache, account: ObjectId) -> None:
        self._cache = cache
        self._masks = Masks(cache, identities(cache, account))
        self._new: set[ObjectId] = set()

    def mask(self, id: ObjectId) -> int:
        """What the account may do with an object that is there: a mask of `Permission`."""
        return self._masks.of(id)

    def knows(self, id: ObjectId) -> bool:
        """Whether the account may know that an object is there: it has some permission for it."""
        return id in self._new or self._cache.get(*id) is None or bool(self.mask(id))

    def names(self, id: ObjectId) -> bool:
        """Whether the account may be told an object's name."""
        return id in self._new or self._cache.get(*id) is None or bool(self.mask(id) & Permission.READ)

    def require(self, permission: Permission, id: ObjectId) -> None:
        """Raise `ModelError` NO_PERMISSION unless the account may do this; what it may not read is not named.

        What the transaction has created before was asked for then.
        """
        if id in self._new:
            return
        mask = self.mask(id)
        if mask & permission:
            return
        kind = SCHEMA.types[id[0]]
        if mask & Permission.READ:
            name = name_of(kind, self._cache.stored(*id) or {"DBID": id[1]})
        else:
            name = f"a {kind.singular} that may not be read"
        raise ModelError(
            ErrorCode.NO_PERMISSION, f"there is no permission to {_VERBS[permission]} {name}", object_type=kind.number
        )

    def require_for(self, permission: Permission, id: ObjectId) -> None:
        """As `require`, for the object that a request is about: what may not be read is answered as not there."""
        if id not in self._new and not self.mask(id) & (permission | Permission.READ):
            kind = SCHEMA.types[id[0]]
            raise ModelError(
                ErrorCode.OBJECT_NOT_FOUND, f"there is no {kind.singular} {id[1]}", object_type=kind.number
            )
        self.require(permission, id)

    def check(self, step: Step) -> None:
        """Raise `ModelError` NO_PERMISSION unless the account may carry out a step of a plan; steps come in order."""
        if step.before is None:
            self.require(Permission.CREATE, container_by(step.id, step.folder, step.after or {}))
            self._new.add(step.id)
            return
        self.require(Permission.DELETE if step.after is None else Permission.CHANGE, step.id)
        if step.after is not None and step.folder != step.from_folder:
            self.require(Permission.CREATE, (FOLDER, step.folder))
        if step.moved:
            self.require(Permission.CREATE, step.id)
        for other in step.moved:
            self.require(Permission.CHANGE, other)
