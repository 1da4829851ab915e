"""What an import does to one object, and the walks over objects whose links are keys."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

from csproxy.core.files.keys import Key
from csproxy.core.files.reading import FileObject
from csproxy.core.model import AttributeKind, ObjectType
from csproxy.core.model.delta import compute_delta
from csproxy.core.rules import PASSWORD_TYPES

__all__ = ["CREATE", "SKIP", "UPDATE", "Operation", "delta_of", "materialise", "merged", "numbered"]

CREATE: Final = "create"
UPDATE: Final = "update"
SKIP: Final = "skip"

_WITH_KEYS: Final = frozenset(
    {AttributeKind.LINK, AttributeKind.LINK_LIST, AttributeKind.STRUCT, AttributeKind.STRUCT_LIST}
)


@dataclass(eq=False, slots=True)
class Operation:
    """One thing to do: ``values`` are the attributes to set, with keys for links. Nothing of it changes.

    An update changes object ``dbid`` from ``before``; DBID 0 means an object that an earlier operation
    of the plan creates with the attributes ``before``.
    """

    action: str
    object: FileObject
    values: Mapping[str, Any]
    dbid: int = 0
    before: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> Key:
        """The key of the object."""
        return self.object.key


def delta_of(operation: Operation, number: Callable[[Key], int]) -> dict[str, Any]:
    """What an update sends: the delta from what is there to what the file says; absent properties stay.

    A password cannot be read, so that a given one is always set anew.
    """
    kind = operation.object.kind.type
    values = numbered(kind, operation.values, number)
    password = values.pop("password", None)
    before = operation.before if operation.dbid else numbered(kind, operation.before, number)
    # what holds the same value in the same form is not looked at further: nearly everything, if nothing is to be done
    differing = {name: value for name, value in values.items() if name not in before or before[name] != value}
    delta: dict[str, Any] = {}
    if differing:
        former = {name: before[name] for name in differing if name in before}
        delta = compute_delta(kind, former, merged(kind, former, differing))
    if password is not None and kind.number in PASSWORD_TYPES and operation.dbid:
        delta["password"] = password
    return delta


def merged(kind: ObjectType, before: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """``before`` with the attributes of ``values``: structures are completed, everything else is replaced."""
    after = dict(before)
    for name, value in values.items():
        attribute = kind.attributes.get(name)
        if attribute is not None and attribute.kind is AttributeKind.STRUCT and isinstance(value, dict):
            after[name] = {**(before.get(name) or {}), **value}
        else:
            after[name] = value
    return after


def numbered(kind: ObjectType, values: Mapping[str, Any], number: Callable[[Key], int]) -> dict[str, Any]:
    """Attributes of an object with DBIDs in place of keys."""
    result = dict(values)
    for name in _holding_keys(kind):
        value = result.get(name)
        if value:
            result[name] = materialise(value, number)
    return result


@cache
def _holding_keys(kind: ObjectType) -> tuple[str, ...]:
    """The attributes in which there can be keys: links, structures, and a DBID that has its type beside it."""
    return tuple(each.name for each in kind.attributes.values() if each.kind in _WITH_KEYS or each.name == "groupDBID")


def materialise(value: Any, resolve: Callable[[Key], Any]) -> Any:
    """A copy of a value with every key replaced."""
    if isinstance(value, Key):
        return resolve(value)
    if isinstance(value, dict):
        return {
            name: item if isinstance(item, (str, int)) else materialise(item, resolve) for name, item in value.items()
        }
    if isinstance(value, list):
        return [materialise(item, resolve) for item in value]
    return value
