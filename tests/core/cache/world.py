"""A configuration as plain dicts, and what filters mean on it, evaluated the slow and obvious way."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from csproxy.core.cache import ConfigurationCache
from csproxy.core.changes import Action, Change, Position
from csproxy.core.filter_keys import FILTER_KEYS
from csproxy.core.filter_rules import (
    Absent,
    Account,
    Collected,
    Containing,
    Equal,
    FilterKey,
    InFolder,
    NotEnvironment,
    Option,
    PairEqual,
    SameHostAndPort,
    Section,
    TenantList,
    Through,
    TopFolder,
    Unreferenced,
    ValueKind,
)
from csproxy.core.filters import Part, Selection
from csproxy.core.loading import CacheBuilder
from csproxy.core.model import SCHEMA, Attribute, AttributeKind, ObjectType
from csproxy.core.model.delta import canonical, encode_object
from csproxy.core.model.values import values

TENANT, PERSON, PLACE, DN, SWITCH, APPLICATION, FOLDER = 7, 3, 4, 2, 1, 9, 22
AGENT_GROUP, AGENT_LOGIN, SCRIPT, ROLE, IVR_PORT, ACCESS_GROUP = 5, 15, 12, 43, 32, 21
NUMBER_OF = {object_type.name: number for number, object_type in SCHEMA.types.items()}

_TEXTS = ("", "a", "A", "b", "7000", "default")


@dataclass
class World:
    """type number → DBID → (object in plain form, folder DBID)."""

    objects: dict[int, dict[int, tuple[dict[str, Any], int]]] = field(
        default_factory=lambda: {number: {} for number in SCHEMA.types}
    )

    def copy(self) -> World:
        return World({number: dict(objects) for number, objects in self.objects.items()})

    def put(self, number: int, obj: Mapping[str, Any], folder: int = 0) -> None:
        plain = canonical(SCHEMA.types[number], obj)
        self.objects[number][plain["DBID"]] = (plain, folder)

    def get(self, number: int, dbid: int) -> dict[str, Any] | None:
        found = self.objects.get(number, {}).get(dbid)
        return found and found[0]

    def folder(self, number: int, dbid: int) -> int:
        found = self.objects.get(number, {}).get(dbid)
        return found[1] if found else 0

    def stored(self, number: int, dbid: int) -> bytes:
        return encode_object(SCHEMA.types[number], self.objects[number][dbid][0])

    def members(self, folder: int) -> list[tuple[int, int]]:
        return sorted(
            (number, dbid)
            for number in self.objects
            for dbid in self.objects[number]
            if self.folder(number, dbid) == folder
        )

    def composed(self, number: int, dbid: int) -> dict[str, Any]:
        obj = dict(self.objects[number][dbid][0])
        if number == FOLDER and (members := self.members(dbid)):
            obj["objectIDs"] = [{"DBID": member, "type": kind} for kind, member in members]
        return obj

    def cache(
        self, previous: ConfigurationCache | None = None, *, position: Position | None = None
    ) -> ConfigurationCache:
        return self.builder(previous).finish(position or Position(1, 1))

    def builder(self, previous: ConfigurationCache | None = None) -> CacheBuilder:
        builder = CacheBuilder(previous)
        for number, objects in self.objects.items():
            builder.add(
                number, [self.stored(number, dbid) for dbid in objects], [folder for _, folder in objects.values()]
            )
        return builder

    # --- filters ----------------------------------------------------------------------------

    def select(self, number: int, filter_values: Mapping[str, Any]) -> list[int]:
        """The DBIDs that fit a valid filter, ascending."""
        if "dbid" in filter_values:
            return [filter_values["dbid"]] if filter_values["dbid"] in self.objects[number] else []
        return sorted(
            dbid
            for dbid in self.objects[number]
            if all(
                self._fits(number, dbid, FILTER_KEYS[number][name], value, filter_values)
                for name, value in filter_values.items()
            )
        )

    def _fits(self, number: int, dbid: int, key: FilterKey, value: Any, whole: Mapping[str, Any]) -> bool:
        obj = self.objects[number][dbid][0]
        if key.kind is ValueKind.SWITCH and not isinstance(key.rule, NotEnvironment) and not value:
            return True
        if key.kind is ValueKind.FLAG:
            assert isinstance(key.rule, Equal)
            flag = (values(obj, key.rule.paths[0]) or [0])[0]
            return flag == 2 if value is True or (value == 2 and value is not False) else flag in (0, 1)
        fold: Callable[[Any], Any] = lambda v: v.casefold() if isinstance(v, str) else v  # noqa: E731
        same = (lambda a, b: fold(a) == fold(b)) if whole.get("cmp_insensitive") else (lambda a, b: a == b)
        match key.rule:
            case Option():
                return True
            case Equal(paths):
                wanted = str(value) if key.kind is ValueKind.NUMERAL else value
                found = [v for path in paths for v in values(obj, path) if v]
                return any(same(v, wanted) for v in found) if wanted else not found
            case PairEqual(path, target):
                pairs = self._pairs(obj, path)
                return bool(value) and (NUMBER_OF[target], value) in pairs
            case TenantList(path):
                return value in (values(obj, path) or [1])
            case Absent(path):
                return not any(values(obj, path))
            case Collected(sources):
                return any(
                    dbid in values(owner, source.take)
                    for source in sources
                    for owner_dbid, (owner, _) in self.objects[NUMBER_OF[source.type_name]].items()
                    if value
                    and (owner_dbid == value if source.where == "DBID" else value in values(owner, source.where))
                )
            case Through(path, type_name, where):
                targets = self.objects[NUMBER_OF[type_name]]
                return bool(value) and any(
                    target in targets and value in values(targets[target][0], where) for target in values(obj, path)
                )
            case Unreferenced(type_name, path, only_path, only):
                referred = {v for other, _ in self.objects[NUMBER_OF[type_name]].values() for v in values(other, path)}
                return dbid not in referred and (not only or bool(set(values(obj, only_path)) & set(only)))
            case InFolder():
                return bool(value) and self.folder(number, dbid) == value
            case Containing(partner):
                kind, member = (whole[partner], value) if key.name == "object_dbid" else (value, whole[partner])
                return self.folder(kind, member) == dbid
            case TopFolder():
                return obj.get("parentID", {}).get("type") != FOLDER
            case SameHostAndPort():
                return any(
                    self._addresses(obj) & self._addresses(other)
                    for other_dbid, (other, _) in self.objects[APPLICATION].items()
                    if other_dbid != dbid
                )
            case NotEnvironment():
                return bool(value) or dbid != 1
            case Account(present):
                return bool(value == present)
            case Section(path):
                return any(same(value, name) for name in (values(obj, path) or [{}])[0])
        raise AssertionError(key)

    @staticmethod
    def _pairs(obj: Mapping[str, Any], path: str) -> set[tuple[int, int]]:
        prefix = path.partition("(")[0]
        return {(item.get("type", 0), item.get("DBID", 0)) for item in values(obj, prefix)}

    @staticmethod
    def _addresses(obj: Mapping[str, Any]) -> set[tuple[int, str]]:
        host = (values(obj, "serverInfo.hostDBID") or [0])[0]
        ports = [*values(obj, "serverInfo.port"), *values(obj, "portInfos.port")]
        return {(host, port) for port in ports if host and port}


def random_object(rng: random.Random, object_type: ObjectType, dbid: int) -> dict[str, Any]:
    """An object whose attributes have few different values, so that objects share them."""
    obj = _random_map(rng, object_type.attributes)
    obj.pop("objectIDs", None)
    return {**obj, "DBID": dbid}


def random_filter(rng: random.Random, number: int, *, keys: int) -> dict[str, Any]:
    """A valid filter with up to ``keys`` keys."""
    known = [key for key in FILTER_KEYS[number].values() if key.name != "dbid"]
    chosen = rng.sample(known, min(keys, len(known)))
    found = {key.name: random_value(rng, key) for key in chosen}
    for key in chosen:
        if isinstance(key.rule, Containing):
            partner = FILTER_KEYS[number][key.rule.partner]
            found.setdefault(partner.name, random_value(rng, partner))
    return found


def random_value(rng: random.Random, key: FilterKey) -> Any:
    choices: dict[ValueKind, Iterable[Any]] = {
        ValueKind.INT: (0, 1, 2, 3, 4, 98),
        ValueKind.TEXT: _TEXTS,
        ValueKind.NUMERAL: (7000, "7000", "a", ""),
        ValueKind.ENUM: (0, 1, 2, 3, 21, 22),
        ValueKind.FLAG: (True, False, 0, 1, 2),
        ValueKind.SWITCH: (True, False, 0, 1, 5),
    }
    return rng.choice(list(choices[key.kind]))


def _random_map(rng: random.Random, attributes: Mapping[str, Attribute]) -> dict[str, Any]:
    return {
        name: _random_attribute(rng, attribute)
        for name, attribute in attributes.items()
        if rng.random() < (0.7 if attribute.kind in _LINKING else 0.4)
    }


_LINKING = {AttributeKind.LINK, AttributeKind.LINK_LIST, AttributeKind.STRUCT, AttributeKind.STRUCT_LIST}


def _random_attribute(rng: random.Random, attribute: Attribute) -> Any:
    match attribute.kind:
        case AttributeKind.INT | AttributeKind.TIME:
            return rng.randrange(5)
        case AttributeKind.ENUM:
            return rng.choice((0, 1, 2, 3, 22))
        case AttributeKind.LINK:
            return rng.randrange(6)
        case AttributeKind.TEXT:
            return rng.choice(_TEXTS)
        case AttributeKind.LINK_LIST:
            return sorted(rng.sample(range(1, 7), rng.randrange(4)))
        case AttributeKind.KV:
            return {
                rng.choice(_TEXTS[1:]): {"o": rng.choice((1, "x", b"\x00", "y" * 300))} for _ in range(rng.randrange(3))
            }
        case AttributeKind.STRUCT:
            return _random_map(rng, SCHEMA.structures[str(attribute.target)].attributes)
        case AttributeKind.STRUCT_LIST:
            structure = SCHEMA.structures[str(attribute.target)]
            items: dict[Any, Any] = {}
            for _ in range(rng.randrange(4)):
                item = _random_map(rng, structure.attributes)
                items.setdefault(tuple(item.get(name) or 0 for name in structure.key), item)
            return list(items.values())


# --- changes and answers ------------------------------------------------------------------------


def change(action: Action, number: int, dbid: int, uen: int = 2, **fields: Any) -> Change:
    return Change(action=action, type=number, dbid=dbid, position=Position(1, uen), frame=b"", **fields)


def created(number: int, obj: Mapping[str, Any], *, folder: int = 0, uen: int = 2) -> Change:
    stored = encode_object(SCHEMA.types[number], obj)
    return change(Action.CREATED, number, obj["DBID"], uen, object=stored, folder=folder)


def updated(number: int, dbid: int, delta: Mapping[str, Any], *, folder: int = 0, uen: int = 2) -> Change:
    return change(Action.UPDATED, number, dbid, uen, delta=dict(delta), folder=folder)


def deleted(number: int, dbid: int, *, uen: int = 2) -> Change:
    return change(Action.DELETED, number, dbid, uen)


def collect(selection: Selection) -> Part:
    """All parts as one."""
    dbids: list[int] = []
    objects: list[bytes] = []
    folders: list[int] = []
    paths: list[Any] = []
    for part in selection.parts():
        assert len(part.dbids) == len(part.objects) <= 4096
        dbids += part.dbids
        objects += part.objects
        folders += part.folders
        paths += part.paths
    return Part(dbids, objects, folders, paths)


def cache_of(*objects: tuple[int, Mapping[str, Any]] | tuple[int, Mapping[str, Any], int]) -> ConfigurationCache:
    """A cache at UEN 1 with these (type, object, folder)."""
    world = World()
    for number, obj, *folder in objects:
        world.put(number, obj, *folder)
    return world.cache()
