"""Reading a configuration file: from bytes to objects that name each other by key.

``${NAME}`` is replaced before the JSON is read, so that it may stand for a number, too; within a JSON text
the value is escaped. A text that shall hold ``${`` itself is written ``\\u0024{``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

from csproxy.core.containers import FOLDER, TENANT
from csproxy.core.files.context import Progress
from csproxy.core.files.forms import Read, reader_of
from csproxy.core.files.keys import OPEN_PARTS, Key, full_text, keys_in, path_from_top
from csproxy.core.files.kind_rows import FORMAT_NAME, FORMAT_VERSION
from csproxy.core.files.kinds import KeyPart, Kind, key_parts, kind_named
from csproxy.core.files.references import read_folder
from csproxy.core.model import AttributeKind
from csproxy.errors import ConfigurationError

__all__ = ["METADATA", "FileObject", "read_file", "utf8_text"]

METADATA: Final = "__metadata__"
_VARIABLE: Final = re.compile(r"\$\{([^{}\s]+)\}")
_IGNORED: Final = {("roles", "members")}
"""Properties that are written on export and not read."""


@dataclass(eq=False, slots=True)
class FileObject:
    """One object of a file: its key, its attributes with keys for links, and the properties as they were given.

    ``folder`` is the folder that the file puts it in, None if it does not say. Of a folder it is the
    parent; a parent with an empty path is the top. ``lacks`` are the parts of its key that an object
    ``is_numbered`` (it comes with DBIDs from elsewhere, see `csproxy.core.files.numbered`) does not have.
    Nothing of it changes.
    """

    kind: Kind
    key: Key
    values: Mapping[str, Any]
    given: Mapping[str, Any]
    folder: Key | None = None
    where: str = ""
    lacks: tuple[str, ...] = ()
    is_numbered: bool = False
    _keys: frozenset[Key] | None = field(default=None, init=False)

    @property
    def keys(self) -> frozenset[Key]:
        """The keys of everything that the object refers to."""
        if self._keys is None:
            self._keys = frozenset(keys_in(self.values))
        return self._keys

    def __repr__(self) -> str:
        return f"<FileObject {full_text(self.key)}>"


def read_file(data: bytes, environment: Mapping[str, str]) -> tuple[list[FileObject], list[str]]:
    """The objects of a file in its order, and warnings: ignored properties, kinds and repetitions.

    Raises `ConfigurationError` saying where: not UTF-8 (with the byte), not JSON, another format, a
    variable that the environment does not have, a value that cannot be what it stands for.
    """
    document = _document(utf8_text(data), environment)
    _check_format(document)
    progress = Progress()
    warnings = progress.warnings
    objects: dict[Key, FileObject] = {}
    for name, items in document.items():
        if name == METADATA:
            continue
        kind = kind_named(name)
        if kind is None:
            warnings.append(f"there is no kind of objects {name!r}: it is ignored")
            continue
        if not isinstance(items, list):
            raise ConfigurationError(f"{name} is not a list of objects")
        for index, item in enumerate(items):
            made = _read_object(kind, item, f"{name}[{index}]", progress)
            if made.key in objects:
                warnings.append(f"{made.where}: {full_text(made.key)} stands in the file already: the first counts")
            else:
                objects[made.key] = made
    return list(objects.values()), warnings


def utf8_text(data: bytes) -> str:
    """The text of a file. Raises `ConfigurationError` with the byte that is not UTF-8."""
    try:
        return data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as e:
        raise ConfigurationError(f"the file is not UTF-8: byte {e.start} is 0x{data[e.start]:02x}") from e


def _document(text: str, environment: Mapping[str, str]) -> dict[str, Any]:
    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in environment:
            line = text.count("\n", 0, match.start()) + 1
            raise ConfigurationError(f"line {line}: the environment has no variable {name}, which ${{{name}}} asks for")
        return json.dumps(environment[name], ensure_ascii=False)[1:-1]

    try:
        document = json.loads(_VARIABLE.sub(value, text))
    except (ValueError, RecursionError) as e:
        raise ConfigurationError(f"the file is not JSON: {e}") from e
    if not isinstance(document, dict):
        raise ConfigurationError("the file is not a JSON object of kinds")
    return document


def _check_format(document: Mapping[str, Any]) -> None:
    metadata = document.get(METADATA, {})
    if not isinstance(metadata, dict):
        raise ConfigurationError(f"{METADATA} is not an object")
    name, version = metadata.get("formatName", FORMAT_NAME), str(metadata.get("formatVersion", FORMAT_VERSION))
    if name != FORMAT_NAME or version.partition(".")[0] != FORMAT_VERSION.partition(".")[0]:
        raise ConfigurationError(
            f"the file is in format {name} {version}; this reads {FORMAT_NAME} {FORMAT_VERSION.partition('.')[0]}.x"
        )


def _read_object(kind: Kind, item: Any, where: str, progress: Progress) -> FileObject:
    if not isinstance(item, dict):
        raise ConfigurationError(f"{where} is not an object")
    context = progress.context(_tenant(kind, item, where, progress), where)
    given = {name: value for name, value in item.items() if value is not None} if None in item.values() else item
    values: dict[str, Any] = {}
    readers = _readers(kind)
    for name, value in given.items():
        read = readers.get(name)
        if read is not None:
            read(values, value, context)
        elif name not in kind.by_name and name != "folder":
            progress.warnings.append(f"{where} has no property {name}: it is ignored")
    folder = given.get("folder")
    place = None if folder is None else read_folder(folder, context, "folder")
    if kind.type.number == FOLDER:
        return _read_folder(kind, values, given, place, where)
    return FileObject(kind, _key(kind, values, where), values, given, place, where)


@cache
def _readers(kind: Kind) -> Mapping[str, Read]:
    """What reads the properties of a kind, by name; not those that are ignored."""
    return {each.name: reader_of(each) for each in kind.properties if (kind.name, each.name) not in _IGNORED}


def _tenant(kind: Kind, item: Mapping[str, Any], where: str, progress: Progress) -> Key | None:
    """The tenant of an object: what its references without a tenant belong to."""
    if kind.type.number == TENANT:
        given = item.get("name")
    elif isinstance(item.get("group"), dict) and "groupInfo" in kind.type.attributes:
        given = item["group"].get("tenant")
    else:
        given = item.get("tenant")
        if given is None and isinstance(item.get("campaign"), dict):
            given = item["campaign"].get("tenant")
        if given is None and kind.type.number == 8:
            given = item.get("assignedTenant")
    if isinstance(given, dict):
        given = given.get("name")
    if given is None:
        return progress.tenant("") if "tenant" in kind.required else None
    if not isinstance(given, str):
        raise ConfigurationError(f"{where}.tenant: {given!r} is not a name")
    return progress.tenant(given)


def _key(kind: Kind, values: Mapping[str, Any], where: str) -> Key:
    return Key(kind.type.number, tuple([_part(kind, part, values, where) for part in key_parts(kind.type.number)]))


def _part(kind: Kind, part: KeyPart, values: Mapping[str, Any], where: str) -> Any:
    value: Any = values
    for step in part.path:
        value = (value or {}).get(step)
    if value is not None:
        return value
    if (kind.type.number, part.name) in OPEN_PARTS or part.name in kind.required:
        return None
    if part.attribute.kind is AttributeKind.ENUM:
        return part.default
    raise ConfigurationError(f"{where} has no {part.name}: it cannot be told which {kind.display} it is")


def _read_folder(
    kind: Kind, values: dict[str, Any], given: Mapping[str, Any], parent: Key | None, where: str
) -> FileObject:
    """A folder: its key is its owner, what it holds, and its path; the file says the parent's."""
    name = values.get("name")
    if not name or parent is None:
        raise ConfigurationError(f"{where} has no {'folder' if name else 'name'}: it cannot be told which folder it is")
    holder, held, path = parent.parts
    held = values.get("type") or held
    if not path:
        path = path_from_top((name,), held)[:-1]
        parent = Key(FOLDER, (holder, held, path))
    values = {**values, "type": held, "ownerID": {"DBID": holder, "type": holder.type}}
    if path:
        values["parentID"] = {"DBID": parent, "type": FOLDER}
    return FileObject(kind, Key(FOLDER, (holder, held, (*path, name))), values, given, parent if path else None, where)
