"""What belongs to an object, and who merely refers to it: the basis of deletions and state changes.

Every link of the object model is one of three kinds:

- **owning**: the object is part of what the link leads to. A container link (the switch of a DN),
  the tenant, the owner and parent of a folder; and each object belongs to its folder. What an
  object owns is deleted with it and takes part in its changes of state.
- **membership**: the link is what identifies an item of a list (members of a group, skill levels
  of an agent, connections of an application). The item goes when the target is deleted.
- **plain**: any other scalar link, and links inside a list item that do not identify it. The
  target cannot be deleted while it exists (error 13).

The kinds are read from the schema; the few exceptions are in `csproxy.core.rules`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import Enum
from functools import cache
from typing import Any, Final

from csproxy.core.containers import FOLDER, TENANT, container_type, is_in_tenants
from csproxy.core.model.enumerations import CfgObjectType
from csproxy.core.model.links import RESOURCE_TARGETS
from csproxy.core.model.schema import SCHEMA, Attribute, AttributeKind, ObjectType
from csproxy.core.rules import OWNING_LINKS, WEAK_LINKS

__all__ = ["LinkKind", "ObjectId", "link_kind", "owned_closure", "without_link"]

_PERSON: Final = int(CfgObjectType.CFGPerson)

ObjectId = tuple[int, int]
"""Type number and DBID."""


class LinkKind(Enum):
    """What a link means for the deletion of its target."""

    OWNING = "owning"
    MEMBERSHIP = "membership"
    PLAIN = "plain"


@cache
def link_kind(kind: ObjectType, path: str) -> LinkKind:
    """The kind of the link at ``path``, written as `csproxy.core.indexes.link_paths` does."""
    if (kind.name, path) in OWNING_LINKS or path == kind.container:
        return LinkKind.OWNING
    if path == kind.tenant_path and is_in_tenants(kind):
        return LinkKind.OWNING
    if (kind.name, path) in WEAK_LINKS or _identifies_item(kind, path):
        return LinkKind.MEMBERSHIP
    return LinkKind.PLAIN


def _identifies_item(kind: ObjectType, path: str) -> bool:
    steps, names = split_path(path)
    attributes = dict(kind.attributes)
    for depth, step in enumerate(steps):
        attribute: Attribute = attributes[step]
        if attribute.kind is AttributeKind.LINK_LIST:
            return True
        if attribute.kind in (AttributeKind.STRUCT, AttributeKind.STRUCT_LIST):
            structure = SCHEMA.structures[str(attribute.target)]
            if attribute.kind is AttributeKind.STRUCT_LIST:
                rest = steps[depth + 1 :] or names
                return rest[0] in structure.key
            attributes = dict(structure.attributes)
    return False


def split_path(path: str) -> tuple[list[str], list[str]]:
    """The steps of a link's path, and the names in parentheses at its end (type and DBID)."""
    prefix, _, pair = path.partition("(")
    return [step for step in prefix.split(".") if step], [name for name in pair.rstrip(")").split(",") if name]


def owned_closure(
    root: ObjectId,
    *,
    referrers: Callable[[int, int], Iterable[tuple[int, int, str]]],
    members: Callable[[int], Iterable[ObjectId]],
    limit: int,
) -> list[ObjectId]:
    """``root`` and everything that belongs to it, directly or not; owned objects before their owners.

    ``members`` gives what a folder holds. Stops early with a list longer than ``limit``: the caller
    refuses it anyway.
    """
    order: list[ObjectId] = []
    seen = {root}
    stack: list[tuple[ObjectId, list[ObjectId]]] = [(root, _owned(root, referrers, members))]
    while stack:
        current, pending = stack[-1]
        if pending:
            child = pending.pop()
            if child not in seen:
                seen.add(child)
                if len(seen) > limit:
                    return [*order, *seen.difference(order)]
                stack.append((child, _owned(child, referrers, members)))
            continue
        stack.pop()
        order.append(current)
    return order


def _owned(
    owner: ObjectId,
    referrers: Callable[[int, int], Iterable[tuple[int, int, str]]],
    members: Callable[[int], Iterable[ObjectId]],
) -> list[ObjectId]:
    if owner[0] not in _owner_types():
        return []
    found = {
        (number, dbid)
        for number, dbid, path in referrers(*owner)
        if link_kind(SCHEMA.types[number], path) is LinkKind.OWNING
    }
    if owner[0] == FOLDER:
        found.update(members(owner[1]))
    return sorted(found, reverse=True)


@cache
def _owner_types() -> frozenset[int]:
    """Types whose objects can own others; nobody has to look for what the rest owns."""
    return frozenset({TENANT, FOLDER, _PERSON, *(container_type(kind).number for kind in SCHEMA.types.values())})


def without_link(kind: ObjectType, obj: dict[str, Any], path: str, target: ObjectId) -> dict[str, Any]:
    """A copy of ``obj`` without the list items (or the scalar) at ``path`` that lead to ``target``."""
    steps, names = split_path(path)
    return _without(dict(kind.attributes), obj, steps, names, target)


def _without(
    attributes: dict[str, Attribute], obj: dict[str, Any], steps: list[str], names: list[str], target: ObjectId
) -> dict[str, Any]:
    step, rest = steps[0], steps[1:]
    attribute = attributes[step]
    result = dict(obj)
    if attribute.kind is AttributeKind.STRUCT:
        inner = dict(SCHEMA.structures[str(attribute.target)].attributes)
        result[step] = _without(inner, obj[step], rest, names, target)
    elif attribute.kind is AttributeKind.LINK_LIST:
        result[step] = [dbid for dbid in obj[step] if dbid != target[1]]
    elif attribute.kind is AttributeKind.STRUCT_LIST:
        result[step] = [item for item in obj[step] if not _leads_to(item, rest, names, target)]
    else:
        result[step] = 0
    return result


def _leads_to(item: dict[str, Any], rest: list[str], names: list[str], target: ObjectId) -> bool:
    if names:
        number, dbid = item.get(names[0], 0), item.get(names[1], 0)
        if names[0] == "resourceType":  # a number of its own enumeration: it says what the DBID means
            number = SCHEMA.object_type(RESOURCE_TARGETS[number]).number if number in RESOURCE_TARGETS else 0
        return (number, dbid) == target
    return bool(item.get(rest[0], 0) == target[1])  # the object model has no structures in list items
