"""What the generated classes are built on: open enumerations, unknown attributes, the struct bases.

A peer of a newer release may send enumeration numbers and attributes that this release does not
know. Neither may fail and neither may be lost: a number becomes a pseudo-member ``UNKNOWN_<n>``,
an attribute is kept in ``unknown`` of the object or structure that held it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import IntEnum
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, TypeVar

import msgspec

from csproxy.core.secret_options import shown

if TYPE_CHECKING:
    from csproxy.core.model.schema import ObjectType

__all__ = [
    "NO_UNKNOWN",
    "UNKNOWN_FIELD",
    "CfgDelta",
    "CfgObject",
    "CfgStructure",
    "CfgStructureDelta",
    "ItemsDelta",
    "LinksDelta",
    "OpenEnum",
    "Options",
    "OptionsDelta",
    "UnknownAttributes",
]

if TYPE_CHECKING:
    Options = dict[str, dict[str, str | int | bytes]]
else:
    # msgspec decodes no union of text and bytes.
    Options = dict[str, dict[str, Any]]
"""A KV attribute: ``{section: {option: value}}``; a section may be empty."""

UNKNOWN_FIELD: Final = "?"
"""The name under which msgspec sees the field ``unknown``; no published attribute can have it."""


class OpenEnum(IntEnum):
    """An enumeration that accepts numbers it does not know.

    ``CfgFlag(7)`` is a member named ``UNKNOWN_7`` that equals 7 and is encoded as 7. Such members
    are made when asked for and kept nowhere, so that a peer cannot fill the memory with them.
    """

    @classmethod
    def _missing_(cls, value: object) -> OpenEnum | None:
        if not isinstance(value, int):
            return None
        member = int.__new__(cls, value)
        member._name_ = f"UNKNOWN_{value}"
        member._value_ = value
        return member


class UnknownAttributes(Mapping[str, Any]):
    """The attributes of one object or structure that this release does not know; read only.

    Values are plain: what msgpack decodes to. To change one, put a new `UnknownAttributes` in place.
    """

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, Any] | None = None) -> None:
        self._values = dict(values or {})

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"UnknownAttributes({self._values!r})"


NO_UNKNOWN: Final = UnknownAttributes()
"""The value of ``unknown`` where nothing unknown was received; shared, because decoding is hot."""


# A msgpack map can never be an UnknownAttributes without a decoding hook, so an attribute that is
# really called "?" takes the slow path like any other unknown one.
class _Known(msgspec.Struct, kw_only=True, omit_defaults=True, forbid_unknown_fields=True, repr_omit_defaults=True):
    unknown: UnknownAttributes = msgspec.field(default=NO_UNKNOWN, name=UNKNOWN_FIELD)

    def __repr__(self) -> str:
        return shown(self)


class CfgStructure(_Known, kw_only=True):
    """A structure inside an object; absent attributes have their default."""


class CfgObject(_Known, kw_only=True):
    """A configuration object; absent attributes have their default."""

    type_number: ClassVar[int] = 0
    """The number of the object type (CfgObjectType)."""

    @classmethod
    def object_type(cls) -> ObjectType:
        """The registry entry of this class."""
        from csproxy.core.model.schema import SCHEMA

        return SCHEMA.types[cls.type_number]


class CfgStructureDelta(_Known, kw_only=True):
    """A change of a structure: a field that is UNSET is unchanged, any other value is set."""


class CfgDelta(_Known, kw_only=True):
    """A change of an object: a field that is UNSET is unchanged, any other value is set."""

    type_number: ClassVar[int] = 0
    """The number of the object type that this is a change of."""

    @classmethod
    def object_type(cls) -> ObjectType:
        """The registry entry of the objects that this is a change of."""
        from csproxy.core.model.schema import SCHEMA

        return SCHEMA.types[cls.type_number]


ItemT = TypeVar("ItemT", bound=CfgStructure)


class _Parts(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True, repr_omit_defaults=True):
    """A change of a list; a part that is not known cannot be applied, so it is an error."""


class ItemsDelta(_Parts, Generic[ItemT], kw_only=True):
    """A change of a list of structures; items are matched by their key (docs/reference/delta.md).

    ``added`` and ``changed`` hold complete items; of the items in ``deleted`` only the key counts.
    """

    added: list[ItemT] = msgspec.field(default_factory=list)
    changed: list[ItemT] = msgspec.field(default_factory=list)
    deleted: list[ItemT] = msgspec.field(default_factory=list)


class LinksDelta(_Parts, kw_only=True):
    """A change of a list of DBIDs."""

    added: list[int] = msgspec.field(default_factory=list)
    deleted: list[int] = msgspec.field(default_factory=list)


class OptionsDelta(_Parts, kw_only=True):
    """A change of a KV attribute; a section in ``deleted`` with an empty list is deleted as a whole."""

    added: Options = msgspec.field(default_factory=dict)
    changed: Options = msgspec.field(default_factory=dict)
    deleted: dict[str, list[str]] = msgspec.field(default_factory=dict)
