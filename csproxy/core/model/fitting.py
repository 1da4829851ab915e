"""The short way to know that an object fits the schema, for the many that do.

The schema is compiled into msgspec Structs, which check an object in a microsecond; attribute by attribute in
Python it takes fifteen. They only ever say yes: everything that is not plainly right (options of bytes among it)
is looked at again by `csproxy.core.model.values`, which says what is wrong with it, if anything is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from csproxy.core import codec
from csproxy.core.model.canonical import Key, PlainMap, Plan, plan_of
from csproxy.core.model.schema import SCHEMA, Attribute, AttributeKind, ObjectType

__all__ = ["RANGES", "surely_fits"]

RANGES: Final[Mapping[AttributeKind, tuple[int, int]]] = {
    AttributeKind.INT: (-(2**31), 2**31 - 1),
    # Times may be used unsigned, which reaches to the year 2106.
    AttributeKind.TIME: (-(2**31), 2**32 - 1),
    AttributeKind.LINK: (0, 2**31 - 1),
    AttributeKind.LINK_LIST: (1, 2**31 - 1),
}
"""The least and the largest whole number of each kind."""

_Names = Annotated[str, Meta(min_length=1)]


def surely_fits(object_type: ObjectType, obj: Any) -> bool:
    """Whether ``obj`` is of the type in every value, and lists have no two items with one key.

    False if that takes a closer look.
    """
    struct, has_good_lists = _compiled(object_type)
    try:
        msgspec.convert(obj, struct)
        codec.encode(obj)  # finds texts that are no Unicode
    except (msgspec.ValidationError, UnicodeEncodeError, TypeError):
        return False
    return has_good_lists(obj)


_Looks = Callable[[Mapping[str, Any]], bool]


@cache
def _compiled(object_type: ObjectType) -> tuple[type[msgspec.Struct], _Looks]:
    return _struct(object_type.name, object_type.attributes), _lists(plan_of(object_type))


def _struct(name: str, attributes: Mapping[str, Attribute]) -> type[msgspec.Struct]:
    fields = [(each.name, _form(each) | UnsetType, UNSET) for each in attributes.values()]
    return msgspec.defstruct(name, fields, forbid_unknown_fields=True, gc=False)


def _form(attribute: Attribute) -> Any:
    target = attribute.target or ""
    match attribute.kind:
        case AttributeKind.TEXT:
            return str if attribute.max_length is None else Annotated[str, Meta(max_length=attribute.max_length)]
        case AttributeKind.ENUM:
            return Literal[tuple(int(member) for member in SCHEMA.enumerations[target])]
        case AttributeKind.KV:
            return dict[_Names, dict[_Names, _within(AttributeKind.INT) | str]]  # type: ignore[misc]
        case AttributeKind.STRUCT:
            return _structure(target) | None
        case AttributeKind.STRUCT_LIST:
            return list[_structure(target)]  # type: ignore[misc]
        case AttributeKind.LINK_LIST:
            return list[_within(attribute.kind)]  # type: ignore[misc]
    return _within(attribute.kind)


@cache
def _structure(name: str) -> type[msgspec.Struct]:
    return _struct(name, SCHEMA.structures[name].attributes)


def _within(kind: AttributeKind) -> Any:
    least, most = RANGES[kind]
    return Annotated[int, Meta(ge=least, le=most)]


def _lists(plan: Plan) -> _Looks:
    """Whether lists are lists (msgspec takes tuples for them, too) of items with different keys."""
    looks: list[tuple[str, Callable[[Any], bool]]] = []
    for name, entry in plan.entries.items():
        match entry.attribute.kind:
            case AttributeKind.LINK_LIST:
                looks.append((name, _is_list))
            case AttributeKind.STRUCT_LIST:
                assert entry.key
                looks.append((name, _distinct_by(entry.key)))
            case AttributeKind.STRUCT:
                assert entry.plan
                looks.append((name, _optional(_lists(entry.plan))))

    def look(value: Mapping[str, Any]) -> bool:
        return all(name not in value or is_good(value[name]) for name, is_good in looks)

    return look


def _is_list(value: Any) -> bool:
    return type(value) is list


def _distinct_by(key: Callable[[PlainMap], Key]) -> Callable[[Any], bool]:
    def look(value: Any) -> bool:
        return type(value) is list and (len(value) < 2 or len(set(map(key, value))) == len(value))

    return look


def _optional(look: _Looks) -> Callable[[Any], bool]:
    return lambda value: value is None or look(value)
