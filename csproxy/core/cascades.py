"""What a request takes along: deletions and changes of state reach all that an object owns.

See `csproxy.core.ownership` for what belongs to what. The functions plan steps in a `Draft` or
refuse; dependants come before what they depend on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from csproxy.core.draft import Draft
from csproxy.core.model.schema import SCHEMA, ObjectType
from csproxy.core.ownership import LinkKind, ObjectId, link_kind, owned_closure, without_link
from csproxy.core.paths import scalar_at, set_at
from csproxy.core.rules import MAX_CHANGES, MAX_NAMED, state_path
from csproxy.core.wellknown import PERMANENT
from csproxy.errors import ErrorCode, ModelError

__all__ = ["delete_owned", "set_state"]

_DISABLED: Final = 2
_ENOUGH: Final = 5 * MAX_CHANGES
"""Referrers of one owner beyond which it surely owns more than `MAX_CHANGES` objects."""


def delete_owned(draft: Draft, root: ObjectId) -> None:
    """Plan the deletion of an object, of what it owns, and of its memberships.

    Raises `ModelError`: UNCHANGEABLE_INFO for a well-known object, DEPENDENT_OBJECTS naming who
    refers to something that would go, WRONG_API_PARAMETERS for more than `MAX_CHANGES` objects.
    """
    doomed = _closure(draft, root)
    kept = next((id for id in doomed if id in PERMANENT), None)
    if kept is not None:
        raise ModelError(ErrorCode.UNCHANGEABLE_INFO, f"{draft.name(kept)} cannot be deleted", object_type=kept[0])
    for id, after in _released(draft, doomed).items():
        draft.update(id, after)
    for id in doomed:
        draft.delete(id)


def set_state(draft: Draft, kind: ObjectType, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    """Plan the change of state of all that the object owns, if its own state changes. Errors as `delete_owned`."""
    path = state_path(kind)
    if path is None or scalar_at(before, path) == scalar_at(after, path):
        return
    state, root = scalar_at(after, path), (kind.number, after["DBID"])
    for id in _closure(draft, root):
        if state == _DISABLED and id in PERMANENT:
            raise ModelError(ErrorCode.UNCHANGEABLE_INFO, f"{draft.name(id)} cannot be disabled", object_type=id[0])
        owned, owned_path = draft.get(*id), state_path(SCHEMA.types[id[0]])
        if id != root and owned is not None and owned_path and scalar_at(owned, owned_path) != state:
            draft.update(id, set_at(owned, owned_path, state))


def _closure(draft: Draft, root: ObjectId) -> list[ObjectId]:
    def referrers(number: int, dbid: int) -> Sequence[tuple[int, int, str]]:
        # a tenant may have 100,000: finding them all only to refuse would hold everybody up for 0.4 s
        found = draft.referrers(number, dbid, limit=_ENOUGH)
        _check_size(draft, root, len(found), most=_ENOUGH - 1)
        return found

    order = owned_closure(root, referrers=referrers, members=draft.members_of, limit=MAX_CHANGES)
    _check_size(draft, root, len(order))
    return order


def _check_size(draft: Draft, root: ObjectId, objects: int, *, most: int = MAX_CHANGES) -> None:
    if objects > most:
        raise ModelError(
            ErrorCode.WRONG_API_PARAMETERS,
            f"{draft.name(root)} has too much that depends on it for one transaction "
            f"(more than {MAX_CHANGES} objects): change or delete its content first",
            object_type=root[0],
        )


def _released(draft: Draft, doomed: list[ObjectId]) -> dict[ObjectId, dict[str, Any]]:
    """The objects that stay but lose a membership, as they will be. Raises DEPENDENT_OBJECTS."""
    going = set(doomed)
    released: dict[ObjectId, dict[str, Any]] = {}
    dependants: dict[ObjectId, str] = {}
    for target in doomed:
        for number, dbid, path in draft.referrers(*target):
            id = (number, dbid)
            if id in going:
                continue
            kind = SCHEMA.types[number]
            if link_kind(kind, path) is LinkKind.MEMBERSHIP:
                holder = released.get(id) or draft.get(number, dbid)
                assert holder is not None
                released[id] = without_link(kind, holder, path, target)
                _check_size(draft, doomed[-1], len(doomed) + len(released))
            else:
                dependants[id] = path
    if dependants:
        raise _dependants_error(draft, doomed[-1], dependants)
    return released


def _dependants_error(draft: Draft, root: ObjectId, dependants: Mapping[ObjectId, str]) -> ModelError:
    known = [(id, path) for id, path in sorted(dependants.items()) if draft.is_known(id)]
    named = [f"{draft.name(id)} ({path})" for id, path in known[:MAX_NAMED]]
    if len(known) < len(dependants):
        named.append("objects that may not be read")
    more = f" and {len(known) - MAX_NAMED} more" if len(known) > MAX_NAMED else ""
    return ModelError(
        ErrorCode.DEPENDENT_OBJECTS,
        f"{draft.name(root)} cannot be deleted: it is referred to by {', '.join(named)}{more}",
        object_type=root[0],
    )
