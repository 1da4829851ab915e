"""What the server sets itself when an object is created.

Nothing is checked here. Sources: the published rules (*server-set defaults*), the read-only flags
of the model, and recorded imports.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Final

from csproxy.core.containers import ENVIRONMENT, is_in_tenants
from csproxy.core.draft import Draft
from csproxy.core.integrity import tenant_of
from csproxy.core.model.applications import is_daemon
from csproxy.core.model.enumerations import CfgFlag, CfgObjectState, CfgObjectType, CfgStartupType
from csproxy.core.model.schema import SCHEMA, ObjectType
from csproxy.core.paths import scalar_at, set_at
from csproxy.core.rules import GIVEN_AT_CREATION, state_path

__all__ = ["with_defaults"]

_FALSE: Final = int(CfgFlag.CFGFalse)
_TRUE: Final = int(CfgFlag.CFGTrue)
_PROTOTYPE: Final = int(CfgObjectType.CFGAppPrototype)
_PHYSICAL_SWITCH: Final = int(CfgObjectType.CFGPhysicalSwitch)


def with_defaults(draft: Draft, kind: ObjectType, given: Mapping[str, Any], *, dbid: int) -> dict[str, Any]:
    """The new object as it will be stored: ``given`` with everything that the server sets."""
    refused, flags = _rules_of(kind)
    obj: dict[str, Any] = {"DBID": dbid}
    obj.update({name: value for name, value in given.items() if name not in refused})
    for name in flags:
        if not obj.get(name):
            obj[name] = _FALSE
    if isinstance(obj.get("groupInfo"), dict):
        obj["groupInfo"] = {**obj["groupInfo"], "DBID": dbid}
        obj = _with_state(kind, obj)
    elif "groupInfo" not in kind.attributes:
        obj = _with_state(kind, obj)
    obj = _with_tenant(draft, kind, obj)
    special = _SPECIAL.get(kind.name)
    return special(draft, obj) if special else obj


@cache
def _rules_of(kind: ObjectType) -> tuple[frozenset[str], tuple[str, ...]]:
    """The attributes that a creation cannot set, and flags that are false unless it does."""
    allowed = GIVEN_AT_CREATION.get(kind.name, frozenset())
    refused = {each.name for each in kind.attributes.values() if each.read_only and each.name not in allowed}
    flags = [each.name for each in kind.attributes.values() if each.mandatory and each.target == "CfgFlag"]
    return frozenset({"DBID", *refused}), tuple(flags)


def _with_state(kind: ObjectType, obj: dict[str, Any]) -> dict[str, Any]:
    path = state_path(kind)
    if path is None or scalar_at(obj, path):
        return obj
    return set_at(obj, path, int(CfgObjectState.CFGEnabled))


def _with_tenant(draft: Draft, kind: ObjectType, obj: dict[str, Any]) -> dict[str, Any]:
    """The tenant comes from the container; else, where it is not mandatory, it is Environment."""
    if not is_in_tenants(kind) or kind.tenant_path is None or "." in kind.tenant_path:
        return obj
    attribute = kind.attributes[kind.tenant_path]
    source = kind.container or ("switchDBID" if kind.name == "CfgVoicePrompt" else None)
    if source is not None and (attribute.read_only or not obj.get(kind.tenant_path)):
        owner_kind = SCHEMA.object_type(str(kind.attributes[source].target))
        owner = draft.get(owner_kind.number, obj.get(source, 0))
        if owner is not None:
            return {**obj, kind.tenant_path: tenant_of(owner_kind, owner)}
    if not obj.get(kind.tenant_path) and not attribute.mandatory and kind.container is None:
        return {**obj, kind.tenant_path: ENVIRONMENT}
    return obj


def _person(draft: Draft, obj: dict[str, Any]) -> dict[str, Any]:
    """isAgent says whether there is agent information; giving isAgent alone makes an empty one."""
    if obj.get("isAgent") == _TRUE and obj.get("agentInfo") is None:
        obj = {**obj, "agentInfo": {}}
    return {**obj, "isAgent": _FALSE if obj.get("agentInfo") is None else _TRUE}


def _application(draft: Draft, obj: dict[str, Any]) -> dict[str, Any]:
    """Type and version come from the prototype; a daemon has server information."""
    prototype = draft.get(_PROTOTYPE, obj.get("appPrototypeDBID", 0)) or {}
    result = dict(obj)
    for name in ("type", "version"):
        if not result.get(name) and prototype.get(name):
            result[name] = prototype[name]
    daemon = is_daemon(result.get("type", 0))
    result["isServer"] = _TRUE if daemon else _FALSE
    if daemon:
        if result.get("serverInfo") is None:
            result["serverInfo"] = {}
        result["isPrimary"] = result.get("isPrimary") or _TRUE
        result["startupType"] = result.get("startupType") or int(CfgStartupType.CFGSUTAutomatic)
    return result


def _switch(draft: Draft, obj: dict[str, Any]) -> dict[str, Any]:
    office = draft.get(_PHYSICAL_SWITCH, obj.get("physSwitchDBID", 0)) or {}
    return {**obj, "type": office.get("type", 0)}


def _tenant(draft: Draft, obj: dict[str, Any]) -> dict[str, Any]:
    return {**obj, "isServiceProvider": _FALSE}


_SPECIAL: Final[dict[str, Callable[[Draft, dict[str, Any]], dict[str, Any]]]] = {
    "CfgPerson": _person,
    "CfgApplication": _application,
    "CfgSwitch": _switch,
    "CfgTenant": _tenant,
}
