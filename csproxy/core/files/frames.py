"""From elements to objects: what may stand where, as one class per sort of element.

Each open element has a frame; a frame knows what its child elements may be and makes their frames.
As every name is checked when its element begins, nesting is never deeper than the object model.
The XML reader feeds frames from a parser, the RAW reader from JSON.
"""

from __future__ import annotations

import binascii
import json
import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, Final, Protocol

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
    ROOT,
    STR_PAIR,
    XmlObject,
)
from csproxy.core.model.schema import SCHEMA, Attribute, AttributeKind, ObjectType

__all__ = ["BuildError", "Frame", "PassedOver", "RootFrame", "StartFrame"]

_INTEGER: Final = re.compile(r"-?[0-9]{1,20}")
_SHORT: Final = 19
"""Numbers with fewer digits are in `INTEGERS` in any case."""
_IN_BASE64: Final = f"{BASE64} "
_FOLDER: Final = f"{CSPROXY} folder"
_UNKNOWN: Final = f"{CSPROXY} unknown"
_TYPES_BY_NAME: Final[Mapping[str, ObjectType]] = {kind.name: kind for kind in SCHEMA.types.values()}

Attributes = dict[str, str]
"""XML attributes by expanded name: ``name``, or ``namespace name``."""


class BuildError(Exception):
    """An element or attribute that may not be where it is; the reader adds the position."""

    def __init__(self, message: str, *, kind: ObjectType | None = None, path: str = "") -> None:
        super().__init__(message)
        self.kind = kind
        self.path = path


class Frame(Protocol):
    """One open element."""

    def child(self, name: str, attributes: Attributes) -> Frame:
        """The frame of a child element that begins. Raises `BuildError`."""


class StartFrame:
    """Above the outermost element."""

    def __init__(self, root: RootFrame) -> None:
        self._root = root

    def child(self, name: str, attributes: Attributes) -> Frame:
        """The root; what attributes it has says nothing about objects."""
        del attributes
        if name != ROOT:
            raise BuildError(f"the outermost element must be {ROOT}, not {_shown(name)}")
        return self._root


class RootFrame:
    """``ConfData``: its children are objects.

    ``begun`` holds the objects whose elements have begun; who fetches them takes them out. With ``is_lenient``
    an attribute that this release does not know is kept: as text, or None if it is no single value.
    """

    def __init__(self, *, is_lenient: bool = False) -> None:
        self.begun: list[XmlObject] = []
        self._is_lenient = is_lenient

    def child(self, name: str, attributes: Attributes) -> Frame:
        """An object."""
        kind = _TYPES_BY_NAME.get(name)
        if kind is None:
            raise BuildError(f"{_shown(name)} is no object type{_hint(name, _TYPES_BY_NAME)}")
        place = _Place(kind, attributes.get("DBID", ""), "", self._is_lenient)
        folder = _integer(place.at("folder"), attributes.pop(_FOLDER, "0"))
        values: dict[str, Any] = {}
        self.begun.append(XmlObject(kind.number, values, folder))
        return _HolderFrame(place, kind.attributes, values, attributes)


class _Place:
    """Which attribute of which object, for messages."""

    __slots__ = ("dbid", "is_lenient", "kind", "path")

    def __init__(self, kind: ObjectType, dbid: str, path: str, is_lenient: bool) -> None:
        self.kind = kind
        self.dbid = dbid
        self.path = path
        self.is_lenient = is_lenient

    def at(self, name: str) -> _Place:
        return _Place(self.kind, self.dbid, f"{self.path}.{name}" if self.path else name, self.is_lenient)

    def error(self, message: str) -> BuildError:
        named = f"{self.kind.name} {self.dbid}".rstrip()
        return BuildError(f"{named}, {self.path or 'object'}: {message}", kind=self.kind, path=self.path)


class _HolderFrame:
    """An object, a structure or an item of a list."""

    def __init__(
        self, place: _Place, known: Mapping[str, Attribute], values: dict[str, Any], attributes: Attributes
    ) -> None:
        self._place = place
        self._known = known
        self._values = values
        for name, text in _texts(place, attributes).items():
            attribute = known.get(name)
            if attribute is None:
                self._check_lenient(name)
                values[name] = text
            else:
                values[name] = _scalar(place, attribute, text)

    def child(self, name: str, attributes: Attributes) -> Frame:
        if name == _UNKNOWN:
            return self._unknown(attributes)
        attribute = self._known.get(name)
        if attribute is None:
            self._check_lenient(name)
            self._values[name] = None
            return PassedOver(self._place)
        place = self._place.at(name)
        if attribute.kind not in NESTED:
            raise place.error("it is written as an XML attribute, not as an element")
        if name in self._values:
            raise place.error("it is there twice")
        target = SCHEMA.structures.get(attribute.target or "")
        if attribute.kind is AttributeKind.STRUCT and target is not None:
            holder: dict[str, Any] = {}
            self._values[name] = holder
            return _HolderFrame(place, target.attributes, holder, attributes)
        _no_attributes(place, attributes)
        if attribute.kind is AttributeKind.KV:
            sections: dict[str, dict[str, Any]] = {}
            self._values[name] = sections
            return _OptionsFrame(place, sections)
        items: list[Any] = []
        self._values[name] = items
        if target is None:
            return _LinksFrame(place, items)
        return _ItemsFrame(place, target.name, target.attributes, items)

    def _check_lenient(self, name: str) -> None:
        if not self._place.is_lenient:
            raise self._place.at(name).error(f"there is no such attribute{_hint(name, self._known)}")

    def _unknown(self, attributes: Attributes) -> Frame:
        texts = dict(_texts(self._place, attributes))
        name = texts.pop("name", None)
        if name is None:
            raise self._place.error("an unknown attribute has a name")
        place = self._place.at(name)
        if name in self._known or name in self._values:
            raise place.error("an unknown attribute has the name of another one")
        match texts:
            case {"json": text, **rest} if not rest:
                self._values[name] = _from_json(place, text)
            case {"msgpack": text, **rest} if not rest:
                try:
                    self._values[name] = codec.decode(_bytes(place, text))
                except (msgspec.DecodeError, RecursionError) as e:
                    raise place.error(f"its msgpack cannot be read ({e})") from e
            case _:
                raise place.error("an unknown attribute has the XML attributes name, and json or msgpack")
        return _LeafFrame(place)


class _ItemsFrame:
    """A list of structures."""

    def __init__(self, place: _Place, item: str, known: Mapping[str, Attribute], items: list[Any]) -> None:
        self._place = place
        self._item = item
        self._known = known
        self._items = items

    def child(self, name: str, attributes: Attributes) -> Frame:
        _expect(self._place, name, self._item)
        values: dict[str, Any] = {}
        self._items.append(values)
        return _HolderFrame(self._place, self._known, values, attributes)


class _LinksFrame:
    """A list of DBIDs."""

    def __init__(self, place: _Place, items: list[Any]) -> None:
        self._place = place
        self._items = items

    def child(self, name: str, attributes: Attributes) -> Frame:
        _expect(self._place, name, LINK)
        self._items.append(_integer(self._place, _only(self._place, attributes, ("value",))[0]))
        return _LeafFrame(self._place)


class _OptionsFrame:
    """A KV: sections."""

    def __init__(self, place: _Place, sections: dict[str, dict[str, Any]]) -> None:
        self._place = place
        self._sections = sections

    def child(self, name: str, attributes: Attributes) -> Frame:
        _expect(self._place, name, LIST_PAIR)
        (section,) = _only(self._place, attributes, ("key",))
        if section in self._sections:
            raise self._place.error(f"section {section!r} is there twice")
        options: dict[str, Any] = {}
        self._sections[section] = options
        return _SectionFrame(self._place.at(section), options)


class _SectionFrame:
    """A section: options."""

    def __init__(self, place: _Place, options: dict[str, Any]) -> None:
        self._place = place
        self._options = options

    def child(self, name: str, attributes: Attributes) -> Frame:
        key, text = _only(self._place, attributes, ("key", "value"))
        if key in self._options:
            raise self._place.error(f"option {key!r} is there twice")
        place = self._place.at(key)
        match name:
            case "str_pair":
                value: str | int | bytes = text
            case "int_pair":
                value = _integer(place, text)
            case "bin_pair":
                value = _bytes(place, text)
            case _:
                raise place.error(f"an option is {STR_PAIR}, {INT_PAIR} or {BIN_PAIR}, not {_shown(name)}")
        self._options[key] = value
        return _LeafFrame(place)


class _LeafFrame:
    """An element that holds nothing."""

    def __init__(self, place: _Place) -> None:
        self._place = place

    def child(self, name: str, attributes: Attributes) -> Frame:
        del attributes
        raise self._place.error(f"there may be no element {_shown(name)} here")


class PassedOver(_LeafFrame):
    """An element that means nothing here: what is in it is not looked at."""


def _texts(place: _Place, attributes: Attributes) -> Attributes:
    """The XML attributes by local name, base64 undone; most elements have none in a namespace."""
    if " " not in "".join(attributes):
        return attributes
    result: Attributes = {}
    for name, text in attributes.items():
        local = name.removeprefix(_IN_BASE64)
        if " " in local:
            raise place.error(f"there may be no XML attribute {_shown(name)} here")
        if local in result:
            raise place.at(local).error("it is there twice, plain and as base64")
        result[local] = text if local is name else _text_of(place.at(local), text)
    return result


def _text_of(place: _Place, text: str) -> str:
    try:
        return _bytes(place, text).decode()
    except UnicodeDecodeError as e:
        raise place.error(f"its base64 is not UTF-8 at byte {e.start}") from e


def _bytes(place: _Place, text: str) -> bytes:
    try:
        return binascii.a2b_base64(text.encode("ascii"), strict_mode=True) if text else b""
    except (UnicodeEncodeError, binascii.Error) as e:
        raise place.error(f"this is not base64 ({e})") from e


def _scalar(place: _Place, attribute: Attribute, text: str) -> str | int:
    if attribute.kind is AttributeKind.TEXT:
        return text
    if _INTEGER.fullmatch(text) and len(text) < _SHORT and attribute.kind not in NESTED:
        return int(text)
    place = place.at(attribute.name)
    if attribute.kind in NESTED:
        raise place.error("it is written as an element, not as an XML attribute")
    if attribute.kind is AttributeKind.ENUM and text[:1].isalpha():
        members = SCHEMA.enumerations[attribute.target or ""].__members__
        if text not in members:
            raise place.error(f"{text!r} is no member of {attribute.target}{_hint(text, members)}")
        return int(members[text])
    return _integer(place, text)


def _integer(place: _Place, text: str) -> int:
    if not _INTEGER.fullmatch(text) or (number := int(text)) not in INTEGERS:
        raise place.error(f"it must be a whole number of up to 64 bits, not {text[:40]!r}")
    return number


def _from_json(place: _Place, text: str) -> Any:
    def refuse(constant: str) -> Any:
        raise ValueError(f"{constant} is not JSON")

    try:
        value = json.loads(text, parse_constant=refuse)
        codec.encode(value)  # what no object can hold is refused here, where its place is known
    except (ValueError, OverflowError, RecursionError, msgspec.MsgspecError) as e:
        raise place.error(f"its JSON cannot be read ({e})") from e
    return value


def _only(place: _Place, attributes: Attributes, names: tuple[str, ...]) -> list[str]:
    """The values of exactly these XML attributes."""
    texts = _texts(place, attributes)
    if texts.keys() != set(names):
        had = ", ".join(_shown(name) for name in sorted(texts)) or "none"
        raise place.error(f"this element has the XML attributes {' and '.join(names)}, here are {had}")
    return [texts[name] for name in names]


def _no_attributes(place: _Place, attributes: Attributes) -> None:
    for name in attributes:
        raise place.error(f"there may be no XML attribute {_shown(name)} here")


def _expect(place: _Place, name: str, wanted: str) -> None:
    if name != wanted:
        raise place.error(f"here may be {wanted}, not {_shown(name)}")


def _shown(name: str) -> str:
    return repr(name[:80])


def _hint(name: str, known: Mapping[str, object]) -> str:
    close = get_close_matches(name[:80], known, n=3)
    return f": did you mean {' or '.join(close)}?" if close else ""
