"""An object as a tree of elements: what the XML and the RAW form have in common.

Names are those of XML: an element has attributes (texts and whole numbers) and child elements. Objects
come in canonical form, so that two configurations that mean the same give the same trees.
"""

from __future__ import annotations

import binascii
import json
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from csproxy.core import codec
from csproxy.core.files.xml_format import BIN_PAIR, INT_PAIR, INTEGERS, LINK, LIST_PAIR, NESTED, STR_PAIR
from csproxy.core.model.canonical import canonical
from csproxy.core.model.schema import SCHEMA, Attribute, AttributeKind, ObjectType
from csproxy.errors import ErrorCode, ModelError

__all__ = ["FOLDER_ATTRIBUTE", "UNKNOWN_ELEMENT", "Element", "base64_text", "element_of"]

FOLDER_ATTRIBUTE = "csproxy:folder"
UNKNOWN_ELEMENT = "csproxy:unknown"


class Element(NamedTuple):
    """One element: name, attributes in order, child elements in order."""

    name: str
    attributes: dict[str, str | int]
    children: list[Element]


def element_of(kind: ObjectType, obj: Mapping[str, Any], folder: int) -> Element:
    """The element of an object (plain form) that stands in ``folder`` (0: it is not said).

    Raises `ModelError`: OBJECT_PACKING_ERROR naming object and attribute for a value that is not of the
    attribute's kind and text with half a surrogate pair, and what `canonical` raises.
    """
    where = _Where(kind, obj.get("DBID", 0), "")
    element = _holder(kind.name, kind.attributes, canonical(kind, dict(obj)), where)
    if folder:
        element.attributes[FOLDER_ATTRIBUTE] = _integer(where.child("folder"), folder)
    return element


class _Where(NamedTuple):
    """The place of a value, for messages."""

    kind: ObjectType
    dbid: Any
    path: str

    def child(self, name: str) -> _Where:
        return self._replace(path=f"{self.path}.{name}" if self.path else name)

    def error(self, message: str) -> ModelError:
        place = f" attribute {self.path}" if self.path else ""
        return ModelError(
            ErrorCode.OBJECT_PACKING_ERROR,
            f"{self.kind.name} {self.dbid}{place} cannot be written: {message}",
            object_type=self.kind.number,
            property_name=self.path,
        )


def _holder(name: str, known: Mapping[str, Attribute], value: Mapping[str, Any], where: _Where) -> Element:
    """The element of an object, structure or list item."""
    attributes: dict[str, str | int] = {}
    children: list[Element] = []
    for each, item in value.items():
        attribute = known.get(each)
        if attribute is None:
            children.append(_unknown(where.child(each), each, item))
        elif attribute.kind in NESTED:
            children.append(_child(attribute, item, where.child(each)))
        elif attribute.kind is AttributeKind.TEXT:
            attributes[each] = item if type(item) is str and item.isascii() else _text(where.child(each), item)
        else:
            attributes[each] = item if type(item) is int and item in INTEGERS else _integer(where.child(each), item)
    return Element(name, attributes, children)


def _child(attribute: Attribute, value: Any, where: _Where) -> Element:
    """The element of an attribute that is a structure, a list or a KV."""
    name, target = attribute.name, attribute.target or ""
    match attribute.kind:
        case AttributeKind.STRUCT:
            return _holder(name, SCHEMA.structures[target].attributes, value, where)
        case AttributeKind.STRUCT_LIST:
            members = SCHEMA.structures[target].attributes
            return Element(name, {}, [_holder(target, members, item, where) for item in value])
        case AttributeKind.LINK_LIST:
            return Element(name, {}, [Element(LINK, {"value": _integer(where, dbid)}, []) for dbid in value])
    return Element(name, {}, [_section(section, options, where) for section, options in value.items()])


def _section(section: Any, options: Mapping[Any, Any], where: _Where) -> Element:
    pairs: list[Element] = []
    for option, value in options.items():
        if type(option) is str and type(value) is str and option.isascii() and value.isascii():
            pairs.append(Element(STR_PAIR, {"key": option, "value": value}, []))
            continue
        place = where.child(f"{section}/{option}")
        key = _text(place, option)
        if isinstance(value, str):
            pairs.append(Element(STR_PAIR, {"key": key, "value": _text(place, value)}, []))
        elif isinstance(value, bytes):
            pairs.append(Element(BIN_PAIR, {"key": key, "value": base64_text(value)}, []))
        else:
            pairs.append(Element(INT_PAIR, {"key": key, "value": _integer(place, value)}, []))
    return Element(LIST_PAIR, {"key": _text(where, section)}, pairs)


def _unknown(where: _Where, name: Any, value: Any) -> Element:
    """An attribute that this release does not know: JSON where that loses nothing, else msgpack."""
    try:
        packed = codec.encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError) as e:
        raise where.error(f"its value is nothing that an object can hold ({e})") from e
    attributes: dict[str, str | int] = {"name": _text(where, name)}
    if _is_json(value):
        attributes["json"] = _text(where, json.dumps(value, ensure_ascii=False))
    else:
        attributes["msgpack"] = base64_text(packed)
    return Element(UNKNOWN_ELEMENT, attributes, [])


def _is_json(value: Any) -> bool:
    if isinstance(value, list):
        return all(_is_json(item) for item in value)
    if isinstance(value, dict):
        return all(isinstance(name, str) and _is_json(item) for name, item in value.items())
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or isinstance(value, str | int)


def _text(where: _Where, value: Any) -> str:
    if not isinstance(value, str):
        raise where.error(f"it must be text, not {type(value).__name__}")
    try:
        value.encode()
    except UnicodeEncodeError as e:
        raise where.error(f"character {e.start} is half of a surrogate pair, which is not valid Unicode") from e
    return value


def _integer(where: _Where, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise where.error(f"it must be a whole number, not {type(value).__name__}")
    if value not in INTEGERS:
        raise where.error(f"it must be a whole number of up to 64 bits, not {value}")
    return value


def base64_text(value: bytes) -> str:
    """Base64 on one line."""
    return binascii.b2a_base64(value, newline=False).decode("ascii")
