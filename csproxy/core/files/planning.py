"""From the objects of a file and those of a server to a plan: what to create, update and leave, in which order.

Before anything is planned three rules of the format are checked: what is required to create, what may not
change, and that everything that is referred to is there or in the file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Final

from csproxy.core.containers import FOLDER, held_types
from csproxy.core.files.keys import Directory, Key
from csproxy.core.files.operations import CREATE, UPDATE, Operation, delta_of, materialise
from csproxy.core.files.ordering import Step, in_order
from csproxy.core.files.reading import FileObject
from csproxy.core.model import SCHEMA, ObjectType
from csproxy.core.secret_options import with_secrets

__all__ = ["Plan", "Workspace", "changing", "make_plan"]

_DN: Final = 2
_DN_NAME: Final = 4
_NEVER_COMPARED: Final = frozenset({"name", "type", "ownerID", "parentID"})
"""Attributes of a folder that its key says already."""
_OF_PASSWORDS: Final = frozenset({"passwordHashAlgorithm", "PasswordUpdatingDate"})


@dataclass(frozen=True)
class Plan:
    """What an import does: ``operations`` in order, what stays as it is, and what can only be done last.

    ``late`` are default folders that a server makes itself together with their owner, and that the
    file wants different from that.
    """

    operations: tuple[Operation, ...]
    skipped: tuple[FileObject, ...]
    late: tuple[FileObject, ...]


class Workspace:
    """The objects of a file beside the objects of a server: who is where."""

    def __init__(self, objects: Sequence[FileObject], directory: Directory) -> None:
        self.directory = directory
        self._open: dict[tuple[Any, ...], list[Key]] = {}
        for each in objects:
            if each.key.type == _DN:
                self._open.setdefault(each.key.parts[:_DN_NAME], []).append(each.key)
        self.objects = [self._settled(each) for each in objects]
        self.by_key = {each.key: each for each in self.objects}
        self.dbids = {each.key: directory.find(each.key) for each in self.objects}

    def is_new(self, key: Key) -> bool:
        """Whether the file creates this object."""
        return self.dbids.get(key, -1) == 0

    def comes_by_itself(self, key: Key) -> bool:
        """Whether this is a default folder that a server makes together with an owner that the file creates."""
        if key.type != FOLDER:
            return False
        holder, held, path = key.parts
        return (
            self.is_new(holder)
            and held in SCHEMA.types
            and SCHEMA.types[held] in held_types(SCHEMA.types[holder.type])
            and path == (SCHEMA.types[held].folder_name,)
        )

    def is_created(self, key: Key) -> bool:
        """Whether the plan has an operation that creates this object."""
        return self.dbids.get(key, -1) == 0 and not self.comes_by_itself(key)

    def exists(self, key: Key) -> bool:
        """Whether the object is on the server, in the file, or comes into being with one of the file."""
        return key in self.by_key or self.directory.find(key) != 0 or self.comes_by_itself(key)

    def _settled(self, each: FileObject) -> FileObject:
        if not any(key.type == _DN and key.parts[_DN_NAME] is None for key in (each.key, *each.keys)):
            return each
        key, values = self._settle(each.key), materialise(each.values, self._settle)
        return replace(each, key=key, values=values)

    def _settle(self, key: Key) -> Key:
        """The key without open parts: a DN given without a name means the only one of its number and type."""
        if key.type != _DN or key.parts[_DN_NAME] is not None:
            return key
        found = self.directory.settle(key)
        if self.directory.find(found):
            return found
        known = self._open.get(key.parts[:_DN_NAME], [])
        named = [other for other in known if other.parts[_DN_NAME]]
        if len(named) == 1 and len(known) == 1:
            return named[0]
        return found


def make_plan(work: Workspace) -> Plan:
    """The plan for a file that has passed the checks. Raises `ConfigurationError` for a cycle that cannot be broken."""
    steps: list[Step] = []
    skipped: list[FileObject] = []
    late: list[FileObject] = []
    numbers = _Numbers(work.directory)
    for each in work.objects:
        dbid = work.dbids[each.key]
        if work.comes_by_itself(each.key):
            late.append(each)
        elif not dbid:
            steps.append(Step(Operation(CREATE, each, with_secrets(each.values, {})), _needs(work, each)))
        else:
            before = work.directory.objects(each.key.type)[dbid]
            operation = Operation(UPDATE, each, with_secrets(changing(each), before), dbid, before)
            if delta_of(operation, numbers):
                steps.append(Step(operation, _needs(work, each)))
            else:
                skipped.append(each)
    return Plan(tuple(in_order(steps)), tuple(skipped), tuple(late))


def changing(each: FileObject) -> Mapping[str, Any]:
    """The attributes that an update of an object that is there may set."""
    if each.key.type == FOLDER:
        held = _NEVER_COMPARED
    elif each.is_numbered:
        held = _set_by_servers(each.kind.type)
    else:
        return each.values
    return {name: value for name, value in each.values.items() if name not in held}


@cache
def _set_by_servers(kind: ObjectType) -> frozenset[str]:
    """What a full copy of an object says of itself and cannot say of another: how it came to be, and its password."""
    return _OF_PASSWORDS | {name for name, attribute in kind.attributes.items() if attribute.read_only}


def _needs(work: Workspace, each: FileObject) -> frozenset[Key]:
    """The keys of new objects that must be there before this one can be as the file says; perhaps its own."""
    needed: list[Key] = []
    for key in each.keys if each.folder is None else (*each.keys, each.folder):
        if work.is_created(key):
            needed.append(key)
        if key.type == FOLDER and work.is_created(key.parts[0]):
            needed.append(key.parts[0])
    return frozenset(needed)


class _Numbers:
    """Finds DBIDs; those of new objects are made up, so that an update that needs one shows a difference."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._made: dict[Key, int] = {}

    def __call__(self, key: Key) -> int:
        return self._directory.find(key) or self._made.setdefault(key, -1 - len(self._made))
