"""Which columns a table of objects shows: a few that identify the object, not all thirty."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from csproxy.core.model import SCHEMA, AttributeKind, ObjectType
from csproxy.daemon.plain import object_to_json

__all__ = ["NUMERIC_COLUMNS", "object_columns", "object_row"]

NUMERIC_COLUMNS = frozenset({"DBID", "Members", "Port", "Switch", "Objects"})

_Cell = Callable[[Mapping[str, Any]], Any]


def _at(path: str) -> _Cell:
    """The value at a dotted path, empty if it is not there."""
    names = path.split(".")

    def cell(value: Mapping[str, Any]) -> Any:
        found: Any = value
        for name in names:
            found = found.get(name) if isinstance(found, Mapping) else None
        return "" if found is None else found

    return cell


def _size(path: str) -> _Cell:
    at = _at(path)
    return lambda value: len(at(value) or ())


def _full_name(value: Mapping[str, Any]) -> str:
    return " ".join(str(value[name]) for name in ("firstName", "lastName") if value.get(name))


_SPECIAL: dict[str, tuple[tuple[str, _Cell], ...]] = {
    "CfgPerson": (
        ("User name", _at("userName")),
        ("Name", _full_name),
        ("Employee ID", _at("employeeID")),
        ("Agent", _at("isAgent")),
    ),
    "CfgApplication": (
        ("Name", _at("name")),
        ("Type", _at("type")),
        ("Version", _at("version")),
        ("Port", _at("serverInfo.port")),
    ),
    "CfgDN": (("Number", _at("number")), ("Type", _at("type")), ("Switch", _at("switchDBID")), ("Name", _at("name"))),
    "CfgAgentLogin": (("Login code", _at("loginCode")), ("Switch", _at("switchDBID"))),
    "CfgHost": (("Name", _at("name")), ("IP address", _at("IPaddress")), ("Type", _at("type"))),
    "CfgAgentGroup": (("Name", _at("groupInfo.name")), ("Members", _size("agentDBIDs"))),
    "CfgPlaceGroup": (("Name", _at("groupInfo.name")), ("Members", _size("placeDBIDs"))),
    "CfgDNGroup": (("Name", _at("groupInfo.name")), ("Type", _at("type")), ("Members", _size("DNs"))),
    "CfgAccessGroup": (("Name", _at("groupInfo.name")), ("Members", _size("memberIDs"))),
    "CfgFolder": (("Name", _at("name")), ("Of", _at("type")), ("Objects", _size("objectIDs"))),
}


def object_columns(type_: ObjectType) -> list[str]:
    """The column titles: DBID, what identifies this type, tenant, state, folder."""
    return [title for title, _ in _cells(type_)]


def object_row(
    type_: ObjectType, stored: Mapping[str, Any], *, tenants: Mapping[int, str], path: Sequence[str] | None
) -> list[str]:
    """The cells of one object; ``tenants`` maps DBIDs to names, ``path`` is the folder path, outermost first."""
    plain = object_to_json(type_, stored)
    row = []
    for title, cell in _cells(type_):
        value = cell(plain)
        if title == "Tenant":
            dbids = value if isinstance(value, list) else [value]
            value = ", ".join(str(tenants.get(dbid, dbid)) for dbid in dbids)
        elif title == "Folder":
            value = " / ".join(path or ())
        elif isinstance(value, str) and value.startswith("CFG"):
            value = _plain_word(value)
        row.append(str(value))
    return row


def _cells(type_: ObjectType) -> list[tuple[str, _Cell]]:
    cells: list[tuple[str, _Cell]] = [("DBID", _at("DBID"))]
    special = _SPECIAL.get(type_.name)
    if special is not None:
        cells.extend(special)
    else:
        cells.append(("Name", _at(type_.name_path)))
        if "type" in type_.attributes and type_.attributes["type"].kind is AttributeKind.ENUM:
            cells.append(("Type", _at("type")))
    if type_.tenant_path is not None:
        cells.append(("Tenant", _at(type_.tenant_path)))
    state = "groupInfo.state" if "groupInfo" in type_.attributes else "state"
    if state.partition(".")[0] in type_.attributes:
        cells.append(("State", _at(state)))
    cells.append(("Folder", _at("")))
    return cells


def _plain_word(name: str) -> str:
    """``CFGEnabled`` → ``enabled``, ``CFGTrue`` → ``yes``; other names lose their prefix only."""
    words = {"CFGTrue": "yes", "CFGFalse": "no", "CFGEnabled": "enabled", "CFGDisabled": "disabled"}
    return words.get(name, name.removeprefix("CFG"))


def tenant_names(tenants: Sequence[Mapping[str, Any]]) -> dict[int, str]:
    """DBID → name, from decoded Tenant objects."""
    return {int(tenant["DBID"]): str(tenant.get("name", "")) for tenant in tenants}


TENANT = SCHEMA.object_type("CfgTenant")
