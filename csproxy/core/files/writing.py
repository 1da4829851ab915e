"""Writing a configuration file: the same configuration gives the same bytes, whatever the DBIDs.

Kinds stand in the order of the format, objects by their key, properties in the order of their kind.
Attributes at their default are left out unless creating the object needs them. Default folders that a server
makes itself, and that nobody has changed, are left out too.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import msgspec

from csproxy.core.containers import FOLDER, TENANT
from csproxy.core.files.forms import WriteContext, write_property
from csproxy.core.files.keys import Directory, Key, full_text, key_text
from csproxy.core.files.kind_rows import FORMAT_NAME, FORMAT_VERSION
from csproxy.core.files.kinds import KINDS, Kind
from csproxy.core.files.references import write_folder
from csproxy.core.model import SCHEMA, AttributeKind

__all__ = ["is_untouched_default", "repetitions", "write_file", "write_object"]

_NOT_WRITTEN: Final = frozenset({("roles", "members"), ("persons", "password"), ("applications", "password")})
_DEFAULTS: Final[Mapping[AttributeKind, Any]] = {
    AttributeKind.TEXT: "",
    AttributeKind.INT: 0,
    AttributeKind.ENUM: 0,
    AttributeKind.STRUCT: None,
    AttributeKind.LINK: 0,
}
_SET_BY_SERVERS: Final = {"state": 1, "folderClass": 1}
"""What a server gives every object that is created without it: enabled, an ordinary folder."""


def write_file(directory: Directory, *, on_object: Callable[[int], object] = lambda count: None) -> Iterator[str]:
    """The file in pieces of text; ``on_object`` is told how many objects are written."""
    metadata = json.dumps({"formatName": FORMAT_NAME, "formatVersion": FORMAT_VERSION})
    yield f'{{\n  "__metadata__": {metadata}'
    count = 0
    for kind in KINDS:
        rows = _rows(kind, directory)
        if not rows:
            continue
        yield f',\n  "{kind.name}": ['
        separator = "\n    "
        for key, dbid in rows:
            document = write_object(kind, directory.objects(kind.type.number)[dbid], key, directory)
            yield separator + _json(document)
            separator = ",\n    "
            count += 1
            on_object(count)
        yield "\n  ]"
    yield "\n}\n"


def repetitions(directory: Directory) -> list[str]:
    """The texts of references that more than one object has: of these a file that is read keeps the first.

    Only types without a unique key (formats, treatments) can have them.
    """
    found: list[str] = []
    for kind in KINDS:
        if not kind.type.unique_keys:
            seen = Counter(directory.key(kind.type.number, dbid) for dbid in directory.objects(kind.type.number))
            found += [full_text(key) for key, count in seen.items() if count > 1]
    return sorted(found)


def write_object(kind: Kind, obj: Mapping[str, Any], key: Key, directory: Directory) -> dict[str, Any]:
    """One object in JSON. Links of ``obj`` may be DBIDs that the directory knows, or keys."""
    context = WriteContext(directory, _tenant(kind, obj, key, directory))
    number = kind.type.number
    result: dict[str, Any] = {}
    for property in kind.properties:
        name = property.attribute.name
        if (kind.name, property.name) in _NOT_WRITTEN:
            continue
        if obj.get(name) is not None:
            result[property.name] = write_property(property, obj, context)
        elif property.name in kind.required and property.attribute.kind in _DEFAULTS:
            absent = {**obj, name: _DEFAULTS[property.attribute.kind]}
            result[property.name] = write_property(property, absent, context)
        elif name in _SET_BY_SERVERS:
            result[property.name] = write_property(property, {name: _SET_BY_SERVERS[name]}, context)
    for outer, _, inner in (name.partition(".") for name in kind.required):
        if inner and isinstance(result.get(outer), dict):
            result[outer].setdefault(inner, 0)  # the one there is (logEventID) is a number
    if number == FOLDER:
        holder, _, path = key.parts
        parent = directory.objects(FOLDER).get((obj.get("parentID") or {}).get("DBID", 0), {})
        held = parent.get("type") or key.parts[1]
        result["folder"] = write_folder(Key(FOLDER, (holder, held, path[:-1])))
    elif obj.get("DBID", 0) > 0 and (folder := directory.folder_of(number, obj["DBID"])):
        result["folder"] = write_folder(directory.key(FOLDER, folder))
    return result


def _rows(kind: Kind, directory: Directory) -> list[tuple[Key, int]]:
    number = kind.type.number
    rows = [(directory.key(number, dbid), dbid) for dbid in directory.objects(number)]
    if number == FOLDER:
        folders = directory.objects(FOLDER)
        rows = [(key, dbid) for key, dbid in rows if not is_untouched_default(folders[dbid])]
    return sorted(rows, key=lambda row: key_text(row[0]))


def is_untouched_default(folder: Mapping[str, Any]) -> bool:
    """Whether this is a default folder as a server makes it."""
    held = folder.get("type", FOLDER)
    if folder.get("parentID") or held not in SCHEMA.types or folder.get("name") != SCHEMA.types[held].folder_name:
        return False
    rest = {
        name: value for name, value in folder.items() if name not in ("DBID", "name", "type", "ownerID", "objectIDs")
    }
    return {**_SET_BY_SERVERS, **rest} == _SET_BY_SERVERS


def _tenant(kind: Kind, obj: Mapping[str, Any], key: Key, directory: Directory) -> Key | None:
    """The tenant that references without a tenant belong to when the object is read again."""
    if kind.type.number == TENANT:
        return key
    holder = obj.get("groupInfo", obj) or {}
    link = holder.get("tenantDBID") or holder.get("assignedTenantDBID")
    if isinstance(link, Key):
        return link
    return directory.key(TENANT, link) if link else None


def _json(document: Mapping[str, Any]) -> str:
    pretty = msgspec.json.format(msgspec.json.encode(document), indent=2)
    text = pretty.decode().replace("\n", "\n    ")
    return text.replace("${", "\\u0024{") if "${" in text else text
