"""The format's own rules, checked before anything is sent.

What is required to create an object is asked of new objects only; what may not change, of those that are
there; what is referred to must exist for all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from csproxy.core.containers import FOLDER
from csproxy.core.files.keys import Key, full_text, is_unnamed, tenant_key
from csproxy.core.files.kinds import Property
from csproxy.core.files.planning import Workspace
from csproxy.core.files.reading import FileObject
from csproxy.core.model import SCHEMA, AttributeKind
from csproxy.core.model.applications import is_daemon

__all__ = ["Findings", "check"]


@dataclass
class Findings:
    """What stands against an import: for each object, by its text, names of properties or texts of objects."""

    missing_properties: dict[str, list[str]] = field(default_factory=dict)
    missing_dependencies: dict[str, list[str]] = field(default_factory=dict)
    unchangeable_properties: dict[str, list[str]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.missing_properties or self.missing_dependencies or self.unchangeable_properties)

    def sentences(self) -> list[str]:
        """One sentence for each object and rule."""
        rules = (
            (self.missing_properties, "needs {}"),
            (self.missing_dependencies, "refers to {}, which does not exist and is not in the file"),
            (self.unchangeable_properties, "may not change {}"),
        )
        return [
            f"{text} {sentence.format(', '.join(names))}" for found, sentence in rules for text, names in found.items()
        ]


def check(work: Workspace) -> Findings:
    """Apply the three rules to every object of the file."""
    findings = Findings()
    for each in work.objects:
        dbid = work.dbids[each.key]
        if dbid:
            _note(findings.unchangeable_properties, each, _changed(work, each, dbid))
        elif not work.comes_by_itself(each.key):
            _note(findings.missing_properties, each, [*each.lacks, *_missing(work, each)])
        _note(findings.missing_dependencies, each, [_told(key, each) for key in _absent(work, each)])
    return findings


def _note(found: dict[str, list[str]], each: FileObject, names: list[str]) -> None:
    if names:
        found[full_text(each.key)] = sorted(set(names))


def _missing(work: Workspace, each: FileObject) -> list[str]:
    missing = []
    for name in each.kind.required:
        if name in each.kind.conditional and not _is_server(work, each):
            continue
        outer, _, inner = name.partition(".")
        value = each.given.get(outer)
        if inner:
            if isinstance(value, dict) and value.get(inner) is None:
                missing.append(name)
        elif value is None:
            missing.append(name)
    return missing


def _is_server(work: Workspace, each: FileObject) -> bool:
    """Whether an application is to be a server, by its prototype's type."""
    prototype = each.values.get("appPrototypeDBID")
    if not isinstance(prototype, Key):
        return False
    there = work.by_key.get(prototype)
    if there is not None and there.values.get("type"):
        return is_daemon(there.values["type"])
    stored = work.directory.objects(prototype.type).get(work.directory.find(prototype), {})
    return is_daemon(stored.get("type", 0))


def _changed(work: Workspace, each: FileObject, dbid: int) -> list[str]:
    stored = work.directory.objects(each.key.type)[dbid]
    changed = []
    for name in each.kind.unchangeable:
        property = each.kind.by_name[name]
        if property.attribute.name not in each.values:
            continue
        value = each.values[property.attribute.name]
        if name in each.kind.conditional and not value:
            continue  # a length of 0 counts as not set
        if (value or None) != (_stored(work, property, stored) or None):
            changed.append(name)
    if each.folder is not None and each.key.type != FOLDER:
        folder = work.directory.folder_of(each.key.type, dbid)
        if folder and work.directory.key(FOLDER, folder) != each.folder:
            changed.append("folder")
    return changed


def _stored(work: Workspace, property: Property, stored: Mapping[str, Any]) -> Any:
    attribute = property.attribute
    value = stored.get(attribute.name)
    if attribute.kind is AttributeKind.LINK:
        return work.directory.key(SCHEMA.object_type(str(attribute.target)).number, value) if value else None
    if value is None:
        return "" if attribute.kind is AttributeKind.TEXT else 0
    return value


def _absent(work: Workspace, each: FileObject) -> list[Key]:
    """The keys that the object refers to and that lead nowhere."""
    places = each.keys if each.folder is None else (*each.keys, each.folder)
    absent = [key for key in places if not work.exists(_top(key))]
    # the top of an owner is a place for an object, and no folder that something could refer to
    nowhere = [key for key in each.keys if key.type == FOLDER and not key.parts[2]]
    if not absent and not nowhere:
        return []
    nobody = tenant_key("")
    named = [_top(key) for key in absent if nobody not in (key, key.parts[0])]
    return sorted({*nowhere, *named}, key=full_text)


def _told(key: Key, each: FileObject) -> str:
    """The text of a key; what has no name is told with the attribute that refers to it."""
    if not is_unnamed(key):
        return full_text(key)
    path = "folder" if key == each.folder else next(_paths_to(key, each.values))
    return f"{full_text(key)} ({path})"


def _paths_to(key: Key, value: Any) -> Iterator[str]:
    """The dotted paths of the attributes that hold the key."""
    for name, item in value.items():
        for each in item if isinstance(item, list) else [item]:
            if each == key:
                yield name
            elif isinstance(each, dict):
                yield from (f"{name}.{inner}" for inner in _paths_to(key, each))


def _top(key: Key) -> Key:
    """An empty path means the top of the owner: then it is the owner that must exist."""
    return key.parts[0] if key.type == FOLDER and not key.parts[2] else key
