"""Typed objects and typed deltas from and to their plain and stored forms.

An object that holds only what this release knows is decoded by one compiled decoder. Anything else
takes the slow path: what is unknown is taken apart into ``unknown`` of the object or structure that
held it, and is put back when the object is encoded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import msgspec

from csproxy.core import codec
from csproxy.core.model.base import (
    UNKNOWN_FIELD,
    CfgDelta,
    CfgObject,
    UnknownAttributes,
)
from csproxy.core.model.canonical import encode_object
from csproxy.core.model.misencoded import text_error
from csproxy.core.model.schema import SCHEMA, Attribute, AttributeKind, ObjectType
from csproxy.errors import ErrorCode, ModelError

__all__ = ["decode_object", "delta_from_plain", "encode_typed", "from_plain", "to_plain"]


@cache
def _decoder(object_type: ObjectType) -> Callable[[bytes], CfgObject]:
    return msgspec.msgpack.Decoder(object_type.cls).decode


def decode_object(object_type: ObjectType, stored: bytes) -> CfgObject:
    """The typed object that ``stored`` is the encoding of.

    Raises `ModelError` (OBJECT_PACKING_ERROR) if it is no map or an attribute is of another kind
    than the schema says, and UNSUPPORTED_ENCODING if a text is not UTF-8.
    """
    try:
        try:
            return _decoder(object_type)(stored)
        except msgspec.ValidationError:
            plain = codec.decode_map(stored)
    except msgspec.DecodeError as error:  # ValidationError is one
        raise _packing_error(object_type, error) from error
    except UnicodeDecodeError as error:
        raise text_error("an object", stored, error, object_type=object_type.number) from error
    return from_plain(object_type, plain)


def from_plain(object_type: ObjectType, obj: Mapping[str, Any]) -> CfgObject:
    """The typed form of a plain object. Raises `ModelError` as `decode_object` does."""
    separated = _walk(object_type.attributes, obj, _separate)
    try:
        return msgspec.convert(separated, object_type.cls, dec_hook=_to_unknown)
    except msgspec.ValidationError as error:
        raise _packing_error(object_type, error) from error


def delta_from_plain(object_type: ObjectType, delta: Mapping[str, Any]) -> CfgDelta:
    """The typed form of a plain delta, as a notification carries it. Errors as `decode_object`."""
    separated = _walk(object_type.attributes, delta, _separate, is_delta=True)
    try:
        return msgspec.convert(separated, object_type.delta_cls, dec_hook=_to_unknown)
    except msgspec.ValidationError as error:
        raise _packing_error(object_type, error) from error


def to_plain(typed: CfgObject | CfgDelta) -> dict[str, Any]:
    """The plain form of a typed object or delta; unknown attributes are among the others again."""
    has_unknown = False

    def from_unknown(value: object) -> dict[str, Any]:
        nonlocal has_unknown
        has_unknown = True
        assert isinstance(value, UnknownAttributes), value
        return dict(value)

    plain: dict[str, Any] = msgspec.to_builtins(typed, builtin_types=(bytes,), enc_hook=from_unknown)
    if has_unknown:
        plain = _walk(typed.object_type().attributes, plain, _join, is_delta=isinstance(typed, CfgDelta))
    return plain


def encode_typed(obj: CfgObject) -> bytes:
    """The canonical encoding of a typed object; errors as `encode_object`."""
    return encode_object(obj.object_type(), to_plain(obj))


def _packing_error(object_type: ObjectType, error: msgspec.DecodeError) -> ModelError:
    return ModelError(
        ErrorCode.OBJECT_PACKING_ERROR,
        f"this is no {object_type.name}: {error}",
        object_type=object_type.number,
    )


def _to_unknown(wanted: type, value: Any) -> UnknownAttributes:
    """Decoding hook: the only class that msgspec does not know itself."""
    assert wanted is UnknownAttributes, wanted
    return UnknownAttributes(value)


_Visit = Callable[[Mapping[str, Attribute], dict[str, Any]], dict[str, Any]]


def _separate(attributes: Mapping[str, Attribute], value: dict[str, Any]) -> dict[str, Any]:
    known = {name: item for name, item in value.items() if name in attributes}
    if len(known) != len(value):
        known[UNKNOWN_FIELD] = {name: item for name, item in value.items() if name not in attributes}
    return known


def _join(attributes: Mapping[str, Attribute], value: dict[str, Any]) -> dict[str, Any]:
    unknown = value.pop(UNKNOWN_FIELD, {})
    return {**value, **{name: item for name, item in unknown.items() if name not in attributes}}


def _walk(
    attributes: Mapping[str, Attribute], value: Mapping[str, Any], visit: _Visit, *, is_delta: bool = False
) -> dict[str, Any]:
    """A copy of ``value`` with ``visit`` applied to it and to every structure inside, inner ones first."""
    result = dict(value)
    for name, item in value.items():
        attribute = attributes.get(name)
        if attribute is None or not item:
            continue
        if attribute.kind is AttributeKind.STRUCT and isinstance(item, dict):
            result[name] = _walk(_members(attribute), item, visit, is_delta=is_delta)
        elif attribute.kind is AttributeKind.STRUCT_LIST:
            if is_delta and isinstance(item, dict):
                result[name] = {part: _walk_items(attribute, items, visit) for part, items in item.items()}
            else:
                result[name] = _walk_items(attribute, item, visit)
    return visit(attributes, result)


def _walk_items(attribute: Attribute, items: Any, visit: _Visit) -> Any:
    """Items of a list; what has another shape is left for the conversion to complain about."""
    if not isinstance(items, list):
        return items
    members = _members(attribute)
    return [_walk(members, item, visit) if isinstance(item, dict) else item for item in items]


def _members(attribute: Attribute) -> Mapping[str, Attribute]:
    return SCHEMA.structures[attribute.target or ""].attributes
