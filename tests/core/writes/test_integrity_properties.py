"""Integrity of every type: valid objects are accepted, each single violation is refused and changes nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings

sys.path.insert(0, str(Path(__file__).parents[1] / "model"))

from valid import World, places, valid_objects

from csproxy.core.containers import is_in_tenants
from csproxy.core.model import SCHEMA, Attribute, AttributeKind, ObjectType
from csproxy.core.model.delta import compute_delta
from csproxy.core.paths import scalar_at, set_at
from csproxy.core.rules import (
    EXTRA_FIXED,
    EXTRA_MANDATORY,
    TENANT_FREE_TYPES,
    ZERO_IS_A_VALUE,
    state_path,
)
from csproxy.errors import ErrorCode, ModelError

PASSWORDS = {"password", "PasswordUpdatingDate", "passwordHashAlgorithm"}
KINDS = [pytest.param(kind, id=kind.name) for kind in SCHEMA.types.values()]


@cache
def world() -> World:
    return World()


@pytest.mark.parametrize("kind", KINDS)
def test_random_valid_objects_are_accepted_and_can_go_again(kind: ObjectType) -> None:
    here = world()

    @settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
    @given(valid_objects(here, kind))
    def check(obj: dict[str, Any]) -> None:
        dbid = here.desk.create(kind.name, obj)
        stored = here.desk.get(kind.name, dbid)
        assert stored["DBID"] == dbid
        here.desk.delete(kind.name, dbid)
        assert not here.desk.has(kind.name, dbid)

    check()


@pytest.mark.parametrize("kind", KINDS)
def test_a_valid_object_may_become_any_other_with_the_same_fixed_attributes(kind: ObjectType) -> None:
    here = world()

    @settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
    @given(valid_objects(here, kind), valid_objects(here, kind))
    def check(first: dict[str, Any], second: dict[str, Any]) -> None:
        dbid = here.desk.create(kind.name, first)
        before = here.desk.get(kind.name, dbid)
        after = {"DBID": dbid, **{name: value for name, value in second.items() if name not in PASSWORDS}}
        for path in held_paths(kind):
            after = set_at(after, path, scalar_at(before, path, None))
        for name, attribute in kind.attributes.items():
            if attribute.fixed and attribute.kind is AttributeKind.STRUCT and before.get(name) is None:
                after.pop(name, None)
            elif attribute.fixed and attribute.kind is AttributeKind.STRUCT:
                after[name] = after.get(name) or before[name]
        after = {name: value for name, value in after.items() if value is not None}
        if delta := compute_delta(kind, before, after):
            here.desk.update(kind.name, dbid, delta)
            assert not compute_delta(kind, here.desk.get(kind.name, dbid), after)
        here.desk.delete(kind.name, dbid)

    check()


# --- violations ----------------------------------------------------------------------------------


class Violation(NamedTuple):
    """An object or delta that breaks one rule, and the refusal it gets."""

    what: str
    change: dict[str, Any]
    code: ErrorCode
    property_name: str


def violations_of_new(here: World, kind: ObjectType, valid: dict[str, Any]) -> Iterator[Violation]:
    """Each single violation that a new object of the type can commit."""
    yield Violation("unknown attribute", {**valid, "colour": 1}, ErrorCode.UNSUPPORTED_PROPERTY, "colour")
    for path, attribute in places(kind.attributes):
        if attribute.read_only or path == "objectIDs":
            continue

        def broken(value: Any, path: str = path) -> dict[str, Any]:
            return set_at(valid, path, value)

        if attribute.kind is AttributeKind.ENUM:
            yield Violation(f"{path} out of range", broken(9_999), ErrorCode.VALUE_OUT_OF_RANGE, path)
        elif attribute.kind is AttributeKind.TEXT:
            yield Violation(f"{path} no text", broken(5), ErrorCode.VALUE_OUT_OF_RANGE, path)
            if attribute.max_length:
                long = "x" * (attribute.max_length + 1)
                yield Violation(f"{path} too long", broken(long), ErrorCode.VALUE_OUT_OF_RANGE, path)
        elif attribute.kind is AttributeKind.INT:
            yield Violation(f"{path} too large", broken(2**31), ErrorCode.VALUE_OUT_OF_RANGE, path)
        elif attribute.kind in (AttributeKind.LINK, AttributeKind.LINK_LIST):
            yield from broken_links(here, kind, path, attribute, broken)
        outer = path.rpartition(".")[0]
        if is_missing_refused(kind, path, attribute) and (not outer or scalar_at(valid, outer, None) is not None):
            yield Violation(f"{path} missing", without(valid, path), ErrorCode.INCOMPLETE_OBJECT_DATA, path)
    state = state_path(kind)
    if state is not None:
        yield Violation("state deleted", set_at(valid, state, 3), ErrorCode.VALUE_OUT_OF_RANGE, state)


def broken_links(
    here: World, kind: ObjectType, path: str, attribute: Attribute, broken: Callable[[Any], dict[str, Any]]
) -> Iterator[Violation]:
    many = attribute.kind is AttributeKind.LINK_LIST
    code = ErrorCode.INCORRECT_REFERENCES
    yield Violation(f"{path} leads nowhere", broken([99_999] if many else 99_999), code, path)
    target = SCHEMA.object_type(attribute.target or "")
    foreign = here.foreign.get(target.number)
    if foreign and is_in_tenants(kind) and kind.name not in TENANT_FREE_TYPES and not kind.container:
        yield Violation(f"{path} in another tenant", broken([foreign] if many else foreign), code, path)


def is_missing_refused(kind: ObjectType, path: str, attribute: Attribute) -> bool:
    """Whether a new object without it is incomplete: it is mandatory and nobody else sets it."""
    if path in EXTRA_MANDATORY.get(kind.name, ()):
        return True
    if not attribute.mandatory or attribute.target in ("CfgFlag", *ZERO_IS_A_VALUE) or path == state_path(kind):
        return False
    if kind.name == "CfgApplication" and path in ("type", "version"):
        return False  # from the prototype
    if path == kind.tenant_path and kind.container is not None:
        return False  # from the container
    return attribute.kind not in (AttributeKind.INT, AttributeKind.TIME)


def without(obj: dict[str, Any], path: str) -> dict[str, Any]:
    step, _, rest = path.partition(".")
    if rest:
        return {**obj, step: without(obj[step], rest)}
    return {name: value for name, value in obj.items() if name != step}


def snapshot(here: World) -> Any:
    cache = here.desk.cache
    return cache.position, dict(here.desk.counters), {number: cache.digest(number) for number in SCHEMA.types}


@pytest.mark.parametrize("kind", KINDS)
def test_each_single_violation_of_a_new_object_is_refused_and_changes_nothing(kind: ObjectType) -> None:
    here = world()
    valid = here.valid(kind, here.full(kind))
    before = snapshot(here)
    seen = set()
    for violation in violations_of_new(here, kind, valid):
        seen.add(violation.code)
        with pytest.raises(ModelError) as caught:
            here.desk.create(kind.name, violation.change)
        found = caught.value
        assert (found.code, found.property_name, found.object_type) == (
            violation.code,
            violation.property_name,
            kind.number,
        ), f"{violation.what}: {found}"
    assert snapshot(here) == before
    assert {ErrorCode.UNSUPPORTED_PROPERTY, ErrorCode.VALUE_OUT_OF_RANGE} <= seen
    here.desk.delete(kind.name, here.desk.create(kind.name, valid))  # without a violation it is accepted


@pytest.mark.parametrize("kind", [param for param in KINDS if param.values[0].unique_keys])
def test_the_same_key_twice_is_refused(kind: ObjectType) -> None:
    here = world()
    for key in kind.unique_keys:
        first = here.desk.create(kind.name, here.valid(kind, {}))
        stored = here.desk.get(kind.name, first)
        second = here.valid(kind, {})
        for path in key:
            second = set_at(second, path, scalar_at(stored, path, None))
        before = snapshot(here)
        twin = {name: value for name, value in second.items() if value is not None and name != "ownerID"}
        with pytest.raises(ModelError) as caught:
            here.desk.create(kind.name, twin)
        assert (caught.value.code, caught.value.property_name) == (ErrorCode.UNIQUENESS_VIOLATION, key[-1])
        other = here.desk.create(kind.name, here.valid(kind, {}))
        here.desk.delete(kind.name, first)
        here.desk.delete(kind.name, here.desk.create(kind.name, twin))  # free again
        here.desk.delete(kind.name, other)
        assert before[0] < here.desk.cache.position


@pytest.mark.parametrize("kind", KINDS)
def test_fixed_and_read_only_attributes_do_not_change(kind: ObjectType) -> None:
    here = world()
    dbid = here.desk.create(kind.name, here.valid(kind, here.full(kind)))
    before = here.desk.get(kind.name, dbid)
    start = snapshot(here)
    for path in held_paths(kind):
        old = scalar_at(before, path, None)
        if not old and not dict(places(kind.attributes))[path].read_only:
            continue  # it may be set once
        if isinstance(old, dict):
            change: Any = {"DBID": 99_999}
        elif isinstance(old, str):
            change = old + "x"
        else:
            change = other_value(kind, path, old or 0)
        with pytest.raises(ModelError) as caught:
            here.desk.update(kind.name, dbid, set_at({}, path, change))
        assert (caught.value.code, caught.value.property_name) == (ErrorCode.UNCHANGEABLE_INFO, path), path
    assert snapshot(here) == start
    here.desk.delete(kind.name, dbid)


def other_value(kind: ObjectType, path: str, old: int) -> int:
    attribute = dict(places(kind.attributes))[path]
    if attribute.kind is AttributeKind.ENUM:
        members = SCHEMA.enumerations[attribute.target or ""]
        return next(int(member) for member in members if member not in (0, old))
    return old + 1


def held_paths(kind: ObjectType) -> list[str]:
    """Paths of what an update may not change: fixed, read-only, the tenant; not the structures fixed by presence."""
    extra = EXTRA_FIXED.get(kind.name, frozenset())
    found = []
    for path, attribute in places(kind.attributes):
        fixed = attribute.fixed and attribute.kind is not AttributeKind.STRUCT
        tenant = path == kind.tenant_path and is_in_tenants(kind)
        held = fixed or attribute.read_only or path in extra or tenant or path == "DBID"
        if held and path.partition(".")[0] not in extra - {path}:
            found.append(path)
    return found
