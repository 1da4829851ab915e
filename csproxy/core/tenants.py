"""To which tenants an object belongs: what subscriptions by tenant are matched with.

An object with a tenant attribute belongs to that tenant (an Application to all that it lists); a
folder belongs where its owner does; a tenant belongs to itself. Everything else is Environment's,
the tenant with DBID 1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, cast

from csproxy.core.folders import FOLDER_TYPE
from csproxy.core.model import SCHEMA
from csproxy.core.records import PAIR_SHIFT, TYPE_NUMBERS, reader

__all__ = ["ENVIRONMENT", "tenants_of"]

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
    object_type = SCHEMA.types[type_number]
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


def _of_folder(stored: bytes, lookup: Lookup) -> tuple[int, ...]:
    owner = reader(FOLDER_TYPE, ("ownerID(type,DBID)",))
    pair = owner.columns[0].read(owner.decode(stored))
    owner_type, owner_dbid = pair >> PAIR_SHIFT, pair & (1 << PAIR_SHIFT) - 1
    # An owner is a tenant, switch, IVR or enumerator, never a folder: so no chain can go round.
    if owner_type not in SCHEMA.types or owner_type == FOLDER_TYPE:
        return ENVIRONMENT
    return tenants_of(owner_type, owner_dbid, lookup)
