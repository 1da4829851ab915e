"""Objects and deltas as JSON: published attribute names, enumerations as names.

Stored objects hold enumerations as numbers and option values that may be bytes; JSON output shows
enumerations by name (a number that this release does not know stays a number) and bytes as
``{"$base64": "…"}``. Reading JSON accepts names and numbers alike. The forms are documented in
docs/reference/command-line.md and do not change.
"""

from __future__ import annotations

import base64
import binascii
import difflib
from collections.abc import Mapping
from typing import Any

from csproxy.core.model import SCHEMA, Attribute, AttributeKind, ObjectType
from csproxy.errors import ErrorCode, ModelError

__all__ = ["delta_to_json", "enumeration_value", "object_from_json", "object_to_json", "value_from_json"]

_Attributes = Mapping[str, Attribute]


def object_to_json(type_: ObjectType, stored: Mapping[str, Any]) -> dict[str, Any]:
    """A decoded stored object with names for numbers of enumerations."""
    return _struct_to_json(type_.attributes, stored)


def delta_to_json(type_: ObjectType, delta: Mapping[str, Any]) -> dict[str, Any]:
    """A delta in the same form: lists have added, changed and deleted parts, options as well."""
    return _delta_to_json(type_.attributes, delta)


def object_from_json(type_: ObjectType, value: Any) -> dict[str, Any]:
    """The plain form of an object given as JSON: names become numbers; kinds are checked by the server.

    Raises `ModelError` for an attribute or enumeration name that does not exist, with close matches.
    """
    if not isinstance(value, dict):
        raise ModelError(
            ErrorCode.WRONG_API_PARAMETERS,
            f"a {type_.name} is a JSON object {{…}}, not {value!r}",
            object_type=type_.number,
        )
    return _struct_from_json(type_, type_.name, type_.attributes, value)


def enumeration_value(enumeration: str, value: Any, *, where: str) -> int:
    """The number of an enumeration's member given by name, or as a number or a text of digits.

    Raises `ModelError` that names ``where`` and members with a similar name.
    """
    members = SCHEMA.enumerations[enumeration].__members__
    if isinstance(value, str):
        if value in members:
            return int(members[value])
        if value.lstrip("-").isdigit():
            return int(value)
        names = list(members)
        close = difflib.get_close_matches(value, names, n=3, cutoff=0.5) or names[:3]
        raise ModelError(
            ErrorCode.VALUE_OUT_OF_RANGE, f"{where}: {value!r} is no {enumeration}; such as {', '.join(close)} is"
        )
    if isinstance(value, bool) or not isinstance(value, int):
        raise ModelError(
            ErrorCode.VALUE_OUT_OF_RANGE, f"{where}: {value!r} is neither name nor number of a {enumeration}"
        )
    return value


# To JSON


def _struct_to_json(attributes: _Attributes, value: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _value_to_json(attributes.get(name), item) for name, item in value.items()}


def _value_to_json(attribute: Attribute | None, value: Any) -> Any:
    if attribute is not None and attribute.target is not None:
        kind = attribute.kind
        if kind is AttributeKind.ENUM and isinstance(value, int):
            return _enumeration_name(attribute.target, value)
        if kind is AttributeKind.STRUCT and isinstance(value, dict):
            return _struct_to_json(SCHEMA.structures[attribute.target].attributes, value)
        if kind is AttributeKind.STRUCT_LIST and isinstance(value, list):
            return [_struct_to_json(SCHEMA.structures[attribute.target].attributes, item) for item in value]
    return _without_bytes(value)


def _enumeration_name(enumeration: str, value: int) -> str | int:
    found = SCHEMA.enumerations[enumeration]._value2member_map_.get(value)
    return value if found is None else str(found.name)


def _without_bytes(value: Any) -> Any:
    if isinstance(value, bytes):
        return {"$base64": base64.b64encode(value).decode("ascii")}
    if isinstance(value, dict):
        return {str(key): _without_bytes(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_bytes(item) for item in value]
    return value


def _delta_to_json(attributes: _Attributes, delta: Mapping[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for name, value in delta.items():
        attribute = attributes.get(name)
        if attribute is None or attribute.target is None or not isinstance(value, dict):
            result[name] = _value_to_json(attribute, value)
            continue
        if attribute.kind is AttributeKind.STRUCT:
            result[name] = _delta_to_json(SCHEMA.structures[attribute.target].attributes, value)
        elif attribute.kind is AttributeKind.STRUCT_LIST:
            result[name] = {part: _value_to_json(attribute, items) for part, items in value.items()}
        else:
            result[name] = _without_bytes(value)
    return result


# From JSON


def _struct_from_json(
    type_: ObjectType, where: str, attributes: _Attributes, value: Mapping[str, Any]
) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for name, item in value.items():
        attribute = attributes.get(name)
        if attribute is None:
            close = difflib.get_close_matches(name, list(attributes), n=1, cutoff=0.6)
            hint = f"; is {close[0]} meant?" if close else ""
            raise ModelError(
                ErrorCode.UNSUPPORTED_PROPERTY,
                f"{where} has no attribute {name!r}{hint}",
                object_type=type_.number,
                property_name=name,
            )
        result[name] = value_from_json(type_, f"{where}.{name}", attribute, item)
    return result


def value_from_json(type_: ObjectType, where: str, attribute: Attribute, value: Any) -> Any:
    """The plain form of one attribute's value; ``where`` names it in refusals. Null stays None."""
    kind, target = attribute.kind, attribute.target
    if value is None:
        return None
    if target is not None:
        if kind is AttributeKind.ENUM:
            return enumeration_value(target, value, where=where)
        if kind is AttributeKind.STRUCT and isinstance(value, dict):
            return _struct_from_json(type_, where, SCHEMA.structures[target].attributes, value)
        if kind is AttributeKind.STRUCT_LIST and isinstance(value, list):
            members = SCHEMA.structures[target].attributes
            return [
                _struct_from_json(type_, f"{where}[{index}]", members, item) if isinstance(item, dict) else item
                for index, item in enumerate(value)
            ]
    if kind is AttributeKind.KV:
        return _with_bytes(value, where)
    return value


def _with_bytes(value: Any, where: str) -> Any:
    if isinstance(value, dict):
        if set(value) == {"$base64"}:
            try:
                return base64.b64decode(value["$base64"], validate=True)
            except (binascii.Error, TypeError, ValueError):
                raise ModelError(ErrorCode.VALUE_OUT_OF_RANGE, f"{where}: {value['$base64']!r} is not base64") from None
        return {key: _with_bytes(item, where) for key, item in value.items()}
    return value
