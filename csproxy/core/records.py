"""Decoders that read only some attributes of stored objects.

Indexes and filters look at a handful of attributes of each object. A msgspec Struct with just
these fields decodes in about half a microsecond and skips the rest, where decoding the whole map
takes three. The structs are made at run time from dotted paths and the schema.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from functools import lru_cache
from operator import attrgetter
from typing import Any, Final, NamedTuple

import msgspec

from csproxy.core.codec import array_header
from csproxy.core.model import SCHEMA, Attribute, AttributeKind, ObjectType
from csproxy.core.model.links import RESOURCE_TARGETS
from csproxy.core.model.misencoded import text_error
from csproxy.core.security_records import STORED_TYPES
from csproxy.errors import ErrorCode, ModelError

__all__ = ["TYPE_NUMBERS", "Column", "Reader", "pair_key", "pair_of", "reader"]

_PAIR_SHIFT: Final = 32
_DBIDS: Final = (1 << _PAIR_SHIFT) - 1

TYPE_NUMBERS: Final = {object_type.name: number for number, object_type in SCHEMA.types.items()}
"""Type name → number; `SCHEMA.object_type` is for words that people type."""

_LISTS: Final = frozenset({AttributeKind.STRUCT_LIST, AttributeKind.LINK_LIST})


def pair_key(type_number: int, dbid: int) -> int:
    """One number for a link that names type and DBID; 0 for no object."""
    return type_number << _PAIR_SHIFT | dbid if dbid else 0


def pair_of(key: int) -> tuple[int, int]:
    """Type and DBID that `pair_key` has put together."""
    return key >> _PAIR_SHIFT, key & _DBIDS


class Column(NamedTuple):
    """How the values at one path are taken from a decoded record.

    ``read`` returns a value, or a sequence of values if ``many``. A path such as
    ``ownerID(type,DBID)`` stands for the pair as one number (`pair_key`); that a resource's type
    says which object type is meant, is a rule of `csproxy.core.model.links`.
    """

    path: str
    many: bool
    read: Callable[[Any], Any]

    def values(self, record: Any) -> frozenset[Hashable]:
        """All values that are present; 0 and the empty text count as absent."""
        found = self.read(record)
        if self.many:
            return frozenset(value for value in found if value)
        return frozenset((found,)) if found else frozenset()


class Reader:
    """Decodes objects of one type to records with the fields of some paths, ``DBID`` always included.

    ``columns`` stand in the order of the paths given.
    """

    def __init__(self, object_type: ObjectType, paths: Sequence[str]) -> None:
        self.object_type = object_type
        tree: dict[str, Any] = {"DBID": {}}
        for path in paths:
            for leaf in _leaves(path):
                _grow(tree, leaf)
        self.columns = tuple(_column(object_type.attributes, path) for path in paths)
        record = _struct(object_type.name, object_type.attributes, tree)
        self._decode: Callable[[bytes], Any] = msgspec.msgpack.Decoder(record).decode
        self._decode_many: Callable[[bytes], list[Any]] = msgspec.msgpack.Decoder(list[record]).decode  # type: ignore[valid-type]

    def decode(self, stored: bytes) -> Any:
        """The record of one object. ModelError if the bytes are no object of the type."""
        try:
            return self._decode(stored)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise self._malformed(stored, error) from error

    def decode_many(self, objects: Sequence[bytes]) -> list[Any]:
        """The records of many objects, in their order. ModelError as for `decode`."""
        joined = array_header(len(objects)) + b"".join(objects)
        try:
            return self._decode_many(joined)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise self._malformed(joined, error) from error

    def _malformed(self, data: bytes, error: Exception) -> ModelError:
        name = self.object_type.name
        if isinstance(error, UnicodeDecodeError):
            return text_error("an object cannot be decoded", data, error, object_type=self.object_type.number)
        return ModelError(
            ErrorCode.OBJECT_PACKING_ERROR,
            f"an object of type {name} cannot be decoded: {error}",
            object_type=self.object_type.number,
        )


@lru_cache(maxsize=512)
def reader(type_number: int, paths: tuple[str, ...]) -> Reader:
    """The shared reader for these paths of a type; bounded, because clients choose the combinations."""
    return Reader(STORED_TYPES[type_number], paths)


def _leaves(path: str) -> list[str]:
    """The attribute paths that a column path needs: ``a.b(type,DBID)`` needs ``a.b.type`` and ``a.b.DBID``."""
    if not path.endswith(")"):
        return [path]
    prefix, _, names = path[:-1].partition("(")
    return [f"{prefix}.{name}" if prefix else name for name in names.split(",")]


def _grow(tree: dict[str, Any], path: str) -> None:
    for step in path.split("."):
        tree = tree.setdefault(step, {})


def _column(attributes: Any, path: str) -> Column:
    if path.endswith(")"):
        prefix, _, names = path[:-1].partition("(")
        type_name, dbid_name = names.split(",")
        return Column(path, *_read(attributes, prefix, _pair_reader(type_name, dbid_name)))
    return Column(path, *_read(attributes, path, None))


def _pair_reader(type_name: str, dbid_name: str) -> Callable[[Any], int]:
    both = attrgetter(type_name, dbid_name)
    if type_name == "resourceType":
        targets = {int(kind): TYPE_NUMBERS[name] for kind, name in RESOURCE_TARGETS.items()}

        def read_resource(structure: Any) -> int:
            kind, dbid = both(structure)
            return pair_key(targets[kind], dbid) if kind in targets else 0

        return read_resource

    def read(structure: Any) -> int:
        return pair_key(*both(structure))

    return read


def _read(attributes: Any, path: str, last: Callable[[Any], int] | None) -> tuple[bool, Callable[[Any], Any]]:
    """Whether a path has many values, and the function that takes them from a record.

    ``last`` is applied to what stands at the path (for pairs). Only one attribute on a path is a
    list: the object model has no lists in lists.
    """
    if not path:
        assert last is not None
        return False, last
    steps = path.split(".")
    attribute: Attribute | None = None
    for depth, step in enumerate(steps):
        attribute = attributes[step]
        if attribute.kind is AttributeKind.STRUCT_LIST:
            take = last if last is not None else attrgetter(".".join(steps[depth + 1 :]))
            return True, _each(attrgetter(".".join(steps[: depth + 1])), take)
        if attribute.kind is AttributeKind.STRUCT:
            attributes = SCHEMA.structures[str(attribute.target)].attributes
    assert attribute is not None
    get = attrgetter(path)
    if last is not None:
        return False, lambda record: last(get(record))
    return attribute.kind is AttributeKind.LINK_LIST, get


def _each(items: Callable[[Any], Iterable[Any]], take: Callable[[Any], Any]) -> Callable[[Any], list[Any]]:
    return lambda record: [take(item) for item in items(record)]


def _struct(name: str, attributes: Any, tree: dict[str, Any]) -> type[msgspec.Struct]:
    """A Struct with the fields of ``tree``; absent structures read as empty ones."""
    fields: list[tuple[str, Any, Any]] = []
    for field_name, branch in tree.items():
        attribute: Attribute = attributes[field_name]
        if attribute.kind is AttributeKind.STRUCT or attribute.kind is AttributeKind.STRUCT_LIST:
            target = str(attribute.target)
            inner = _struct(target, SCHEMA.structures[target].attributes, branch)
            if attribute.kind is AttributeKind.STRUCT:
                fields.append((field_name, inner, inner()))
            else:
                fields.append((field_name, tuple[inner, ...], ()))  # type: ignore[valid-type]
        else:
            fields.append((field_name, *_SCALARS[attribute.kind]))
    return msgspec.defstruct(name, fields, frozen=True, gc=False)


_SCALARS: Final[dict[AttributeKind, tuple[Any, Any]]] = {
    AttributeKind.INT: (int, 0),
    AttributeKind.TIME: (int, 0),
    AttributeKind.ENUM: (int, 0),
    AttributeKind.LINK: (int, 0),
    AttributeKind.TEXT: (str, ""),
    AttributeKind.LINK_LIST: (tuple[int, ...], ()),
    AttributeKind.KV: (dict[str, Any], msgspec.field(default_factory=dict)),
}
