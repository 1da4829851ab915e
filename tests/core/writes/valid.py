"""Valid objects of every type, for property tests: random, but as the integrity rules want them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from desk import Desk
from hypothesis import strategies as st
from strategies import plain_objects

from csproxy.core.containers import FOLDER
from csproxy.core.model import SCHEMA, Attribute, AttributeKind, ObjectType
from csproxy.core.model.links import RESOURCE_TARGETS
from csproxy.core.paths import scalar_at, set_at
from csproxy.core.rules import LINKED_TYPES, ZERO_IS_A_VALUE, state_path

__all__ = ["World", "places", "valid_objects"]

OTHER_TENANT = "elsewhere"
_SERVER_TYPE = 107
"""A daemon's CfgAppType: that of prototype 97 in the well-known objects."""
_LISTS = (AttributeKind.STRUCT_LIST, AttributeKind.LINK_LIST)


class World:
    """A desk on which at least one object of each type lies, all of tenant Environment."""

    def __init__(self) -> None:
        self.desk = Desk()
        self._names = 0
        self._made: dict[int, list[int]] = {9: [self.application()], 20: [97], 7: [1], 22: [3]}
        for number in SCHEMA.types:
            self.some(number)
        self.tenant = self.desk.create("tenant", {"name": OTHER_TENANT})
        self.foreign = {number: self._abroad(number) for number in (1, 3, 4, 12, 13, 16, 18, 24, 25, 35)}

    def application(self) -> int:
        return self.desk.create("application", {"name": self.unique(), "appPrototypeDBID": 97})

    def some(self, number: int) -> list[int]:
        """DBIDs of objects of a type; made if there are none yet."""
        if number not in self._made:
            kind = SCHEMA.types[number]
            self._made[number] = [self.desk.create(kind.name, self.valid(kind, {})) for _ in range(2)]
        return self._made[number]

    def _abroad(self, number: int) -> int:
        """An object of a type in another tenant."""
        kind = SCHEMA.types[number]
        return self.desk.create(kind.name, {**self.valid(kind, {}), "tenantDBID": self.tenant})

    def full(self, kind: ObjectType) -> dict[str, Any]:
        """Raw material with every structure there, for `valid`."""
        return {name: {} for name, attribute in kind.attributes.items() if attribute.kind is AttributeKind.STRUCT}

    def unique(self) -> str:
        self._names += 1
        return f"n{self._names}"

    def valid(self, kind: ObjectType, raw: Mapping[str, Any]) -> dict[str, Any]:
        """``raw`` with everything put right that a rule would refuse."""
        obj = self._put_right(kind, kind.attributes, raw, "")
        for name, attribute in kind.attributes.items():
            if attribute.read_only:
                obj.pop(name, None)
        for key in kind.unique_keys:
            obj = self._unique(kind, obj, key)
        path = state_path(kind)
        if path is not None and scalar_at(obj, path) not in (1, 2):
            obj = set_at(obj, path, 1)
        special = {
            "CfgPerson": self._person,
            "CfgApplication": self._application,
            "CfgFolder": self._folder,
            "CfgGVPIVRProfile": lambda made: {**made, "tenantDBID": 1},
        }.get(kind.name)
        return special(obj) if special else obj

    def _unique(self, kind: ObjectType, obj: dict[str, Any], key: tuple[str, ...]) -> dict[str, Any]:
        if key[-1] == "name" and "number" in key:
            return {**obj, "number": self.unique()}
        return set_at(obj, "name" if key[-1] == "type" else key[-1], self.unique())

    def _put_right(
        self, kind: ObjectType, attributes: Mapping[str, Attribute], raw: Mapping[str, Any], prefix: str
    ) -> dict[str, Any]:
        result = dict(raw)
        for name, attribute in attributes.items():
            value = self._value(kind, attribute, raw.get(name), prefix + name)
            if value is not None:
                result[name] = value
        if "resourceType" in attributes and "objectDBID" in attributes:
            target = RESOURCE_TARGETS.get(result["resourceType"])
            result["objectDBID"] = self.some(SCHEMA.object_type(target).number)[0] if target else 0
        for dbid_name, type_name in (("DBID", "type"), ("groupDBID", "groupType")):
            if dbid_name in attributes and type_name in attributes and (prefix or dbid_name != "DBID"):
                fitting = LINKED_TYPES.get((kind.name, prefix + dbid_name))
                number = sorted(fitting)[result.get(dbid_name, 0) % len(fitting)] if fitting else 3
                result |= {type_name: number, dbid_name: self.some(number)[0]}
        return result

    def _value(self, kind: ObjectType, attribute: Attribute, value: Any, path: str) -> Any:
        mandatory = attribute.mandatory or path in (kind.tenant_path, kind.container)
        match attribute.kind:
            case AttributeKind.LINK if value or mandatory or path == "groupDBID":
                return self._link(kind, attribute, value or 0)
            case AttributeKind.LINK_LIST if value:
                return list(dict.fromkeys(self._link(kind, attribute, item) for item in value))
            case AttributeKind.TEXT if mandatory and not value:
                return "x"
            case AttributeKind.ENUM if mandatory and not value and attribute.target not in ZERO_IS_A_VALUE:
                members = SCHEMA.enumerations[attribute.target or ""]
                return next(int(member) for member in members if member)
            case AttributeKind.STRUCT if value is not None or mandatory:
                inner = SCHEMA.structures[attribute.target or ""].attributes
                return self._put_right(kind, inner, value or {}, path + ".")
            case AttributeKind.STRUCT_LIST if value:
                structure = SCHEMA.structures[attribute.target or ""]
                items = [self._put_right(kind, structure.attributes, item, path + ".") for item in value]
                return list({tuple(item.get(name) or None for name in structure.key): item for item in items}.values())
        return value

    def _link(self, kind: ObjectType, attribute: Attribute, value: int) -> int:
        target = SCHEMA.object_type(attribute.target or "").number
        if target == 7:
            return 1
        found = self.some(target)
        return found[value % len(found)]

    def _person(self, obj: dict[str, Any]) -> dict[str, Any]:
        return {**obj, "userName": self.unique(), "employeeID": self.unique()}

    def _application(self, obj: dict[str, Any]) -> dict[str, Any]:
        result = {**obj, "type": _SERVER_TYPE, "appPrototypeDBID": 97}
        if result.get("serverInfo"):
            result["serverInfo"] = {**result["serverInfo"], "backupServerDBID": self._made[9][0]}
        return result

    def _folder(self, obj: dict[str, Any]) -> dict[str, Any]:
        for name in ("parentID", "ownerID", "type", "objectIDs"):
            obj.pop(name, None)
        return {**obj, "parentID": {"DBID": 3, "type": FOLDER}}


def valid_objects(world: World, kind: ObjectType) -> st.SearchStrategy[dict[str, Any]]:
    """Random objects of a type that the master accepts in this world."""
    return plain_objects(kind).map(lambda raw: world.valid(kind, raw))


def places(attributes: Mapping[str, Attribute], prefix: str = "") -> Iterator[tuple[str, Attribute]]:
    """Every attribute outside lists, with its path."""
    for name, attribute in attributes.items():
        yield prefix + name, attribute
        if attribute.kind is AttributeKind.STRUCT:
            yield from places(SCHEMA.structures[attribute.target or ""].attributes, f"{prefix}{name}.")
