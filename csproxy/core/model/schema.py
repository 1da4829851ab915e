"""The registry of the object model: what types, structures, attributes and keys there are.

Everything that treats objects of all types alike (indexes, integrity rules, deltas, import and
export) asks `SCHEMA` instead of knowing types. The facts are the published ones, in
`csproxy.core.model.schema_data`; flags are readings of prose and therefore hints.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from enum import Enum
from functools import cached_property
from types import MappingProxyType
from typing import Final

from csproxy.core.model.base import CfgDelta, CfgObject, CfgStructure, OpenEnum
from csproxy.core.model.enumerations import ENUMERATIONS
from csproxy.core.model.objects import OBJECTS
from csproxy.core.model.schema_data import OBJECT_ROWS, STRUCTURE_ROWS, AttributeRow, ObjectRow
from csproxy.core.model.structures import STRUCTURES
from csproxy.errors import ErrorCode, ModelError

__all__ = ["SCHEMA", "Attribute", "AttributeKind", "ObjectType", "Schema", "StructureType"]


class AttributeKind(Enum):
    """What an attribute holds, and so how it looks in the plain form of an object."""

    INT = "whole number"
    TEXT = "text"
    TIME = "time in seconds since 1970-01-01 UTC"
    KV = "sections of options"
    ENUM = "number of an enumeration member"
    STRUCT = "structure"
    STRUCT_LIST = "list of structures"
    LINK = "DBID"
    LINK_LIST = "list of DBIDs"


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute of an object type or a structure.

    ``target`` names the enumeration (ENUM), the structure (STRUCT, STRUCT_LIST) or the object type
    (LINK, LINK_LIST); it is None for other kinds. ``fixed`` on a STRUCT fixes its presence, not its
    content. ``read_only`` attributes are set by the server, though some (isAgent) may be given at
    creation. ``max_length`` is in characters, None where no limit is published.
    """

    name: str
    kind: AttributeKind
    target: str | None = None
    mandatory: bool = False
    fixed: bool = False
    read_only: bool = False
    unused: bool = False
    max_length: int | None = None


@dataclass(frozen=True, eq=False)
class StructureType:
    """A structure; ``key`` names the attributes that tell items of a list apart (empty: never in a list)."""

    name: str
    attributes: Mapping[str, Attribute]
    key: tuple[str, ...]
    cls: type[CfgStructure]

    def __repr__(self) -> str:
        return f"<StructureType {self.name}>"


@dataclass(frozen=True, eq=False)
class ObjectType:
    """An object type.

    ``unique_keys``, ``tenant_path`` and ``name_path`` are dotted paths of attributes
    (``groupInfo.name``), to be read with `csproxy.core.model.values.values`; the tenant path of an
    Application leads to a list. ``container`` is the attribute with the DBID of the object that owns
    this one beside the tenant (the switch of a DN). ``folder_name`` is what the default folder of
    the type is called. Two types are equal only when they are the same.
    """

    number: int
    name: str
    singular: str
    plural: str
    folder_name: str
    tenant_path: str | None
    name_path: str
    container: str | None
    unique_keys: tuple[tuple[str, ...], ...]
    filter_names: frozenset[str]
    attributes: Mapping[str, Attribute]
    cls: type[CfgObject]

    @cached_property
    def delta_cls(self) -> type[CfgDelta]:
        """The typed class of changes (imported when first asked for: servers work on plain deltas)."""
        from csproxy.core.model.deltas import DELTAS

        return DELTAS[self.number]

    def __repr__(self) -> str:
        return f"<ObjectType {self.number} {self.name}>"


class Schema:
    """The registry; `SCHEMA` is its only instance, and each part is built when first asked for."""

    @cached_property
    def types(self) -> Mapping[int, ObjectType]:
        """The object types by number, ascending."""
        return MappingProxyType({number: _object_type(number, row) for number, row in OBJECT_ROWS.items()})

    @cached_property
    def structures(self) -> Mapping[str, StructureType]:
        """The structures by name."""
        return MappingProxyType(
            {
                name: StructureType(name=name, attributes=_attributes(rows), key=key, cls=STRUCTURES[name])
                for name, (key, rows) in STRUCTURE_ROWS.items()
            }
        )

    @cached_property
    def enumerations(self) -> Mapping[str, type[OpenEnum]]:
        """Every published enumeration by name, those that no attribute has included."""
        from csproxy.core.model import other_enumerations

        return MappingProxyType({**ENUMERATIONS, **other_enumerations.ENUMERATIONS})

    @cached_property
    def _by_word(self) -> Mapping[str, ObjectType]:
        return {
            word.lower(): object_type
            for object_type in self.types.values()
            for word in (object_type.name, object_type.singular, object_type.plural)
        }

    def object_type(self, ref: int | str | type[CfgObject]) -> ObjectType:
        """The type that ``ref`` means.

        ``ref`` is a number, a class, or a word: ``CfgAgentLogin``, ``agentLogin``, ``agent-logins``
        (without regard to case, ``-`` and ``_``). Raises `ModelError` (UNSUPPORTED_OBJECT) naming
        what comes close.
        """
        found: ObjectType | None
        if isinstance(ref, int):
            found = self.types.get(ref)
        elif isinstance(ref, str):
            found = self._by_word.get(ref) or self._by_word.get(_word(ref))
        else:
            found = self.types.get(getattr(ref, "type_number", 0))
        if found is None:
            number = ref if isinstance(ref, int) else 0
            raise ModelError(
                ErrorCode.UNSUPPORTED_OBJECT, f"there is no object type {ref!r}: {self._valid(ref)}", object_type=number
            )
        return found

    def _valid(self, ref: int | str | type[CfgObject]) -> str:
        """What could have been meant."""
        if isinstance(ref, int):
            return f"types have the numbers 1 to {max(self.types)}"
        if isinstance(ref, str):
            return _suggestion(_word(ref), self._by_word) or "a type is named like person, persons or CfgPerson"
        return "the classes of objects are those of csproxy.core.model.objects"


def _word(text: str) -> str:
    return text.lower().replace("-", "").replace("_", "")


def _suggestion(word: str, known: Mapping[str, ObjectType]) -> str:
    names = dict.fromkeys(known[match].singular for match in get_close_matches(word, known, n=3))
    return f"did you mean {' or '.join(names)}?" if names else ""


def _attributes(rows: Iterable[AttributeRow]) -> Mapping[str, Attribute]:
    return MappingProxyType({row[0]: _attribute(row) for row in rows})


def _attribute(row: AttributeRow) -> Attribute:
    name, kind, target, flags, longest = row
    return Attribute(
        name=name,
        kind=AttributeKind[kind],
        target=target,
        mandatory="M" in flags,
        fixed="F" in flags,
        read_only="R" in flags,
        unused="U" in flags,
        max_length=longest or None,
    )


def _object_type(number: int, row: ObjectRow) -> ObjectType:
    name, singular, plural, folder_name, tenant_path, name_path, container, unique_keys, filters, attributes = row
    return ObjectType(
        number=number,
        name=name,
        singular=singular,
        plural=plural,
        folder_name=folder_name,
        tenant_path=tenant_path,
        name_path=name_path,
        container=container,
        unique_keys=unique_keys,
        filter_names=frozenset(filters),
        attributes=_attributes(attributes),
        cls=OBJECTS[number],
    )


SCHEMA: Final = Schema()
"""The registry of this release."""
