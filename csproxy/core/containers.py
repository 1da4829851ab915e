"""Containers and their default folders: read from the schema, so that no type is treated by hand.

A container is a tenant, or an object that others name in their ``container`` attribute (the switch
of a DN, the IVR of a port, the enumerator of a value, the campaign of a campaign group). For each
type that it can hold a container has one default folder at the top, named by the type; an object
that is created without a folder goes there.

Types without a tenant (hosts, applications, prototypes, ...) have their default folder in the
tenant Environment only.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final

from csproxy.core.model.enumerations import CfgFolderClass, CfgObjectState, CfgObjectType
from csproxy.core.model.schema import SCHEMA, AttributeKind, ObjectType

__all__ = ["ENVIRONMENT", "FOLDER", "TENANT", "container_type", "default_folder", "held_types", "is_in_tenants"]

ENVIRONMENT: Final = 1
"""DBID of the tenant Environment, to which everything without a tenant belongs."""

TENANT: Final = int(CfgObjectType.CFGTenant)
FOLDER: Final = int(CfgObjectType.CFGFolder)
_LAST_LOGIN: Final = int(CfgObjectType.CFGPersonLastLogin)

_NEVER_IN_FOLDERS: Final = frozenset({FOLDER, _LAST_LOGIN})
"""Folders stand in folders by their parent, and last-login records belong to their Person."""

_SHARED: Final = frozenset({int(CfgObjectType.CFGApplication), int(CfgObjectType.CFGService)})
"""Types with a tenant attribute that says who may use the object, not who owns it."""


def is_in_tenants(kind: ObjectType) -> bool:
    """Whether each object of this type belongs to one tenant."""
    return kind.tenant_path is not None and kind.number not in _SHARED


@cache
def container_type(kind: ObjectType) -> ObjectType:
    """The type of the objects that hold ``kind``: a tenant unless the type names a container."""
    if kind.container is None:
        return SCHEMA.types[TENANT]
    attribute = kind.attributes[kind.container]
    assert attribute.kind is AttributeKind.LINK
    return SCHEMA.object_type(attribute.target or "")


@cache
def held_types(owner: ObjectType, *, environment: bool = False) -> tuple[ObjectType, ...]:
    """The types for which a new object of type ``owner`` gets a default folder, by number.

    ``environment`` is for the tenant Environment, which also holds what has no tenant.
    """
    return tuple(
        kind
        for kind in SCHEMA.types.values()
        if kind.number not in _NEVER_IN_FOLDERS
        and container_type(kind) is owner
        and (owner.number != TENANT or environment or is_in_tenants(kind))
    )


def default_folder(kind: ObjectType, *, owner_type: int, owner_dbid: int) -> dict[str, Any]:
    """The default folder of a container for ``kind``, as a plain object without DBID."""
    return {
        "name": kind.folder_name,
        "type": kind.number,
        "ownerID": {"DBID": owner_dbid, "type": owner_type},
        "state": int(CfgObjectState.CFGEnabled),
        "folderClass": int(CfgFolderClass.CFGFCDefault),
    }
