"""How one property's value is read from JSON into an object, and written from an object to JSON.

An object on its way is a plain map as `csproxy.core.model` has them, in which links are `Key`s instead of
DBIDs. Reading gives such objects; writing takes links of either form. Lists are sorted when they are
written, because their order carries no meaning and DBIDs differ from master to master.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from functools import cache, partial
from typing import Any, Final, NamedTuple

from csproxy.core.files.context import ReadContext
from csproxy.core.files.keys import Directory, Key
from csproxy.core.files.kinds import Property, structure_properties
from csproxy.core.files.references import read_reference, read_type, read_word, write_reference
from csproxy.core.files.words import word_of
from csproxy.core.model import SCHEMA, Attribute, AttributeKind
from csproxy.errors import ConfigurationError

__all__ = ["Read", "WriteContext", "reader_of", "write_property"]

_PERSON: Final = 3
_TRUE, _FALSE = 2, 1
_FLAGS: Final = {"true": _TRUE, "false": _FALSE}
_MAPS: Final = {
    "CfgSubcode": ("name", "code"),
    "CfgAppRank": ("appType", "appRank"),
    "CfgSkillLevel": ("skillDBID", "level"),
}
"""Lists of two attributes that a file holds as a map of one to the other."""

Read = Callable[[dict[str, Any], Any, ReadContext], None]
"""Reads the value of one property into the attributes of an object; the context is that of what has the property."""

_Convert = Callable[[Any, ReadContext, str], Any]
"""From JSON to the value of an attribute. The name says below the context where it stands, should it be wrong."""

_Write = Callable[[Mapping[str, Any], "WriteContext"], Any]


class WriteContext(NamedTuple):
    """Whose links are written: the directory that knows their keys, and the tenant of the object."""

    directory: Directory
    tenant: Key | None

    def key(self, target: int, link: Any) -> Key:
        """The key of a link, be it one already or a DBID."""
        return link if isinstance(link, Key) else self.directory.key(target, link)


@cache
def reader_of(property: Property) -> Read:
    """The function that reads values of a property; it raises `ConfigurationError`."""
    return _reader(property.attribute, property.name)


def write_property(property: Property, obj: Mapping[str, Any], context: WriteContext) -> Any:
    """The JSON value of a property of ``obj``, whose attribute is there."""
    return _writer_of(property)(obj, context)


@cache
def _writer_of(property: Property) -> _Write:
    return _writer(property.attribute)


def _read_structure(structure: str, value: Any, context: ReadContext) -> dict[str, Any]:
    """A nested structure from its JSON object; unknown properties are told in the warnings."""
    if not isinstance(value, dict):
        raise ConfigurationError(f"{context.where} is not an object")
    result: dict[str, Any] = {}
    known = _structure_readers(structure)
    for name, item in value.items():
        read = known.get(name)
        if read is None:
            context.progress.warnings.append(f"{context.where} has no property {name}: it is ignored")
        elif item is not None:
            read(result, item, context)
    return result


@cache
def _structure_readers(structure: str) -> Mapping[str, Read]:
    return {each.name: reader_of(each) for each in structure_properties(structure)}


def _write_structure(name: str, value: Mapping[str, Any], context: WriteContext) -> dict[str, Any]:
    return {
        each.name: write_property(each, value, context)
        for each in structure_properties(name)
        if value.get(each.attribute.name) is not None
    }


def _reader(attribute: Attribute, property: str) -> Read:
    name = attribute.name
    if name == "groupDBID" and attribute.kind is AttributeKind.INT:
        return partial(_read_group, property)
    convert = _converter(attribute)
    may_be_nothing = attribute.kind is AttributeKind.STRUCT

    def read(target: dict[str, Any], value: Any, context: ReadContext) -> None:
        if value != "" or not may_be_nothing:
            target[name] = convert(value, context, property)

    return read


@cache
def _converter(attribute: Attribute) -> _Convert:
    target = str(attribute.target)
    match attribute.kind:
        case AttributeKind.LINK:
            linked = SCHEMA.object_type(target).number
            # an empty text is no link: it takes one away, and stands for one that is required and not there
            return lambda value, context, name: read_reference(linked, value, context, name) if value != "" else 0
        case AttributeKind.LINK_LIST:
            linked = SCHEMA.object_type(target).number
            return lambda value, context, name: [
                read_reference(linked, item, context, name) for item in _list(value, context, name)
            ]
        case AttributeKind.ENUM if target == "CfgFlag":
            return _flag
        case AttributeKind.ENUM:
            return lambda value, context, name: read_word(target, value, context, name)
        case AttributeKind.STRUCT:
            return lambda value, context, name: _read_structure(target, value, context.inside(name))
        case AttributeKind.STRUCT_LIST if target in _MAPS:
            return partial(_read_map, target)
        case AttributeKind.STRUCT_LIST if target == "CfgID":
            return _read_members
        case AttributeKind.STRUCT_LIST:
            return partial(_read_structures, target)
        case AttributeKind.KV:
            return _sections
        case AttributeKind.TIME:
            return _time
        case AttributeKind.INT:
            return _number
    return _text


@cache
def _writer(attribute: Attribute) -> _Write:
    name, target = attribute.name, str(attribute.target)
    match attribute.kind:
        case AttributeKind.LINK:
            linked, explicit = SCHEMA.object_type(target).number, name == "campaignDBID"
            return lambda obj, context: (
                write_reference(context.key(linked, obj[name]), tenant=context.tenant, explicit=explicit)
                if obj[name]
                else ""
            )
        case AttributeKind.LINK_LIST:
            linked = SCHEMA.object_type(target).number
            return lambda obj, context: _sorted(
                write_reference(context.key(linked, link), tenant=context.tenant) for link in obj[name]
            )
        case AttributeKind.ENUM if target == "CfgFlag":
            return lambda obj, context: obj[name] == _TRUE
        case AttributeKind.ENUM:
            return lambda obj, context: word_of(target, obj[name])
        case AttributeKind.STRUCT:
            return lambda obj, context: "" if obj[name] is None else _write_structure(target, obj[name], context)
        case AttributeKind.STRUCT_LIST if target in _MAPS:
            return lambda obj, context: _write_map(target, obj[name], context)
        case AttributeKind.STRUCT_LIST if target == "CfgID":
            return lambda obj, context: _sorted(_write_member(item, context) for item in obj[name])
        case AttributeKind.STRUCT_LIST:
            return lambda obj, context: _sorted(_write_structure(target, item, context) for item in obj[name])
        case AttributeKind.KV:
            return lambda obj, context: _write_sections(obj[name])
        case AttributeKind.TIME:
            return lambda obj, context: datetime.fromtimestamp(obj[name], UTC).strftime("%Y-%m-%dT%H:%M:%S.000+0000")
        case AttributeKind.INT if name == "groupDBID":
            return _write_group
    if name == "tfn":
        return lambda obj, context: obj[name].split(",")
    return lambda obj, context: obj[name]


def _sorted(items: Iterable[Any]) -> list[Any]:
    found = list(items)
    if all(isinstance(item, str) for item in found):
        return sorted(found)
    return sorted(found, key=lambda item: json.dumps(item, ensure_ascii=False))


# values


def _wrong(context: ReadContext, name: str, what: str) -> ConfigurationError:
    return ConfigurationError(f"{context.inside(name).where}{what}")


def _list(value: Any, context: ReadContext, name: str) -> list[Any]:
    if not isinstance(value, list):
        raise _wrong(context, name, " is not a list")
    return value


def _text(value: Any, context: ReadContext, name: str) -> str:
    if type(value) is str:
        return value
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ",".join(value)
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise _wrong(context, name, f": {value!r} is not a text")
    return str(value)


def _number(value: Any, context: ReadContext, name: str) -> int:
    if isinstance(value, str) and value.removeprefix("-").isdigit() and value.isascii():
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise _wrong(context, name, f": {value!r} is not a whole number")
    return value


def _flag(value: Any, context: ReadContext, name: str) -> int:
    found = _FLAGS.get(str(value).lower()) if isinstance(value, (bool, str)) else None
    if found is None:
        raise _wrong(context, name, f": {value!r} is neither true nor false")
    return found


def _time(value: Any, context: ReadContext, name: str) -> int:
    """A moment in ISO 8601, or milliseconds since 1970, as seconds."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value // 1000
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        raise _wrong(context, name, f": {value!r} is no date; 2025-01-31T00:00:00Z is one") from None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


def _sections(value: Any, context: ReadContext, name: str) -> dict[str, dict[str, Any]]:
    if not isinstance(value, dict) or not all(isinstance(options, dict) for options in value.values()):
        raise _wrong(context, name, " is not an object of sections with options")
    return {
        section: {
            option: each if type(each) is str else _option(each, context, f"{name}.{section}.{option}")
            for option, each in options.items()
        }
        for section, options in value.items()
    }


def _option(value: Any, context: ReadContext, name: str) -> str | int | bytes:
    if isinstance(value, dict) and set(value) == {"$base64"}:
        try:
            return base64.b64decode(value["$base64"], validate=True)
        except (binascii.Error, TypeError, ValueError):
            raise _wrong(context, name, f": {value['$base64']!r} is not base64") from None
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise _wrong(context, name, f": {value!r} is neither a text nor a whole number")
    return value


def _write_sections(value: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    return {
        section: {name: _write_option(options[name]) for name in sorted(options)}
        for section, options in sorted(value.items())
    }


def _write_option(value: Any) -> Any:
    return {"$base64": base64.b64encode(value).decode("ascii")} if isinstance(value, bytes) else value


# maps, members, groups


def _read_structures(structure: str, value: Any, context: ReadContext, name: str) -> list[dict[str, Any]]:
    items, inside = _list(value, context, name), context.inside(name)
    return [_read_structure(structure, item, inside.inside(str(index))) for index, item in enumerate(items)]


def _read_map(structure: str, value: Any, context: ReadContext, name: str) -> list[dict[str, Any]]:
    if not isinstance(value, dict):
        raise _wrong(context, name, " is not an object")
    inside = context.inside(name)
    attributes = SCHEMA.structures[structure].attributes
    key, other = (attributes[each] for each in _MAPS[structure])
    convert_key, convert_other = _converter(key), _converter(other)
    return [
        {key.name: convert_key(each, inside, each), other.name: convert_other(item, inside, each)}
        for each, item in value.items()
    ]


def _write_map(structure: str, value: Iterable[Mapping[str, Any]], context: WriteContext) -> dict[str, Any]:
    attributes = SCHEMA.structures[structure].attributes
    key, other = (attributes[name] for name in _MAPS[structure])
    absent: Any = "" if other.kind is AttributeKind.TEXT else 0
    pairs = {str(_writer(key)(item, context)): _writer(other)({other.name: absent, **item}, context) for item in value}
    return dict(sorted(pairs.items()))


def _read_members(value: Any, context: ReadContext, name: str) -> list[dict[str, Any]]:
    """Members of an access group: employee ids, or objects that name another type."""
    result = []
    for item in _list(value, context, name):
        typed = isinstance(item, dict) and "type" in item
        target = read_type(item["type"], context, name).number if typed else _PERSON
        result.append({"DBID": read_reference(target, item, context, name), "type": target})
    return result


def _write_member(item: Mapping[str, Any], context: WriteContext) -> Any:
    target = item.get("type", _PERSON)
    key = context.key(target, item["DBID"])
    if target == _PERSON and key.parts[0] == context.tenant:
        return write_reference(key, tenant=context.tenant)
    return {"type": _type_word(target), **_as_object(write_reference(key, tenant=context.tenant, explicit=True))}


def _as_object(written: Any) -> dict[str, Any]:
    return written if isinstance(written, dict) else {"name": written}


def _type_word(number: int) -> str:
    return SCHEMA.types[number].name.removeprefix("Cfg").lower()


def _read_group(property: str, target: dict[str, Any], value: Any, context: ReadContext) -> None:
    """The group of a campaign group: ``{groupType, name}``; a name alone is that of an agent group."""
    word = value.get("groupType", "agentgroup") if isinstance(value, dict) else "agentgroup"
    type_ = read_type(word, context, f"{property}.groupType")
    if isinstance(value, dict):
        value = {name: item for name, item in value.items() if name != "groupType"}
    target["groupDBID"] = read_reference(type_.number, value, context, property)
    target["groupType"] = type_.number


def _write_group(obj: Mapping[str, Any], context: WriteContext) -> Any:
    target = obj.get("groupType", 5)
    written = write_reference(context.key(target, obj["groupDBID"]), tenant=context.tenant)
    return {"groupType": _type_word(target), **_as_object(written)}
