"""What an import would do, for a person: object by object, attribute by attribute."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from csproxy.core.files.keyed import Keyer
from csproxy.core.files.keys import full_text
from csproxy.core.files.operations import CREATE, Operation, materialise, merged
from csproxy.core.files.planning import Plan, Workspace
from csproxy.core.files.writing import write_object
from csproxy.core.model import ObjectType
from csproxy.daemon.plain import object_to_json

__all__ = ["changes_of", "print_plan"]

_ABSENT: Final = object()
_COLOURS: Final = {"+": "\x1b[32m", "~": "\x1b[33m", "=": "\x1b[2m"}
_END: Final = "\x1b[0m"


def print_plan(plan: Plan, work: Workspace, *, detailed: bool) -> None:
    """Print the plan: ``+`` created, ``~`` updated, ``=`` left; with ``detailed`` each attribute that changes."""
    in_colour = sys.stdout.isatty()

    def head(sign: str, text: str) -> str:
        return f"{_COLOURS[sign]}{sign} {text}{_END}\n" if in_colour else f"{sign} {text}\n"

    sys.stdout.writelines(_lines(plan, work, head, detailed=detailed))


def _lines(plan: Plan, work: Workspace, head: Callable[[str, str], str], *, detailed: bool) -> Iterator[str]:
    for operation in plan.operations:
        yield head("+" if operation.action == CREATE else "~", full_text(operation.key))
        if detailed:
            for line in changes_of(operation, work):
                yield f"    {line}\n"
    for each in plan.late:
        yield head("~", f"{full_text(each.key)}, once it is there")
    if detailed:
        for each in plan.skipped:
            yield head("=", full_text(each.key))


def changes_of(operation: Operation, work: Workspace) -> Iterator[str]:
    """One line for each value that differs: ``name: before → after``."""
    before, after = (_attributes if operation.object.is_numbered else _properties)(operation, work)
    then = dict(_flat(after))
    now = {} if operation.action == CREATE else dict(_flat(before))
    for name in [*then, *(name for name in now if name not in then)]:
        old, new = now.get(name, _ABSENT), then.get(name, _ABSENT)
        if old == new:
            continue
        if old is _ABSENT:
            yield f"{name}: {_shown(new)}"
        elif new is _ABSENT:
            yield f"{name}: {_shown(old)} → removed"
        else:
            yield f"{name}: {_shown(old)} → {_shown(new)}"
    if "password" in operation.values:
        yield "password: is set"


def _properties(operation: Operation, work: Workspace) -> tuple[dict[str, Any], dict[str, Any]]:
    """The object before and after, with the properties of the JSON form."""
    kind, key, before = operation.object.kind, operation.key, dict(operation.before)
    after = merged(kind.type, before, operation.values)
    return write_object(kind, before, key, work.directory), write_object(kind, after, key, work.directory)


def _attributes(operation: Operation, work: Workspace) -> tuple[dict[str, Any], dict[str, Any]]:
    """The object before and after with all its attributes, of which not each has a property; links as references."""
    kind, before = operation.object.kind.type, operation.before
    if operation.dbid:
        before = Keyer(work.directory).keyed(kind, before)
    return _shown_object(kind, before), _shown_object(kind, merged(kind, before, operation.values))


def _shown_object(kind: ObjectType, keyed: Mapping[str, Any]) -> dict[str, Any]:
    brought = {name: keyed[name] for name, known in kind.attributes.items() if name in keyed and not known.read_only}
    ordered: dict[str, Any] = _in_order(object_to_json(kind, materialise(brought, full_text)))
    return ordered


def _in_order(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _in_order(item) for name, item in value.items()}
    return sorted(map(_in_order, value), key=json.dumps) if isinstance(value, list) else value


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, item in value.items():
        path = f"{prefix}{name}"
        if isinstance(item, dict) and item and path != "folder":
            yield from _flat(item, f"{path}.")
        else:
            yield path, item


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
