"""Hypothesis strategies for objects of every type, in plain form.

`plain_objects` gives objects that pass `check_object`; numbers and names are drawn from small
ranges, so that two objects share keys often enough for differences to be interesting. With
``unknown=True`` they hold attributes of a newer release too (and no longer pass the check).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from hypothesis import strategies as st

from csproxy.core.model import SCHEMA, Attribute, AttributeKind, ObjectType

__all__ = ["object_types", "options", "plain_objects", "unknown_attributes"]

DBIDS = st.integers(1, 6)
INTEGERS = st.sampled_from([0, 1, 2, 3, 4, 5, -1, 2**31 - 1, -(2**31)])
TEXTS = st.sampled_from(["", "a", "b", "default", "Zoë", "日本語 🎧", "x" * 60])
NAMES = st.sampled_from(["TServer", "log", "ß", "a"])
UNKNOWN_NAMES = st.sampled_from(["newerAttribute", "another", "?", "unknown", "ω"])


def object_types() -> st.SearchStrategy[ObjectType]:
    """Any of the object types."""
    return st.sampled_from(list(SCHEMA.types.values()))


def options() -> st.SearchStrategy[dict[str, dict[str, Any]]]:
    """A KV attribute; sections may be empty, values are texts, integers and bytes."""
    value = st.one_of(TEXTS, INTEGERS, st.sampled_from([b"", b"\x00\xff"]))
    return st.dictionaries(NAMES, st.dictionaries(NAMES, value, max_size=3), max_size=3)


def unknown_attributes() -> st.SearchStrategy[dict[str, Any]]:
    """Attributes that no release knows yet, of any shape."""
    scalar = st.one_of(st.none(), st.booleans(), INTEGERS, TEXTS, st.just(1.0))
    value = st.one_of(scalar, st.lists(scalar, max_size=2), st.dictionaries(NAMES, scalar, max_size=2))
    return st.dictionaries(UNKNOWN_NAMES, value, max_size=2)


@cache
def plain_objects(object_type: ObjectType, *, unknown: bool = False) -> st.SearchStrategy[dict[str, Any]]:
    """Objects of ``object_type``: any attributes, defaults written out or left out, in any list order."""
    return _maps(object_type.attributes, unknown=unknown)


def _maps(attributes: Mapping[str, Attribute], *, unknown: bool) -> st.SearchStrategy[dict[str, Any]]:
    known: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
        {}, optional={name: _values(attribute, unknown=unknown) for name, attribute in attributes.items()}
    )
    if not unknown:
        return known
    return st.tuples(known, unknown_attributes()).map(lambda parts: {**parts[1], **parts[0]})


def _values(attribute: Attribute, *, unknown: bool) -> st.SearchStrategy[Any]:
    match attribute.kind:
        case AttributeKind.TEXT:
            return TEXTS
        case AttributeKind.LINK:
            return st.one_of(st.just(0), DBIDS)
        case AttributeKind.LINK_LIST:
            return st.lists(DBIDS, max_size=4)
        case AttributeKind.ENUM:
            return st.sampled_from([int(member) for member in SCHEMA.enumerations[attribute.target or ""]][:5])
        case AttributeKind.KV:
            return options()
        case AttributeKind.STRUCT:
            return st.one_of(st.none(), st.just({}), _structures(attribute.target or "", unknown=unknown))
        case AttributeKind.STRUCT_LIST:
            key = SCHEMA.structures[attribute.target or ""].key
            return st.lists(
                _structures(attribute.target or "", unknown=unknown),
                max_size=3,
                unique_by=lambda item: tuple(item.get(name) or None for name in key),
            )
        case _:
            return INTEGERS


@cache
def _structures(name: str, *, unknown: bool) -> st.SearchStrategy[dict[str, Any]]:
    return _maps(SCHEMA.structures[name].attributes, unknown=unknown)
