"""To which tenants an object belongs: what subscriptions by tenant are matched with.

An object with a tenant attribute belongs to that tenant (an Application to all that it lists); a
folder belongs where its owner does; a tenant belongs to itself. Everything else is Environment's,
the tenant with DBID 1.

What belongs to one tenant stays there; only objects that tenants share (Applications, Services) move.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Final, cast

from csproxy.core import codec
from csproxy.core.changes import Action, Change
from csproxy.core.containers import is_in_tenants
from csproxy.core.folders import FOLDER_TYPE
from csproxy.core.model import SCHEMA
from csproxy.core.model.schema import AttributeKind
from csproxy.core.records import TYPE_NUMBERS, pair_of, reader
from csproxy.core.security_records import STORED_TYPES

__all__ = ["ENVIRONMENT", "Lookup", "deciding_attributes", "tenants_of", "tenants_of_many", "tenants_through"]

ENVIRONMENT: Final = (1,)
_TENANT_TYPE: Final = 7

Lookup = Callable[[int, int], bytes | None]


def tenants_of(type_number: int, dbid: int, lookup: Lookup) -> tuple[int, ...]:
    """The tenants of an object, ascending; ``lookup(type, dbid)`` gives stored objects.

    An object that is not there, or whose owner is not, counts as Environment's.
    """
    if type_number == _TENANT_TYPE:
        return (dbid,)
    stored = lookup(type_number, dbid)
    if stored is None:
        return ENVIRONMENT
    if type_number == FOLDER_TYPE:
        return _of_folder(stored, lookup)
    object_type = STORED_TYPES[type_number]
    if object_type.tenant_path is None:
        return ENVIRONMENT
    wanted = reader(type_number, (object_type.tenant_path, object_type.container or "DBID"))
    record = wanted.decode(stored)
    tenants = wanted.columns[0].values(record)
    if tenants:
        return tuple(sorted(cast("frozenset[int]", tenants)))
    if object_type.container is None:
        return ENVIRONMENT
    container = TYPE_NUMBERS[str(object_type.attributes[object_type.container].target)]
    return tenants_of(container, wanted.columns[1].read(record), lookup)


@cache
def deciding_attributes(type_number: int) -> frozenset[str]:
    """The attributes of a type that decide to which tenants an object belongs."""
    if type_number == FOLDER_TYPE:
        return frozenset(("ownerID",))
    kind = STORED_TYPES[type_number]
    return frozenset(path.partition(".")[0] for path in (kind.tenant_path, kind.container) if path is not None)


def tenants_of_many(
    type_number: int, dbids: Sequence[int], objects: Sequence[bytes], lookup: Lookup
) -> list[tuple[int, ...]]:
    """The tenants of each of many objects of a type, decoded together: 0.6 µs each where no owner has to be asked."""
    path = STORED_TYPES[type_number].tenant_path
    if path is None or type_number in (_TENANT_TYPE, FOLDER_TYPE):
        return [tenants_of(type_number, dbid, lookup) for dbid in dbids]
    wanted = reader(type_number, (path,))
    (column,) = wanted.columns
    return [
        tuple(sorted(cast("frozenset[int]", tenants)))
        if (tenants := column.values(record))
        else tenants_of(type_number, dbid, lookup)
        for dbid, record in zip(dbids, wanted.decode_many(objects), strict=True)
    ]


def tenants_through(transactions: Sequence[Sequence[Change]], lookup: Lookup) -> list[list[tuple[int, ...]]]:
    """The tenants that each change of a history concerned: those of its object before it and after it.

    ``transactions`` are oldest first; ``lookup`` gives objects as they are after the last of them, and
    those that are gone as they were in the end. Of the latest transactions only, when an earlier one
    does not tell to which tenant its object belonged before.
    """
    shared: dict[tuple[int, int], set[int]] = {}

    def undo(change: Change) -> tuple[int, ...] | None:
        kind = STORED_TYPES[change.type]
        if kind.tenant_path is None or is_in_tenants(kind):
            return tenants_of(change.type, change.dbid, lookup)
        key = change.type, change.dbid
        after = shared[key] if key in shared else _shared_by(kind.tenant_path, lookup(*key))
        before = _before(change, kind.tenant_path, after)
        if before is None:
            return None
        shared[key] = before
        return tuple(sorted({*(after or ENVIRONMENT), *(before or ENVIRONMENT)}))

    found: list[list[tuple[int, ...]]] = []
    for transaction in reversed(transactions):
        tenants = [undo(change) for change in reversed(transaction)]
        if None in tenants:
            break
        found.append(cast("list[tuple[int, ...]]", tenants[::-1]))
    return found[::-1]


def _shared_by(path: str, stored: bytes | None) -> set[int]:
    """What a shared object's tenant attribute holds: one DBID or a list of them."""
    value = codec.decode_map(stored).get(path) if stored is not None else None
    return set(value) if isinstance(value, list) else {value} if value else set()


def _before(change: Change, path: str, after: set[int]) -> set[int] | None:
    """A shared object's tenants before a change that left it to ``after``; None if the change does not tell."""
    if change.action is not Action.UPDATED:
        return after
    if change.delta is None:
        return None
    if path not in change.delta:
        return after
    if SCHEMA.types[change.type].attributes[path].kind is not AttributeKind.LINK_LIST:
        return None  # a delta holds the new value alone
    parts: dict[str, Any] = change.delta[path]
    return (after - set(parts.get("added", ()))) | set(parts.get("deleted", ()))


def _of_folder(stored: bytes, lookup: Lookup) -> tuple[int, ...]:
    owner = reader(FOLDER_TYPE, ("ownerID(type,DBID)",))
    pair = owner.columns[0].read(owner.decode(stored))
    owner_type, owner_dbid = pair_of(pair)
    # An owner is a tenant, switch, IVR or enumerator, never a folder: so no chain can go round.
    if owner_type not in SCHEMA.types or owner_type == FOLDER_TYPE:
        return ENVIRONMENT
    return tenants_of(owner_type, owner_dbid, lookup)
