"""Writing objects as XML.

Objects are written in canonical form, so that two configurations that mean the same give the same
bytes if their objects come in the same order.
"""

from __future__ import annotations

import binascii
import codecs
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

import msgspec

from csproxy.core import codec
from csproxy.core.files.xml_format import (
    BASE64,
    BIN_PAIR,
    CSPROXY,
    INT_PAIR,
    INTEGERS,
    LINK,
    LIST_PAIR,
    NESTED,
    NOT_XML,
    ROOT,
    STR_PAIR,
    text_encoding,
)
from csproxy.core.model.canonical import canonical
from csproxy.core.model.schema import SCHEMA, Attribute, AttributeKind, ObjectType
from csproxy.errors import ErrorCode, ModelError

__all__ = ["write_xml"]

CHUNK_CHARACTERS: Final = 65_536

# A line break in an attribute value would be read as a space if it stood there as it is.
_ESCAPES: Final = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\t": "&#9;", "\n": "&#10;", "\r": "&#13;"}
)


def write_xml(objects: Iterable[tuple[int, Mapping[str, Any], int]], *, encoding: str = "utf-8") -> Iterator[bytes]:
    """The bytes of a file that holds ``objects``: (type number, plain form, DBID of the folder or 0).

    Pieces have about 64 KiB; ``objects`` is consumed as they are asked for. Characters that
    ``encoding`` cannot hold become character references, text that XML cannot hold base64.

    Raises `ModelError`: at once UNSUPPORTED_ENCODING; while writing UNSUPPORTED_OBJECT for a type
    number that does not exist, OBJECT_PACKING_ERROR naming object and attribute for a value that
    is not of the attribute's kind or text with half a surrogate pair, and what `canonical` raises.
    """
    return _pieces(objects, text_encoding(encoding), encoding)


def _pieces(objects: Iterable[tuple[int, Mapping[str, Any], int]], name: str, declared: str) -> Iterator[bytes]:
    encode = _Encoder(name).encode
    out = [
        f'<?xml version="1.0" encoding="{declared.upper()}"?>\n',
        f'<{ROOT} xmlns:csproxy="{CSPROXY}" xmlns:base64="{BASE64}">\n',
    ]
    size = 0
    for type_number, obj, folder in objects:
        kind = SCHEMA.object_type(type_number)
        text = _object(kind, canonical(kind, dict(obj)), folder)
        out.append(text)
        size += len(text)
        if size >= CHUNK_CHARACTERS:
            yield encode("".join(out))
            out, size = [], 0
    out.append(f"</{ROOT}>\n")
    yield encode("".join(out), True)


class _Encoder:
    """From text to bytes; what would be read as something else becomes a character reference.

    Some encodings write two characters as the same byte (EUC-JP: yen sign and backslash), so that
    being able to encode a character is not enough.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._encode = codecs.getincrementalencoder(name)().encode
        self._checked: set[str] | None = None if name.startswith("utf") else set()
        self._references: dict[int, str] = {}

    def encode(self, text: str, final: bool = False) -> bytes:
        if self._checked is not None:
            new = set(text) - self._checked
            self._checked |= new
            self._references |= {
                ord(character): f"&#{ord(character)};" for character in new if not self._holds(character)
            }
            text = text.translate(self._references)
        return self._encode(text, final)

    def _holds(self, character: str) -> bool:
        try:
            return character.encode(self._name).decode(self._name) == character
        except UnicodeError:
            return False


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


def _object(kind: ObjectType, obj: Mapping[str, Any], folder: int) -> str:
    where = _Where(kind, obj.get("DBID", 0), "")
    out: list[str] = []
    extra = f' csproxy:folder="{_integer(where.child("folder"), folder)}"' if folder else ""
    _holder(out, kind.name, kind.attributes, obj, where, indent="  ", extra=extra)
    return "".join(out)


def _holder(
    out: list[str],
    element: str,
    attributes: Mapping[str, Attribute],
    value: Mapping[str, Any],
    where: _Where,
    *,
    indent: str,
    extra: str = "",
) -> None:
    """The element of an object, structure or list item."""
    out.append(f"{indent}<{element}")
    nested: list[tuple[str, Attribute | None, Any]] = []
    for name, item in value.items():
        attribute = attributes.get(name)
        if attribute is None or attribute.kind in NESTED:
            nested.append((name, attribute, item))
        elif attribute.kind is AttributeKind.TEXT:
            out.append(_plain_text(name, item) or _text(where.child(name), name, item))
        elif type(item) is int and item in INTEGERS:
            out.append(f' {name}="{item}"')
        else:
            out.append(f' {name}="{_integer(where.child(name), item)}"')
    out.append(extra)
    if not nested:
        out.append("/>\n")
        return
    out.append(">\n")
    for name, attribute, item in nested:
        place = where.child(name)
        if attribute is None:
            out.append(_unknown(place, name, item, indent + "  "))
        else:
            _child(out, attribute, item, place, indent=indent + "  ")
    out.append(f"{indent}</{element}>\n")


def _child(out: list[str], attribute: Attribute, value: Any, where: _Where, *, indent: str) -> None:
    """The element of an attribute that is a structure, a list or a KV."""
    name, target = attribute.name, attribute.target or ""
    if attribute.kind is AttributeKind.STRUCT:
        _holder(out, name, SCHEMA.structures[target].attributes, value, where, indent=indent)
        return
    out.append(f"{indent}<{name}>\n")
    inner = indent + "  "
    if attribute.kind is AttributeKind.STRUCT_LIST:
        members = SCHEMA.structures[target].attributes
        for item in value:
            _holder(out, target, members, item, where, indent=inner)
    elif attribute.kind is AttributeKind.LINK_LIST:
        out.extend(f'{inner}<{LINK} value="{_integer(where, dbid)}"/>\n' for dbid in value)
    else:
        for section, options in value.items():
            _section(out, section, options, where, indent=inner)
    out.append(f"{indent}</{name}>\n")


def _section(out: list[str], section: Any, options: Mapping[Any, Any], where: _Where, *, indent: str) -> None:
    out.append(f"{indent}<{LIST_PAIR}{_text(where, 'key', section)}")
    if not options:
        out.append("/>\n")
        return
    out.append(">\n")
    for option, value in options.items():
        key, content = _plain_text("key", option), _plain_text("value", value)
        if key and content:
            out.append(f"{indent}  <{STR_PAIR}{key}{content}/>\n")
            continue
        place = where.child(f"{section}/{option}")
        key = _text(place, "key", option)
        if isinstance(value, str):
            pair = f"{STR_PAIR}{key}{_text(place, 'value', value)}"
        elif isinstance(value, bytes):
            pair = f'{BIN_PAIR}{key} value="{_base64(value)}"'
        else:
            pair = f'{INT_PAIR}{key} value="{_integer(place, value)}"'
        out.append(f"{indent}  <{pair}/>\n")
    out.append(f"{indent}</{LIST_PAIR}>\n")


def _unknown(where: _Where, name: Any, value: Any, indent: str) -> str:
    """An attribute that this release does not know: JSON where that loses nothing, else msgpack."""
    try:
        packed = codec.encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError) as e:
        raise where.error(f"its value is nothing that an object can hold ({e})") from e
    if _is_json(value):
        content = _text(where, "json", json.dumps(value, ensure_ascii=False))
    else:
        content = f' msgpack="{_base64(packed)}"'
    return f"{indent}<csproxy:unknown{_text(where, 'name', name)}{content}/>\n"


def _is_json(value: Any) -> bool:
    if isinstance(value, list):
        return all(_is_json(item) for item in value)
    if isinstance(value, dict):
        return all(isinstance(name, str) and _is_json(item) for name, item in value.items())
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or isinstance(value, str | int)


def _plain_text(name: str, value: Any) -> str:
    """One XML attribute with text, or "" where `_text` has to look closer; most texts pass here, without a place."""
    if isinstance(value, str) and NOT_XML.search(value) is None:
        return f' {name}="{value.translate(_ESCAPES)}"'
    return ""


def _text(where: _Where, name: str, value: Any) -> str:
    """One XML attribute with text, as base64 if need be."""
    if not isinstance(value, str):
        raise where.error(f"it must be text, not {type(value).__name__}")
    if plain := _plain_text(name, value):
        return plain
    try:
        return f' base64:{name}="{_base64(value.encode())}"'
    except UnicodeEncodeError as e:
        raise where.error(f"character {e.start} is half of a surrogate pair, which is not valid Unicode") from e


def _integer(where: _Where, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise where.error(f"it must be a whole number, not {type(value).__name__}")
    if value not in INTEGERS:
        raise where.error(f"it must be a whole number of up to 64 bits, not {value}")
    return value


def _base64(value: bytes) -> str:
    return binascii.b2a_base64(value, newline=False).decode("ascii")
