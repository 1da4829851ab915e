"""Cutting a plan into transactions.

A transaction makes at most `MAX_CHANGES` changes, those included that the server makes itself: a new tenant
or switch brings its default folders, and a change of state reaches what the object owns, so that it stands
alone. Members of a role are numbers without a type: no placeholder can stand for them, so that they are
created in a transaction before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from csproxy.core.containers import FOLDER, held_types
from csproxy.core.files.keys import Key, keys_in
from csproxy.core.files.operations import CREATE, Operation, delta_of, materialise
from csproxy.core.files.planning import Workspace
from csproxy.core.rules import MAX_CHANGES, state_path
from csproxy.errors import ConfigurationError

__all__ = ["Creation", "Numbering", "Update", "batches", "known_before", "size_of"]

_ROLE: Final = 43


class Creation(NamedTuple):
    """A creation as it is sent: the object with the negative number that stands for it, and its folder."""

    type: int
    object: dict[str, Any]
    folder: int


class Update(NamedTuple):
    """An update as it is sent."""

    type: int
    dbid: int
    delta: dict[str, Any]


def size_of(operation: Operation) -> int:
    """How many changes an operation makes at least."""
    if operation.action != CREATE:
        return 1
    return 1 + len(held_types(operation.object.kind.type))


def batches(operations: Sequence[Operation]) -> Iterator[list[Operation]]:
    """The operations in order, in lists that fit into one transaction each."""
    batch: list[Operation] = []
    size = 0
    created: set[Key] = set()
    for operation in operations:
        own, alone = size_of(operation), _changes_state(operation)
        if batch and (alone or size + own > MAX_CHANGES or not created.isdisjoint(known_before(operation))):
            yield batch
            batch, size, created = [], 0, set()
        batch.append(operation)
        created.add(operation.key)
        size += own
        if alone:
            yield batch
            batch, size, created = [], 0, set()
    if batch:
        yield batch


def known_before(operation: Operation) -> list[Key]:
    """The keys of what must exist before the transaction of an operation begins."""
    return keys_in(operation.values.get("members")) if operation.key.type == _ROLE else []


def _changes_state(operation: Operation) -> bool:
    """Whether an update sets a state that is different now."""
    if operation.action == CREATE or not operation.dbid:
        return False
    outer, _, inner = str(state_path(operation.object.kind.type)).partition(".")  # every kind has a state
    now, then = operation.before.get(outer), operation.values.get(outer)
    if inner:
        now, then = (now or {}).get(inner), (then or {}).get(inner)
    return then is not None and then != now


class Numbering:
    """The DBIDs of everything that a plan names: found on the server, given out since, or negative for now."""

    def __init__(self, work: Workspace) -> None:
        self._work = work
        self._known: dict[Key, int] = {}
        self._coming: dict[Key, int] = {}

    def requests(self, batch: Sequence[Operation]) -> list[Creation | Update]:
        """The operations of one transaction as they are sent; what it creates gets negative numbers."""
        self._coming = {}
        for operation in batch:
            if operation.action == CREATE:
                self._coming[operation.key] = -1 - len(self._coming)
        return [self._request(operation) for operation in batch]

    def done(self, batch: Sequence[Operation], dbids: Sequence[int]) -> None:
        """Note the DBIDs that the transaction was answered with."""
        for operation, dbid in zip(batch, dbids, strict=True):
            if operation.action == CREATE:
                self._known[operation.key] = dbid
        self._coming = {}

    def _request(self, operation: Operation) -> Creation | Update:
        number = operation.key.type
        if operation.action != CREATE:
            dbid = operation.dbid or self._number(operation.key)
            return Update(number, dbid, delta_of(operation, self._number))
        obj = _with_parent(operation, self._work)
        made = materialise(obj, self._number)
        made["DBID"] = self._coming[operation.key]
        return Creation(number, made, self._folder(operation))

    def _folder(self, operation: Operation) -> int:
        folder = operation.object.folder
        if folder is None or operation.key.type == FOLDER or self._work.comes_by_itself(folder) or not folder.parts[2]:
            return 0
        return self._number(folder)

    def _number(self, key: Key) -> int:
        found = self._coming.get(key) or self._known.get(key) or self._work.directory.find(key)
        if not found:
            raise ConfigurationError(f"{key} is neither on the server nor in the file")
        return found


def _with_parent(operation: Operation, work: Workspace) -> dict[str, Any]:
    """The attributes to create with; a parent folder that comes by itself is left to the server."""
    values = dict(operation.values)
    folder = operation.object.folder
    if operation.key.type == FOLDER and folder is not None and work.comes_by_itself(folder):
        values.pop("parentID", None)
    return values
