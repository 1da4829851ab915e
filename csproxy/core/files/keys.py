"""How objects are named across masters: by name, never by DBID.

A `Key` is a type and the values that name an object in it; links within it are keys again. Two masters that
hold the same configuration give the same keys, whatever their DBIDs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any, Final, NamedTuple

from csproxy.core.containers import ENVIRONMENT, FOLDER, TENANT
from csproxy.core.files.kinds import KeyPart, key_parts
from csproxy.core.files.words import word_of
from csproxy.core.model import SCHEMA, AttributeKind

__all__ = [
    "Directory",
    "Key",
    "OPEN_PARTS",
    "Unnamed",
    "display_type",
    "full_text",
    "is_unnamed",
    "key_text",
    "keys_in",
    "path_from_top",
    "tenant_key",
    "tenant_of_key",
]

_DN: Final = 2
_DN_NAME: Final = 4
OPEN_PARTS: Final = frozenset({(2, "name"), (31, "switch")})
"""Parts of keys that an object can do without: the name of a DN, the switch of a voice prompt."""
_SIMPLE: Final = (1, 2)
_SAID: Final = frozenset({AttributeKind.LINK, AttributeKind.TEXT})
_CONTAINED: Final = frozenset({15, 36, 38})
"""Agent logins, enumerator values, campaign groups: their text names the container with its tenant."""


class Key(NamedTuple):
    """What names an object: its type number and the parts of its key (`key_parts`).

    A folder's parts are its owner's key, the type that it holds and the names of the path to it. A part that
    a reference leaves open (the name of a DN) is None.
    """

    type: int
    parts: tuple[Any, ...]


class Unnamed(str):
    """``#101``: stands in a key for the name of an object of which only the DBID is known. No text equals it."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Unnamed) and str.__eq__(self, other)

    __hash__ = str.__hash__


def keys_in(value: Any) -> list[Key]:
    """Every key in a value, those inside other keys not included."""
    found: list[Key] = []
    _collect(value, found)
    return found


def _collect(value: Any, found: list[Key]) -> None:
    if isinstance(value, Key):
        found.append(value)
    elif isinstance(value, dict):
        for item in value.values():
            if not isinstance(item, (str, int)):
                _collect(item, found)
    elif isinstance(value, list):
        for item in value:
            _collect(item, found)


def is_unnamed(key: Key) -> bool:
    """Whether the key holds a DBID in place of a name."""
    last = key.parts[-1]
    return isinstance(last[-1] if isinstance(last, tuple) and last else last, Unnamed)


def path_from_top(path: tuple[str, ...], held: int) -> tuple[str, ...]:
    """The path of a folder whose first step stands at the top and holds type ``held``.

    At the top stand default folders and folders of anything: others are in the default folder of their type.
    """
    if held == FOLDER or held not in SCHEMA.types or path[0] == SCHEMA.types[held].folder_name:
        return path
    return (SCHEMA.types[held].folder_name, *path)


def tenant_key(name: str) -> Key:
    """The key of a tenant."""
    return Key(TENANT, (name,))


def tenant_of_key(key: Key) -> Key | None:
    """The key of the tenant that an object belongs to, as far as its key says it."""
    if key.type == TENANT:
        return key
    for part in key.parts:
        if isinstance(part, Key):
            return tenant_of_key(part)
    return None


@cache
def display_type(type_number: int) -> str:
    """A type as results name it: ``agentgroup``."""
    return SCHEMA.types[type_number].name.removeprefix("Cfg").lower()


def full_text(key: Key) -> str:
    """``person [Environment/ada]``."""
    return f"{display_type(key.type)} [{key_text(key)}]"


def key_text(key: Key) -> str:
    """The text of a reference without its type: ``Environment/ada``, ``number: '1', switch: 'a', ...``."""
    if is_unnamed(key):
        return str(key.parts[-1][-1]) if key.type == FOLDER else str(key.parts[-1])
    if key.type == FOLDER:
        owner, held, path = key.parts
        holder = f"{display_type(owner.type)}/{key_text(owner)}"
        return f"type: '{_type_word(held)}', owner: '{holder}', path: '{'/'.join(path)}'"
    if _is_simple(key.type):
        return "/".join([_plain(value) for value in key.parts])
    if key.type in _CONTAINED:
        return ", ".join([f"{part.name}: '{_plain(key.parts[place])}'" for place, part in _shown(key.type)])
    shown = [(part, key.parts[place]) for place, part in _shown(key.type)]
    return ", ".join([f"{part.name}: '{_leaf(part, value)}'" for part, value in shown if value not in ("", None)])


@cache
def _shown(type_number: int) -> tuple[tuple[int, KeyPart], ...]:
    """The parts of a key that are named in its text, with their places in the key: ``number`` first, tenants last."""
    parts = list(enumerate(key_parts(type_number)))
    if type_number in _CONTAINED:
        return tuple(parts[::-1])
    return tuple(sorted(parts, key=lambda pair: (pair[1].attribute.target == "CfgTenant", pair[1].name != "number")))


@cache
def _is_simple(type_number: int) -> bool:
    """Whether the values alone are the text."""
    parts = key_parts(type_number)
    links = [part for part in parts if part.attribute.kind is AttributeKind.LINK]
    return len(parts) in _SIMPLE and all(part.attribute.target == "CfgTenant" for part in links)


def _leaf(part: KeyPart, value: Any) -> str:
    if isinstance(value, Key):
        return str(value.parts[-1])
    if part.attribute.kind is AttributeKind.ENUM and isinstance(value, int):
        return str(word_of(str(part.attribute.target), value))
    return str(value)


def _plain(value: Any) -> str:
    return key_text(value) if isinstance(value, Key) else str(value)


def _type_word(held: int) -> str:
    return display_type(held) if held in SCHEMA.types else str(held)


def _at(obj: Mapping[str, Any], path: Iterable[str]) -> Any:
    value: Any = obj
    for step in path:
        value = (value or {}).get(step)
    return value


class Directory:
    """The objects of a configuration, by DBID and by key. Types that were not added are unknown to it.

    With ``names_completely`` an object that lacks a part of its key is one whose name is not known.
    """

    def __init__(self, *, names_completely: bool = False) -> None:
        self._names_completely = names_completely
        self._objects: dict[int, dict[int, Mapping[str, Any]]] = {}
        self._folders: dict[int, dict[int, int]] = {}
        self._keys: dict[tuple[int, int], Key] = {}
        self._by_key: dict[int, dict[Key, int]] = {}
        self._open: dict[tuple[Any, ...], list[Key]] | None = None

    def add(self, type_number: int, objects: Iterable[Mapping[str, Any]], folders: Iterable[int]) -> None:
        """Add all objects of a type, with the DBIDs of their folders."""
        mine = self._objects.setdefault(type_number, {})
        places = self._folders.setdefault(type_number, {})
        for obj, folder in zip(objects, folders, strict=True):
            mine[obj["DBID"]] = obj
            places[obj["DBID"]] = folder

    def replace(self, change: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> int:
        """Put what ``change`` makes of each object in its place, with the same key; returns how many became others."""
        changed = 0
        for objects in self._objects.values():
            for dbid, obj in objects.items():
                objects[dbid] = change(obj)
                changed += objects[dbid] != obj
        return changed

    @property
    def types(self) -> frozenset[int]:
        """The types whose objects were added."""
        return frozenset(self._objects)

    def objects(self, type_number: int) -> Mapping[int, Mapping[str, Any]]:
        """The objects of a type by DBID."""
        return self._objects.get(type_number, {})

    def folder_of(self, type_number: int, dbid: int) -> int:
        """DBID of the folder of an object, 0 for none."""
        return self._folders[type_number][dbid]

    def key(self, type_number: int, dbid: int) -> Key:
        """The key of an object. Of one that is not here it is its number, which no file can hold."""
        id = (type_number, dbid)
        found = self._keys.get(id)
        if found is None:
            obj = self._objects.get(type_number, {}).get(dbid)
            if obj is None or (self._names_completely and self.lacking(type_number, dbid)):
                found = self._unnamed(type_number, dbid)
            elif type_number == FOLDER:
                found = self._folder_key(obj)
            else:
                found = self._key_of(type_number, obj)
            self._keys[id] = found
        return found

    def lacking(self, type_number: int, dbid: int) -> list[str]:
        """The names of the parts of its key that an object that is here does not have."""
        obj = self._objects[type_number][dbid]
        if type_number == FOLDER:
            return [] if obj.get("name") else ["name"]
        return [
            part.name
            for part in key_parts(type_number)
            if part.attribute.kind in _SAID and (type_number, part.name) not in OPEN_PARTS and not _at(obj, part.path)
        ]

    def find(self, key: Key) -> int:
        """DBID of the object with this key, 0 if there is none."""
        index = self._by_key.get(key.type)
        if index is None:
            index = {self.key(key.type, dbid): dbid for dbid in self._objects.get(key.type, {})}
            self._by_key[key.type] = index
        return index.get(key, 0)

    def settle(self, key: Key) -> Key:
        """A DN's key with its open name filled in: the DN without a name if there is one, else the only one."""
        named = Key(_DN, (*key.parts[:_DN_NAME], ""))
        if self.find(named):
            return named
        if self._open is None:
            self._open = {}
            for dbid in self._objects.get(_DN, {}):
                each = self.key(_DN, dbid)
                self._open.setdefault(each.parts[:_DN_NAME], []).append(each)
        found = self._open.get(key.parts[:_DN_NAME], [])
        return found[0] if len(found) == 1 else named

    def _key_of(self, type_number: int, obj: Mapping[str, Any]) -> Key:
        values: list[Any] = []
        for part in key_parts(type_number):
            value = _at(obj, part.path)
            if part.attribute.kind is AttributeKind.LINK:
                target = SCHEMA.object_type(str(part.attribute.target)).number
                values.append(self.key(target, value) if value else None)
            else:
                values.append(part.default if value is None else value)
        return Key(type_number, tuple(values))

    def _unnamed(self, type_number: int, dbid: int) -> Key:
        name = Unnamed(f"#{dbid}")
        if type_number == FOLDER:
            return Key(FOLDER, (self._environment(), FOLDER, (name,)))
        return Key(type_number, (name,) * len(key_parts(type_number)))

    def _environment(self) -> Key:
        """The tenant to which everything belongs that does not say to whom it belongs."""
        known = self.objects(TENANT).get(ENVIRONMENT)
        return tenant_key("Environment") if known is None else self.key(TENANT, ENVIRONMENT)

    def _folder_key(self, folder: Mapping[str, Any]) -> Key:
        owner: Mapping[str, Any] = {}
        path: list[str] = []
        seen: set[int] = set()
        held = FOLDER
        step: Mapping[str, Any] | None = folder
        while step is not None and step["DBID"] not in seen:
            seen.add(step["DBID"])
            path.append(step.get("name", ""))
            held = step.get("type", FOLDER)
            owner = owner or step.get("ownerID") or {}
            parent = step.get("parentID") or {}
            step = self._objects[FOLDER].get(parent.get("DBID", 0)) if parent.get("type") == FOLDER else None
        holder = self.key(owner["type"], owner["DBID"]) if owner.get("DBID") else self._environment()
        return Key(FOLDER, (holder, folder.get("type", FOLDER), path_from_top(tuple(path[::-1]), held)))
