"""From objects with DBIDs of another master to objects that name each other by key.

XML and RAW files and databases of a vendor hold such objects; here they become what reading a JSON
file gives, so that checks, plan and order are the same. Every attribute is taken over, whether the JSON
form has a property for it or not; passwords never are, and what this release does not know cannot be.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from csproxy.core.containers import ENVIRONMENT, FOLDER, held_types
from csproxy.core.files.keyed import LAST_LOGIN, Keyer
from csproxy.core.files.keys import Directory, Key, full_text
from csproxy.core.files.kinds import Kind, kind_of
from csproxy.core.files.reading import FileObject
from csproxy.core.files.writing import is_untouched_default
from csproxy.core.model import SCHEMA, Attribute, AttributeKind
from csproxy.core.rules import EXTRA_MANDATORY, ZERO_IS_A_VALUE

__all__ = ["read_numbered"]


def read_numbered(found: Iterable[tuple[int, Mapping[str, Any], int]]) -> tuple[list[FileObject], list[str]]:
    """The objects of a source, in its order, and warnings.

    ``found`` gives type number, plain form and DBID of the folder (0: it is not said) of each. An object without
    DBID is one that nothing refers to; one that lacks a part of its key says so in ``lacks``. A link to what the
    source does not hold becomes a key that no object has.

    Raises `ConfigurationError` for a link to a type of objects that does not exist.
    """
    source = _Source()
    for number, obj, folder in found:
        source.add(number, obj, folder)
    return source.objects()


class _Source:
    """Everything that a source holds."""

    def __init__(self) -> None:
        self._rows: dict[tuple[int, int], tuple[dict[str, Any], int]] = {}
        self._places: dict[tuple[int, int], int] = {}
        self._warnings: list[str] = []
        self._last_logins = 0
        self._passwords = 0

    def add(self, number: int, obj: Mapping[str, Any], folder: int) -> None:
        kind = SCHEMA.object_type(number)
        if number == LAST_LOGIN:
            self._last_logins += 1
            return
        dbid = obj.get("DBID") or -1 - len(self._rows)
        if (number, dbid) in self._rows:
            self._warnings.append(f"{kind.name} {dbid} is there twice: the first counts")
            return
        self._passwords += bool(obj.get("password"))
        own = {**obj, "DBID": dbid}
        if number == FOLDER:
            for item in own.pop("objectIDs", None) or ():
                self._places[item.get("type", 0), item.get("DBID", 0)] = dbid
            parent = own.pop("parentID", None) or {}
            above = parent.get("DBID", 0) if parent.get("type") == FOLDER else folder
            if above:
                own["parentID"] = {"DBID": above, "type": FOLDER}
        self._rows[number, dbid] = own, folder

    def objects(self) -> tuple[list[FileObject], list[str]]:
        directory = self._directory()
        keyer = Keyer(directory)
        result: dict[Key, FileObject] = {}
        for number, dbid in self._rows:
            made = self._object(kind_of(number), dbid, directory, keyer)
            if made is None:
                continue
            first = result.setdefault(made.key, made)
            if first is not made:
                self._warnings.append(f"{made.where}: {full_text(made.key)} is {first.where} already: the first counts")
        return list(result.values()), [*self._warnings, *keyer.warnings(), *self._left_out()]

    def _directory(self) -> Directory:
        by_type: dict[int, list[tuple[dict[str, Any], int]]] = {FOLDER: []}
        for id, (obj, folder) in self._rows.items():
            by_type.setdefault(id[0], []).append((obj, folder or self._places.get(id, 0)))
        directory = Directory(names_completely=True)
        for number, rows in by_type.items():
            directory.add(number, (obj for obj, _ in rows), (folder for _, folder in rows))
        return directory

    def _object(self, kind: Kind, dbid: int, directory: Directory, keyer: Keyer) -> FileObject | None:
        number = kind.type.number
        obj = directory.objects(number)[dbid]
        if number == FOLDER and is_untouched_default(obj) and _has_default_folder(obj):
            return None
        key = directory.key(number, dbid)
        values = keyer.keyed(kind.type, obj)
        folder = directory.folder_of(number, dbid)
        place = directory.key(FOLDER, folder) if folder else None
        if number == FOLDER:
            place = _parent(directory, key, obj)
            holder, held, _ = key.parts
            values |= {"type": held, "ownerID": {"DBID": holder, "type": holder.type}}
            if place is not None:
                values["parentID"] = {"DBID": place, "type": FOLDER}
        lacks = tuple(directory.lacking(number, dbid))
        where = f"{kind.type.name} {dbid}" if dbid > 0 else kind.type.name
        return FileObject(kind, key, values, _given(kind, values), place, where, lacks, is_numbered=True)

    def _left_out(self) -> Iterator[str]:
        if self._passwords:
            yield f"passwords are never taken over: {self._passwords} are left out, set them anew"
        if self._last_logins:
            yield f"last-login records are no configuration: {self._last_logins} are left out"


def _has_default_folder(folder: Mapping[str, Any]) -> bool:
    """Whether a server gives the owner of this folder a default folder of its type."""
    owner = folder.get("ownerID") or {}
    kind = SCHEMA.types.get(owner.get("type", 0))
    is_environment = owner.get("DBID") == ENVIRONMENT
    return kind is not None and SCHEMA.types[folder["type"]] in held_types(kind, environment=is_environment)


def _parent(directory: Directory, key: Key, folder: Mapping[str, Any]) -> Key | None:
    parent = folder.get("parentID")
    if parent is not None:
        return directory.key(FOLDER, parent["DBID"])
    holder, held, path = key.parts
    return Key(FOLDER, (holder, held, path[:-1])) if path[1:] else None


def _given(kind: Kind, values: Mapping[str, Any]) -> dict[str, Any]:
    """What stands for the required properties: an absent attribute has its default, where that is a value."""
    given: dict[str, Any] = {}
    for name in kind.required:
        outer, _, inner = name.partition(".")
        attribute = kind.by_name[outer].attribute
        value = values.get(attribute.name)
        if inner:
            given[outer] = None if value is None else {inner: value.get(inner, 0)}
        elif value or not _must_be_said(kind, attribute):
            given[outer] = value or 0
    return given


def _must_be_said(kind: Kind, attribute: Attribute) -> bool:
    """Whether a server refuses an object with the attribute's default; it sets flags itself."""
    if attribute.name in EXTRA_MANDATORY.get(kind.type.name, ()):
        return True
    is_number = attribute.kind in {AttributeKind.INT, AttributeKind.TIME}
    return attribute.mandatory and not is_number and attribute.target not in {"CfgFlag", *ZERO_IS_A_VALUE}
