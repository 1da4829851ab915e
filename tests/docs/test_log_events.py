"""Every numbered event of the source is in the registry, at its level, and the other way round."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import csproxy
from csproxy.core.log_events import EVENTS, event_number, find_event

SOURCE = Path(csproxy.__file__).parent
LEVELS = {
    "debug": "debug",
    "info": "standard",
    "warning": "standard",
    "error": "standard",
    "exception": "standard",
    "critical": "alarm",
}
MADE_ELSEWHERE = {4112, 31011}
"""Lines that an output writes itself: they are no calls of `logging`."""


def nearest(name: ast.Name, tree: ast.Module) -> ast.expr | None:
    """What was last assigned to a name above its use."""
    before = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and node.targets[0].id == name.id
        and node.lineno < name.lineno
    ]
    return max(before, key=lambda node: node.lineno).value if before else None


class Call(NamedTuple):
    """One call of a logger with an event."""

    where: str
    number: int | None
    level: str | None


def constants(tree: ast.Module) -> dict[str, ast.expr]:
    """What names of a module stand for."""
    found: dict[str, ast.expr] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
            found[node.target.id] = node.value
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            found[node.targets[0].id] = node.value
    return found


def numbers(node: ast.expr, names: dict[str, ast.expr]) -> set[int | None]:
    """The event numbers that an expression may have: a constant, the name of one, or any of a table."""
    if isinstance(node, ast.Name):
        return numbers(names[node.id], names) if node.id in names else set()
    if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name):  # of a table
        table = names[node.value.id]
        assert isinstance(table, ast.Dict)
        return {number for value in table.values for number in numbers(value, names)}
    if isinstance(node, ast.Constant):
        return {event_number(node.value)}
    return {None}


def calls(path: Path) -> Iterator[Call]:
    """The calls with ``extra=`` of a module."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = constants(tree)
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        extra = next((keyword.value for keyword in node.keywords if keyword.arg == "extra"), None)
        if isinstance(extra, ast.Name):
            extra = nearest(extra, tree) or names.get(extra.id)
        if not isinstance(extra, ast.Dict):
            continue
        method = node.func.attr
        level = LEVELS.get(method)
        if method == "log":
            first = ast.unparse(node.args[0])
            level = "trace" if "TRACE" in first else None
        events = [value for key, value in zip(extra.keys, extra.values, strict=True) if _is_event(key)]
        for event in events:
            for number in numbers(event, names):
                yield Call(f"{path.relative_to(SOURCE)}:{node.lineno}", number, level)


def _is_event(key: ast.expr | None) -> bool:
    return isinstance(key, ast.Constant) and key.value == "event"


CALLS = [call for path in sorted(SOURCE.rglob("*.py")) for call in calls(path)]


def test_every_event_of_the_source_is_in_the_registry_at_its_level() -> None:
    assert len(CALLS) > 40
    for call in CALLS:
        known = find_event(call.number)
        assert known is not None, call
        assert call.level in (None, known.level), (call, known)


def test_every_event_of_the_registry_is_in_the_source() -> None:
    used = {call.number for call in CALLS}
    assert {event.number for event in EVENTS} - MADE_ELSEWHERE == used - MADE_ELSEWHERE
