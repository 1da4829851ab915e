"""The kinds of objects in a configuration file, ready for use: properties, keys, rules.

``folder`` is a property of every kind and of no object: it stands in no list here.

The thirty kinds of the published format come from `kind_rows`. The remaining object types follow in the same
manner: every attribute is a property, named without ``DBID`` (``switchDBID`` is ``switch``). Last-login
records are no configuration and have no kind.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Final

from csproxy.core.files.kind_rows import KIND_ROWS, STRUCTURE_ROWS
from csproxy.core.model import SCHEMA, Attribute, AttributeKind, ObjectType

__all__ = ["KINDS", "KeyPart", "Kind", "Property", "key_parts", "kind_named", "kind_of", "structure_properties"]

_PERSON_LAST_LOGIN: Final = 44
_LINKS: Final = frozenset({AttributeKind.LINK, AttributeKind.LINK_LIST})


@dataclass(frozen=True, slots=True, eq=False)
class Property:
    """One property of a kind or nested structure, and the attribute that it stands for.

    Two properties are equal only when they are the same, so that looking something up by one is fast.
    """

    name: str
    attribute: Attribute


@dataclass(frozen=True, slots=True)
class KeyPart:
    """One part of what names an object: where it is in a file (``group.name``) and in an object.

    ``default`` is the attribute's value when it is absent.
    """

    name: str
    path: tuple[str, ...]
    attribute: Attribute
    default: int | str


@dataclass(frozen=True, eq=False)
class Kind:
    """One kind of objects: its name in files, its type, properties in the order in which they are written.

    ``required`` and ``unchangeable`` are dotted property names; those in ``conditional`` hold under a
    condition only.
    """

    name: str
    type: ObjectType
    properties: tuple[Property, ...]
    required: tuple[str, ...]
    unchangeable: tuple[str, ...]
    conditional: frozenset[str]

    @cached_property
    def by_name(self) -> Mapping[str, Property]:
        """The properties by name."""
        return {each.name: each for each in self.properties}

    @property
    def display(self) -> str:
        """The type as results name it: ``agentgroup``."""
        return self.type.name.removeprefix("Cfg").lower()

    def __repr__(self) -> str:
        return f"<Kind {self.name}>"


def kind_of(type_number: int) -> Kind:
    """The kind of an object type."""
    return _by_type()[type_number]


def kind_named(name: str) -> Kind | None:
    """The kind with a name as files have it (without regard to case)."""
    return _by_name().get(name.lower())


@cache
def structure_properties(name: str) -> tuple[Property, ...]:
    """The properties of a nested structure (``CfgGroup``)."""
    attributes = SCHEMA.structures[name].attributes
    row = STRUCTURE_ROWS.get(name)
    if row is None:
        return tuple(_derived(attributes))
    return tuple(_properties(row, attributes))


@cache
def key_parts(type_number: int) -> tuple[KeyPart, ...]:
    """What names an object of a type, beside its type: its first unique key, tenants and containers first.

    Folders are not named so (see `csproxy.core.files.keys`).
    """
    type_ = SCHEMA.types[type_number]
    if type_.unique_keys:
        paths = type_.unique_keys[0]
    else:
        paths = tuple(path for path in (type_.tenant_path, type_.name_path) if path)
    return tuple(_key_part(type_, path) for path in paths)


def _key_part(type_: ObjectType, dotted: str) -> KeyPart:
    path = tuple(dotted.split("."))
    attributes, properties = type_.attributes, kind_of(type_.number).properties
    names: list[str] = []
    for step in path[:-1]:
        names.append(_named(properties, step))
        attributes = SCHEMA.structures[str(attributes[step].target)].attributes
        properties = structure_properties(str(type_.attributes[step].target))
    attribute = attributes[path[-1]]
    default: int | str = "" if attribute.kind is AttributeKind.TEXT else 0
    return KeyPart(".".join([*names, _named(properties, path[-1])]), path, attribute, default)


def _named(properties: tuple[Property, ...], attribute: str) -> str:
    return next((each.name for each in properties if each.attribute.name == attribute), attribute)


def _properties(row: str, attributes: Mapping[str, Attribute]) -> Iterator[Property]:
    for cell in row.split():
        name, _, attribute = cell.partition("=")
        if (attribute or name) in attributes:
            yield Property(name, attributes[attribute or name])


def _derived(attributes: Mapping[str, Attribute]) -> Iterator[Property]:
    for name, attribute in attributes.items():
        if name != "DBID" and not attribute.unused and name != "resources":
            yield Property(_property_name(attribute), attribute)


def _property_name(attribute: Attribute) -> str:
    name = attribute.name
    if attribute.kind in _LINKS:
        plural = "s" if name.endswith("DBIDs") else ""
        name = name.removesuffix("s").removesuffix("DBID") + plural if "DBID" in name else name
    head = len(name) - len(name.lstrip("ABCDEFGHIJKLMNOPQRSTUVWXYZ"))
    if head == len(name.rstrip("s")):
        return name.lower()
    return name[:1].lower() + name[1:] if head <= 1 else name


def _published() -> Iterator[Kind]:
    for name, type_name, row, required, unchangeable in KIND_ROWS:
        type_ = SCHEMA.object_type(type_name)
        rules = [*required.split(), *unchangeable.split()]
        yield Kind(
            name=name,
            type=type_,
            properties=tuple(_properties(row, type_.attributes)),
            required=tuple(word.removesuffix("*") for word in required.split()),
            unchangeable=tuple(word.removesuffix("*") for word in unchangeable.split()),
            conditional=frozenset(word.removesuffix("*") for word in rules if word.endswith("*")),
        )


def _remaining(taken: frozenset[int]) -> Iterator[Kind]:
    """The types without a published kind; their rules are those of the object model."""
    for type_ in SCHEMA.types.values():
        if type_.number in taken or type_.number == _PERSON_LAST_LOGIN:
            continue
        properties = tuple(_derived(type_.attributes))
        given = [each for each in properties if not each.attribute.read_only and each.name != "state"]
        key = {path for keys in type_.unique_keys[:1] for path in keys} | {type_.name_path, str(type_.tenant_path)}
        rest = [each for each in given if each.attribute.name not in key]
        yield Kind(
            name=type_.plural,
            type=type_,
            properties=properties,
            required=tuple(each.name for each in rest if each.attribute.mandatory),
            unchangeable=tuple(each.name for each in rest if each.attribute.fixed),
            conditional=frozenset(),
        )


def _all() -> tuple[Kind, ...]:
    published = tuple(_published())
    return (*published, *_remaining(frozenset(kind.type.number for kind in published)))


KINDS: Final = _all()
"""Every kind: those of the published format in its order, then the others by type number."""


@cache
def _by_type() -> Mapping[int, Kind]:
    return {kind.type.number: kind for kind in KINDS}


@cache
def _by_name() -> Mapping[str, Kind]:
    return {kind.name.lower(): kind for kind in KINDS}
