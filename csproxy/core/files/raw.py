"""The RAW form of *mutagen* (formatVersion 1.1.1): the XML elements of objects as JSON.

An element is a JSON object: its XML attributes and child elements are properties, sorted by name. Child
elements of one name stand in an array, one alone by itself; an element with nothing in it is ``""``, one
that has only ``value`` is that value. There is one array for each object type, objects by DBID.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import msgspec

from csproxy.core.files.elements import Element, element_of
from csproxy.core.files.frames import BuildError, Frame, PassedOver, RootFrame
from csproxy.core.files.keys import Directory
from csproxy.core.files.kinds import KINDS
from csproxy.core.files.reading import METADATA, utf8_text
from csproxy.core.files.xml_format import CSPROXY, LINK, NESTED, XmlObject
from csproxy.core.model.schema import SCHEMA, AttributeKind
from csproxy.errors import ConfigurationError

__all__ = ["RAW_NAME", "RAW_VERSION", "read_raw", "write_raw"]

RAW_NAME: Final = "RAW"
RAW_VERSION: Final = "1.1.1"

_CONSTANTS: Final = {int(member): name for name, member in SCHEMA.enumerations["CfgObjectType"].__members__.items()}
_ITEMS: Final = {"CfgConnInfo": "CfgConnectionInfo", "CfgAppRank": "CfgPersonRank", "CfgDNInfo": "CfgGroupDN"}
"""Structures whose items have another name in the vendor's XML than in its published object model."""
_STRUCTURES: Final = {name: structure for structure, name in _ITEMS.items()}
_MAPS: Final = [kind.attributes for kind in SCHEMA.types.values()] + [s.attributes for s in SCHEMA.structures.values()]
_ATTRIBUTES: Final = [attribute for attributes in _MAPS for attribute in attributes.values()]
# The same name is never a single value here and an element there, nor a list of links here and something else there.
_ELEMENTS: Final = {each.name for each in _ATTRIBUTES if each.kind in NESTED} | {*SCHEMA.structures, *_STRUCTURES}
_LINK_LISTS: Final = {each.name for each in _ATTRIBUTES if each.kind is AttributeKind.LINK_LIST}


def write_raw(directory: Directory, *, on_object: Callable[[int], object] = lambda count: None) -> Iterator[str]:
    """The file in pieces of text; ``on_object`` is told how many objects are written. Raises as `element_of`."""
    metadata = json.dumps({"formatName": RAW_NAME, "formatVersion": RAW_VERSION})
    yield f'{{\n  "{METADATA}": {metadata}'
    count = 0
    for kind in sorted((kind.type for kind in KINDS), key=lambda kind: _CONSTANTS[kind.number]):
        yield f',\n  "{_CONSTANTS[kind.number]}": ['
        separator, end = "\n    ", "]"
        for dbid, obj in sorted(directory.objects(kind.number).items()):
            element = element_of(kind, obj, directory.folder_of(kind.number, dbid))
            pretty = msgspec.json.format(msgspec.json.encode(_as_json(element)), indent=2)
            yield separator + pretty.decode().replace("\n", "\n    ")
            separator, end = ",\n    ", "\n  ]"
            count += 1
            on_object(count)
        yield end
    yield "\n}\n"


def _as_json(element: Element) -> Any:
    result: dict[str, Any] = dict(element.attributes)
    children: dict[str, list[Any]] = {}
    for child in element.children:
        children.setdefault(_ITEMS.get(child.name, child.name), []).append(_as_json(child))
    result |= {name: items[0] if len(items) == 1 else items for name, items in children.items()}
    if result.keys() == {"value"}:
        return result["value"]
    return dict(sorted(result.items())) or ""


def read_raw(data: bytes, warnings: list[str]) -> Iterator[XmlObject]:
    """The objects of a file, in its order; types that do not exist are told in ``warnings`` and passed over.

    Mutagen writes texts that look like numbers or words of JSON as such; they are read as what the attribute
    holds. An attribute that this release does not know is kept as text.

    Raises `ConfigurationError` saying where: not UTF-8, not JSON, another format, a value that cannot be what
    it stands for.
    """
    document = _document(data)
    types = {_CONSTANTS[number]: kind for number, kind in SCHEMA.types.items()}
    for name, items in document.items():
        if name == METADATA:
            continue
        kind = types.get(name)
        if kind is None:
            warnings.append(f"there is no object type {name!r}: it is ignored")
            continue
        for index, item in enumerate(_listed(items)):
            root = RootFrame(is_lenient=True)
            try:
                _feed(root, kind.name, item)
            except BuildError as e:
                raise ConfigurationError(f"{name}[{index}]: {e}") from e
            yield root.begun[0]


def _document(data: bytes) -> Mapping[str, Any]:
    try:
        # a number stays the text that it is: only the attribute knows what it means
        document = json.loads(utf8_text(data), parse_int=str, parse_float=str)
    except (ValueError, RecursionError) as e:
        raise ConfigurationError(f"the file is not JSON: {e}") from e
    metadata = document.get(METADATA) if isinstance(document, dict) else None
    given = metadata if isinstance(metadata, dict) else {}
    name, version = given.get("formatName"), str(given.get("formatVersion", RAW_VERSION))
    if name != RAW_NAME or version.partition(".")[0] != RAW_VERSION.partition(".")[0]:
        raise ConfigurationError(
            f"the file is in format {name} {version}; this reads {RAW_NAME} {RAW_VERSION.partition('.')[0]}.x"
        )
    assert isinstance(document, dict)
    return document


def _feed(parent: Frame, name: str, item: Any) -> None:
    """Begin the element ``name`` below ``parent``, with everything in it."""
    attributes: dict[str, str] = {}
    children: list[tuple[str, Any]] = []
    for member, value in _members(item):
        is_element = isinstance(value, (dict, list)) or (value == "" and member in _ELEMENTS)
        if is_element or (name in _LINK_LISTS and member == LINK):
            children += [(member, each) for each in _listed(value)]
        else:
            attributes[_expanded(member)] = _text(value)
    frame = parent.child(_STRUCTURES.get(name, _expanded(name)), attributes)
    if not isinstance(frame, PassedOver):
        for member, each in children:
            _feed(frame, member, each)


def _members(item: Any) -> list[tuple[str, Any]]:
    if isinstance(item, dict):
        return list(item.items())
    return [] if item == "" else [("value", item)]


def _listed(value: Any) -> list[Any]:
    """One item may stand without its array."""
    return value if isinstance(value, list) else [value]


def _expanded(name: str) -> str:
    return name.replace("csproxy:", f"{CSPROXY} ", 1)


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return {True: "true", False: "false", None: "null"}[value]
