"""The canonical form of objects, which digests, stored objects and deltas rest on.

Canonical is: attributes in the order of the schema, unknown ones after them by name; defaults left
out (0, "", empty list, empty KV, no structure; a structure that is present stays, though it be
empty); lists sorted by their key, because list order carries no meaning; sections and options of a
KV sorted by name. Two objects mean the same exactly when their canonical encodings are equal.

An unknown attribute (from a peer of a newer release) is kept as it is. Of the defaults only the
empty map is kept, because nobody here can tell an empty structure from an empty KV.

The schema is compiled once per type into a plan of functions, because a master encodes objects by
the hundred thousand.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, NamedTuple

from csproxy.core import codec
from csproxy.core.model.schema import SCHEMA, Attribute, AttributeKind, ObjectType
from csproxy.errors import ErrorCode, ModelError

__all__ = [
    "Entry",
    "Key",
    "Plan",
    "PlainMap",
    "canonical",
    "canonical_map",
    "encode_object",
    "in_order",
    "is_default",
    "plan_of",
]

PlainMap = dict[str, Any]
Key = tuple[Any, ...]


class Entry(NamedTuple):
    """How one attribute is treated.

    ``normalise`` gives the canonical value, or None for the default; it is None itself for scalars,
    which have a ``default`` instead. ``plan`` is there for structures and lists of them, ``key`` (and
    the names of its attributes) for lists of structures. ``path`` and ``object_type`` are for messages.
    """

    attribute: Attribute
    path: str
    object_type: int
    default: int | str | None = None
    normalise: Callable[[Any], Any] | None = None
    plan: Plan | None = None
    key: Callable[[PlainMap], Key] | None = None
    key_names: tuple[str, ...] = ()

    def error(self, code: ErrorCode, message: str) -> ModelError:
        """A `ModelError` about this attribute."""
        return ModelError(code, message, object_type=self.object_type, property_name=self.path.partition(".")[2])


class Plan(NamedTuple):
    """An object type or structure, compiled: ``steps`` for the hot loop, ``entries`` by name."""

    steps: tuple[tuple[str, Callable[[Any], Any] | None], ...]
    entries: Mapping[str, Entry]
    path: str
    object_type: int


def canonical(object_type: ObjectType, obj: Mapping[str, Any]) -> PlainMap:
    """The canonical plain form of ``obj``; the input is not changed, nested values are not shared.

    The object must have passed `check_object` or come from a server: values of scalars are not
    looked at. Raises `ModelError`: OBJECT_PACKING_ERROR where a map or list has another shape,
    UNIQUENESS_VIOLATION where two different items of a list have the same key.
    """
    return canonical_map(plan_of(object_type), obj)


def encode_object(object_type: ObjectType, obj: Mapping[str, Any]) -> bytes:
    """The canonical encoding of ``obj``: what is stored, sent and digested. Errors as `canonical`."""
    return codec.encode(canonical_map(plan_of(object_type), obj))


def canonical_map(plan: Plan, value: Any) -> PlainMap:
    """`canonical` for one object or structure."""
    if not isinstance(value, dict):
        raise ModelError(
            ErrorCode.OBJECT_PACKING_ERROR,
            f"{plan.path} must be a map of attributes, not {type(value).__name__}",
            object_type=plan.object_type,
            property_name=plan.path.partition(".")[2],
        )
    result: PlainMap = {}
    known = 0
    for name, normalise in plan.steps:
        if name in value:
            known += 1
            item = value[name]
            if normalise is not None:
                item = normalise(item)
                if item is not None:
                    result[name] = item
            elif item:
                result[name] = item
    if known != len(value):
        for name in sorted(value.keys() - plan.entries.keys()):
            if not is_default(value[name]):
                result[name] = value[name]
    return result


def in_order(plan: Plan, value: PlainMap) -> PlainMap:
    """A map that is canonical but for the order of its own attributes, in that order."""
    unknown = sorted(value.keys() - plan.entries.keys())
    return {name: value[name] for name in (*plan.entries, *unknown) if name in value}


def is_default(value: object) -> bool:
    """Whether the value of an unknown attribute is the default of its kind, whatever that is."""
    return not value and not isinstance(value, dict)


@cache
def plan_of(object_type: ObjectType) -> Plan:
    """The compiled plan of a type."""
    return _compile(object_type.attributes, object_type.name, object_type.number)


def _compile(attributes: Mapping[str, Attribute], path: str, number: int) -> Plan:
    entries = {name: _entry(Entry(attribute, f"{path}.{name}", number)) for name, attribute in attributes.items()}
    steps = tuple((name, entry.normalise) for name, entry in entries.items())
    return Plan(steps=steps, entries=entries, path=path, object_type=number)


def _entry(bare: Entry) -> Entry:
    match bare.attribute.kind:
        case AttributeKind.TEXT:
            return bare._replace(default="")
        case AttributeKind.KV:
            return bare._replace(normalise=_options_normaliser(bare))
        case AttributeKind.LINK_LIST:
            return bare._replace(normalise=_links_normaliser(bare))
        case AttributeKind.STRUCT | AttributeKind.STRUCT_LIST:
            structure = SCHEMA.structures[bare.attribute.target or ""]
            plan = _compile(structure.attributes, bare.path, bare.object_type)
            if bare.attribute.kind is AttributeKind.STRUCT:
                return bare._replace(plan=plan, normalise=_structure_normaliser(plan))
            key = _key_function([plan.entries[name] for name in structure.key])
            normalise = _items_normaliser(bare, plan, key)
            return bare._replace(plan=plan, normalise=normalise, key=key, key_names=structure.key)
        case _:
            return bare._replace(default=0)


def _structure_normaliser(plan: Plan) -> Callable[[Any], PlainMap | None]:
    def normalise(value: Any) -> PlainMap | None:
        return None if value is None else canonical_map(plan, value)

    return normalise


def _options_normaliser(entry: Entry) -> Callable[[Any], PlainMap | None]:
    def normalise(value: Any) -> PlainMap | None:
        if not value:
            return None
        try:
            return {section: dict(sorted(options.items())) for section, options in sorted(value.items())}
        except (AttributeError, TypeError) as error:
            raise _wrong_shape(entry, "a map {section: {option: value}}", value) from error

    return normalise


def _links_normaliser(entry: Entry) -> Callable[[Any], list[int] | None]:
    def normalise(value: Any) -> list[int] | None:
        if not value:
            return None
        if not isinstance(value, list):
            raise _wrong_shape(entry, "a list of DBIDs", value)
        try:
            return sorted(set(value))
        except TypeError as error:
            raise _wrong_shape(entry, "a list of DBIDs", value) from error

    return normalise


def _items_normaliser(
    entry: Entry, plan: Plan, key: Callable[[PlainMap], Key]
) -> Callable[[Any], list[PlainMap] | None]:
    def normalise(value: Any) -> list[PlainMap] | None:
        if not value:
            return None
        if not isinstance(value, list):
            raise _wrong_shape(entry, "a list of maps", value)
        items = [canonical_map(plan, item) for item in value]
        return items if len(items) == 1 else _distinct(entry, key, items)

    return normalise


def _distinct(entry: Entry, key: Callable[[PlainMap], Key], items: list[PlainMap]) -> list[PlainMap]:
    """The items sorted by key; one that is there twice counts once."""
    try:
        items.sort(key=key)
    except TypeError as error:
        raise _wrong_shape(entry, "a list whose keys can be compared", items) from error
    result = items[:1]
    for item in items[1:]:
        if key(item) != key(result[-1]):
            result.append(item)
        elif item != result[-1]:
            message = f"{entry.path} holds two different items with the key {key(item)!r}"
            raise entry.error(ErrorCode.UNIQUENESS_VIOLATION, message)
    return result


def _key_function(entries: list[Entry]) -> Callable[[PlainMap], Key]:
    """What tells items of a list apart; an absent attribute counts as its default."""
    parts = [(entry.attribute.name, entry.default) for entry in entries]
    if len(parts) == 1:
        ((name, default),) = parts
        return lambda item: (item.get(name, default),)
    if len(parts) == 2:
        (first, first_default), (second, second_default) = parts
        return lambda item: (item.get(first, first_default), item.get(second, second_default))
    return lambda item: tuple([item.get(name, default) for name, default in parts])


def _wrong_shape(entry: Entry, wanted: str, value: object) -> ModelError:
    """The error for a map or list that is something else."""
    return entry.error(ErrorCode.OBJECT_PACKING_ERROR, f"{entry.path} must be {wanted}, not {type(value).__name__}")
