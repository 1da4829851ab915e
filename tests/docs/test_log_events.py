"""Every numbered event of the source is in the registry, at its level, and the other way round.

Every warning and error has one.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import csproxy
from csproxy.core.log_events import EVENTS, find_event

SOURCE = Path(csproxy.__file__).parent
LEVELS = {
    "debug": "debug",
    "info": "standard",
    "warning": "standard",
    "error": "standard",
    "exception": "standard",
    "critical": "alarm",
}
LOGGERS = {"log", "_log", "logger", "logging"}
BELOW_WARNING = {"TRACE", "_TRACE", "logging.DEBUG", "logging.INFO"}
LEVEL_IS_BELOW_WARNING = {"auth/ldap.py"}
"""Modules whose variable level is INFO or DEBUG."""
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
    """One call of a logger, with one of the events that it may have; ``has_event`` is false for one that has none."""

    where: str
    number: int | None
    level: str | None
    has_event: bool
    is_warning: bool


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
    """The event numbers that an expression may have: a constant, the name of one, or any of a table.

    A number has one form: an int. A text gives None, which no test accepts.
    """
    if isinstance(node, ast.Name):
        return numbers(names[node.id], names) if node.id in names else set()
    if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name):  # of a table
        table = names[node.value.id]
        assert isinstance(table, ast.Dict)
        return {number for value in table.values for number in numbers(value, names)}
    if isinstance(node, ast.Constant):
        return {node.value if type(node.value) is int else None}
    return {None}


def calls(tree: ast.Module, module: str) -> Iterator[Call]:
    """The calls of loggers in a module; of one with an event of a table, a row for each number of it."""
    names = constants(tree)
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        method = node.func.attr
        if ast.unparse(node.func.value) not in LOGGERS or method not in {*LEVELS, "log"}:
            continue
        where = f"{module}:{node.lineno}"
        level = LEVELS.get(method)
        is_warning = method not in {"debug", "info"}
        if method == "log":
            first = ast.unparse(node.args[0])
            level = "trace" if "TRACE" in first else None
            is_warning = first not in BELOW_WARNING and module not in LEVEL_IS_BELOW_WARNING
        events = {number for value in _events(node, tree, names) for number in numbers(value, names)}
        for number in events or {None}:
            yield Call(where, number, level, bool(events), is_warning)


def _events(node: ast.Call, tree: ast.Module, names: dict[str, ast.expr]) -> list[ast.expr]:
    extra = next((keyword.value for keyword in node.keywords if keyword.arg == "extra"), None)
    if isinstance(extra, ast.Name):
        extra = nearest(extra, tree) or names.get(extra.id)
    if not isinstance(extra, ast.Dict):
        return []
    return [value for key, value in zip(extra.keys, extra.values, strict=True) if _is_event(key)]


def _is_event(key: ast.expr | None) -> bool:
    return isinstance(key, ast.Constant) and key.value == "event"


TREES = {
    str(path.relative_to(SOURCE)): ast.parse(path.read_text(encoding="utf-8")) for path in sorted(SOURCE.rglob("*.py"))
}
CALLS = [call for module, tree in TREES.items() for call in calls(tree, module)]


def test_every_event_of_the_source_is_in_the_registry_at_its_level() -> None:
    assert len([call for call in CALLS if call.has_event]) > 100
    for call in CALLS:
        if not call.has_event:
            continue
        known = find_event(call.number)
        assert known is not None, call
        assert call.level in (None, known.level), (call, known)


def test_every_event_of_the_registry_is_in_the_source() -> None:
    used = {call.number for call in CALLS if call.has_event}
    assert {event.number for event in EVENTS} - MADE_ELSEWHERE == used - MADE_ELSEWHERE


def test_every_warning_and_error_has_an_event() -> None:
    assert [call.where for call in CALLS if call.is_warning and not call.has_event] == []


def test_every_logger_has_a_name_that_these_tests_know() -> None:
    for module, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign) and "getLogger" in ast.unparse(node.value):
                assert ast.unparse(node.targets[0]) in {*LOGGERS, "root"}, (module, node.lineno)


def test_what_lacks_its_event_is_found() -> None:
    source = """
_EVENT = {"event": 31005}
_log.warning("a")
log.error("b", extra={"event": 31005})
log.exception("c", extra=_EVENT)
_log.log(level, "d")
_log.log(TRACE, "e")
log.info("f")
log.warning("g", extra={"event": "00-31005"})
log.critical("h", extra={"user": 1})
"""
    found = list(calls(ast.parse(source), "m.py"))
    assert [call.where for call in found if call.is_warning and not call.has_event] == ["m.py:3", "m.py:6", "m.py:10"]
    assert {call.where: call.number for call in found if call.has_event} == {
        "m.py:4": 31005,
        "m.py:5": 31005,
        "m.py:9": None,
    }
