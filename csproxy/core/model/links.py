"""Which objects an object refers to.

References are the attributes that the schema calls links, and the pairs of a DBID with a type:
the structures {DBID, type}, ``groupDBID`` with ``groupType``, and resources, whose resource type
says what the DBID means. For resources only those types are followed whose name names an object
type; that is our reading. A role's members carry no type in the published model and are not
followed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, NamedTuple

from csproxy.core.model.enumerations import CfgResourceType
from csproxy.core.model.schema import SCHEMA, Attribute, AttributeKind, ObjectType

__all__ = ["Reference", "references"]


class Reference(NamedTuple):
    """One link: where it is, what type it leads to (0: the object does not say) and which object."""

    path: str
    target: int
    dbid: int


RESOURCE_TARGETS: Mapping[int, str] = {
    CfgResourceType.CFGRTTimeZone: "CfgTimeZone",
    CfgResourceType.CFGRTTaskGVPIVRProfile: "CfgGVPIVRProfile",
    CfgResourceType.CFGRTTaskGVPCustomer: "CfgGVPCustomer",
    CfgResourceType.CFGRTTaskSwitch: "CfgSwitch",
    CfgResourceType.CFGRTTaskHost: "CfgHost",
    CfgResourceType.CFGRTEnumerator: "CfgEnumerator",
    CfgResourceType.CFGRTEnumeratorValue: "CfgEnumeratorValue",
    CfgResourceType.CFGRTScript: "CfgScript",
    CfgResourceType.CFGRTApplication: "CfgApplication",
}

PAIRS = (("DBID", "type"), ("groupDBID", "groupType"))
"""Attributes that hold a DBID, and beside it the number of its type."""

_Follow = Callable[[Mapping[str, Any], list[Reference]], None]
"""Adds the references in an object or structure to a list."""


def references(object_type: ObjectType, obj: Mapping[str, Any]) -> list[Reference]:
    """Every reference in ``obj`` (plain form, checked or from a server), in the order of the schema.

    A DBID of 0 is no reference. The path is that of the attribute with the DBID:
    ``agentInfo.skillLevels.skillDBID``, ``ownerID.DBID``.
    """
    found: list[Reference] = []
    for follow in _plan(object_type):
        follow(obj, found)
    return found


@cache
def _plan(object_type: ObjectType) -> tuple[_Follow, ...]:
    """What has to be looked at in an object of this type; an object's own DBID is no reference."""
    return _compile(object_type.attributes, "", pairs=PAIRS[1:])


def _compile(
    attributes: Mapping[str, Attribute], prefix: str, *, pairs: tuple[tuple[str, str], ...] = PAIRS
) -> tuple[_Follow, ...]:
    follows: list[_Follow] = []
    for name, attribute in attributes.items():
        path = f"{prefix}{name}"
        match attribute.kind:
            case AttributeKind.LINK:
                follows.append(_link(name, path, SCHEMA.object_type(attribute.target or "").number))
            case AttributeKind.LINK_LIST:
                follows.append(_links(name, path, SCHEMA.object_type(attribute.target or "").number))
            case AttributeKind.STRUCT | AttributeKind.STRUCT_LIST:
                inner = _compile_structure(attribute.target or "", f"{path}.")
                if inner:
                    follows.append(_nested(name, inner))
            case _:
                follows += [_pair(dbid, kind, path) for dbid, kind in pairs if name == dbid and kind in attributes]
    return tuple(follows)


def _compile_structure(name: str, prefix: str) -> tuple[_Follow, ...]:
    inner = _compile(SCHEMA.structures[name].attributes, prefix)
    return (*inner, _resource(f"{prefix}objectDBID")) if name == "CfgObjectResource" else inner


def _link(name: str, path: str, target: int) -> _Follow:
    def follow(holder: Mapping[str, Any], found: list[Reference]) -> None:
        if dbid := holder.get(name):
            found.append(Reference(path, target, dbid))

    return follow


def _links(name: str, path: str, target: int) -> _Follow:
    def follow(holder: Mapping[str, Any], found: list[Reference]) -> None:
        found.extend([Reference(path, target, dbid) for dbid in holder.get(name) or ()])

    return follow


def _pair(dbid_name: str, type_name: str, path: str) -> _Follow:
    def follow(holder: Mapping[str, Any], found: list[Reference]) -> None:
        if dbid := holder.get(dbid_name):
            found.append(Reference(path, holder.get(type_name, 0), dbid))

    return follow


def _resource(path: str) -> _Follow:
    targets = {number: SCHEMA.object_type(name).number for number, name in RESOURCE_TARGETS.items()}

    def follow(holder: Mapping[str, Any], found: list[Reference]) -> None:
        dbid, target = holder.get("objectDBID"), targets.get(holder.get("resourceType", 0))
        if dbid and target:
            found.append(Reference(path, target, dbid))

    return follow


def _nested(name: str, inner: tuple[_Follow, ...]) -> _Follow:
    def follow(holder: Mapping[str, Any], found: list[Reference]) -> None:
        value = holder.get(name)
        for item in value if isinstance(value, list) else (value,) if value else ():
            for step in inner:
                step(item, found)

    return follow
