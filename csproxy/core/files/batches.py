"""Cutting a plan into transactions.

A transaction makes at most `MAX_CHANGES` changes, those included that the server makes itself: a new tenant
or switch brings its default folders, and a change of state reaches what the object owns, so that it stands
alone. Members of a role are numbers without a type: no placeholder can stand for them, so that they are
created in a transaction before.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from csproxy.core.containers import FOLDER, held_types
from csproxy.core.files.keys import Key, keys_in
from csproxy.core.files.operations import CREATE, Operation, delta_of, numbered
from csproxy.core.files.planning import Workspace
from csproxy.core.rules import MAX_CHANGES, state_path
from csproxy.core.transactions import RequestedChange, Verb
from csproxy.errors import ConfigurationError, CsproxyError

__all__ = ["Numbering", "Requests", "batches", "known_before", "size_of"]

_ROLE: Final = 43


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
    """The DBIDs of everything that a plan names: found on the server, or given out since."""

    def __init__(self, work: Workspace) -> None:
        self.work = work
        self._given: dict[Key, int] = {}

    def find(self, key: Key) -> int:
        """The DBID of an object; 0 while it has none."""
        return self._given.get(key) or self.work.directory.find(key)

    def requests(self, operations: Sequence[Operation]) -> Requests:
        """The requests of one transaction."""
        return Requests(self, operations)

    def done(self, operations: Sequence[Operation], dbids: Sequence[int]) -> None:
        """Note the DBIDs that a transaction was answered with."""
        for operation, dbid in zip(operations, dbids, strict=True):
            if operation.action == CREATE:
                self._given[operation.key] = dbid


class Requests:
    """The requests of one transaction as they are sent; what it creates gets negative numbers.

    They can be made while the transaction before is on its way: those that name what that one creates are left
    to `complete`, which is called when it is answered.
    """

    def __init__(self, numbering: Numbering, operations: Sequence[Operation]) -> None:
        self.operations = operations
        self._numbering = numbering
        self._coming: dict[Key, int] = {}
        for operation in operations:
            if operation.action == CREATE:
                self._coming[operation.key] = -1 - len(self._coming)
        self._made: list[RequestedChange | None] = []

    def prepare(self, count: int) -> bool:
        """Make the next ``count`` requests, as far as that is possible now; whether there are more."""
        start = len(self._made)
        for operation in self.operations[start : start + count]:
            try:
                self._made.append(self._request(operation))
            except (_Unnumbered, CsproxyError):  # it comes yet, or `complete` tells
                self._made.append(None)
        return len(self._made) < len(self.operations)

    def complete(self) -> list[RequestedChange]:
        """All requests, in order. Raises `ConfigurationError` for an object that has no DBID."""
        self.prepare(len(self.operations))
        try:
            return [
                self._request(operation) if made is None else made
                for operation, made in zip(self.operations, self._made, strict=True)
            ]
        except _Unnumbered as e:
            raise ConfigurationError(f"{e.key} is neither on the server nor in the file") from None

    def _request(self, operation: Operation) -> RequestedChange:
        number = operation.key.type
        if operation.action != CREATE:
            dbid = operation.dbid or self._number(operation.key)
            delta = delta_of(operation, self._number)
            return RequestedChange(message=Verb.UPDATE, type=number, dbid=dbid, delta=delta)
        made = numbered(operation.object.kind.type, self._values(operation), self._number)
        made["DBID"] = self._coming[operation.key]
        return RequestedChange(message=Verb.CREATE, type=number, object=made, folder=self._folder(operation))

    def _values(self, operation: Operation) -> Mapping[str, Any]:
        """The attributes to create with; a parent folder that comes by itself is left to the server."""
        folder = operation.object.folder
        if operation.key.type != FOLDER or folder is None or not self._numbering.work.comes_by_itself(folder):
            return operation.values
        return {name: value for name, value in operation.values.items() if name != "parentID"}

    def _folder(self, operation: Operation) -> int:
        folder, work = operation.object.folder, self._numbering.work
        if folder is None or operation.key.type == FOLDER or work.comes_by_itself(folder) or not folder.parts[2]:
            return 0
        return self._number(folder)

    def _number(self, key: Key) -> int:
        found = self._coming.get(key) or self._numbering.find(key)
        if not found:
            raise _Unnumbered(key)
        return found


class _Unnumbered(Exception):  # noqa: N818 - no error yet
    """The object has no DBID yet."""

    def __init__(self, key: Key) -> None:
        self.key = key
