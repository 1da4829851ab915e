"""The integrity rules: what an object must be before it is stored.

Each rule is a function of (`Draft`, object type, object before or None, object after) that raises
`ModelError` with the published code; `RULES` lists them in the order in which they are checked.
Rules are read from the schema; where one type differs, `csproxy.core.rules` says so and why.

An update is judged by what it changes: an object that was imported with a flaw can still be
changed elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any, Final, NamedTuple

from csproxy.core.containers import ENVIRONMENT, TENANT, container_type, is_in_tenants
from csproxy.core.draft import Draft, key_values, tenant_of
from csproxy.core.model.links import references
from csproxy.core.model.schema import SCHEMA, Attribute, AttributeKind, ObjectType
from csproxy.core.paths import name_of, scalar_at
from csproxy.core.rules import (
    EXTRA_FIXED,
    EXTRA_MANDATORY,
    HIERARCHIES,
    LINKED_TYPES,
    ONLY_FOR_KINDS,
    SAME_KIND,
    TENANT_FREE_TYPES,
    ZERO_IS_A_VALUE,
    state_path,
)
from csproxy.errors import ErrorCode, ModelError

__all__ = ["RULES", "Rule", "check_integrity", "tenant_of"]

Rule = Callable[[Draft, ObjectType, Mapping[str, Any] | None, Mapping[str, Any]], None]

_NUMBERS: Final = frozenset({AttributeKind.INT, AttributeKind.TIME})


def check_integrity(draft: Draft, kind: ObjectType, before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> None:
    """Check all rules; ``before`` is None for a creation. Raises `ModelError`."""
    for rule in _rules_of(kind):
        rule(draft, kind, before, after)


def check_unchangeable(
    draft: Draft, kind: ObjectType, before: Mapping[str, Any] | None, after: Mapping[str, Any]
) -> None:
    """16: read-only and fixed attributes keep their value; a fixed structure keeps its presence."""
    if before is None:
        return
    for path, attribute in _held_attributes(kind):
        old, new = scalar_at(before, path, None), scalar_at(after, path, None)
        if attribute.kind is AttributeKind.STRUCT and attribute.name not in EXTRA_FIXED.get(kind.name, ()):
            changed = attribute.fixed and (old is None) != (new is None)
        else:
            changed = old != new and (attribute.read_only or bool(old))
        if changed:
            why = "is set by the server" if attribute.read_only else "may not change once it is set"
            raise ModelError(
                ErrorCode.UNCHANGEABLE_INFO,
                f"{path} of {name_of(kind, before)} {why}",
                object_type=kind.number,
                property_name=path,
            )


def check_mandatory(draft: Draft, kind: ObjectType, before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> None:
    """14: every mandatory attribute is there, in structures and list items too."""
    missing = set(_missing(kind, after))
    if missing and before is not None:
        missing -= set(_missing(kind, before))
    if missing:
        paths = sorted(missing)
        raise ModelError(
            ErrorCode.INCOMPLETE_OBJECT_DATA,
            f"{name_of(kind, after)} needs {', '.join(paths)}",
            object_type=kind.number,
            property_name=paths[0],
        )


def check_state(draft: Draft, kind: ObjectType, before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> None:
    """17: a state is CFGEnabled or CFGDisabled; deleted objects are gone, not marked."""
    path = state_path(kind)
    if path is not None and scalar_at(after, path) not in (1, 2):
        raise ModelError(
            ErrorCode.VALUE_OUT_OF_RANGE,
            f"{path} of {name_of(kind, after)} may be 1 (CFGEnabled) or 2 (CFGDisabled), not {scalar_at(after, path)}",
            object_type=kind.number,
            property_name=path,
        )


def check_references(
    draft: Draft, kind: ObjectType, before: Mapping[str, Any] | None, after: Mapping[str, Any]
) -> None:
    """15: every link leads to an object that exists, of a type that fits, in a tenant that may be seen from here."""
    known = frozenset() if before is None else frozenset(references(kind, before))
    tenant = tenant_of(kind, after)
    is_bound = is_in_tenants(kind) and kind.name not in TENANT_FREE_TYPES
    types, linked_types = SCHEMA.types, _linked_types(kind)
    for reference in references(kind, after):
        if known and reference in known:
            continue
        path, number, dbid = reference
        target_kind = types.get(number)
        if target_kind is None or number not in linked_types.get(path, (number,)):
            raise _wrong_reference(kind, after, path, f"type {number} with DBID {dbid}, a type that cannot stand there")
        is_place = path in (kind.tenant_path, kind.container)  # for where it stands permission is asked for anyway
        if not draft.has(number, dbid) or not (is_place or draft.is_known((number, dbid))):
            raise _wrong_reference(kind, after, path, f"{target_kind.singular} {dbid}, which does not exist")
        if is_bound and is_in_tenants(target_kind):
            other = draft.tenant_of(target_kind, dbid)
            if other not in (tenant, ENVIRONMENT) and other not in _seen_from(draft, tenant):
                raise _wrong_reference(
                    kind,
                    after,
                    path,
                    f"{draft.name((number, dbid))}, which belongs to tenant {other}, not to {tenant}",
                )


@cache
def _linked_types(kind: ObjectType) -> Mapping[str, frozenset[int]]:
    """`LINKED_TYPES` of one type."""
    return {path: numbers for (name, path), numbers in LINKED_TYPES.items() if name == kind.name}


def check_kind(draft: Draft, kind: ObjectType, before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> None:
    """31, 15: what depends on the object's own ``type``: structures it may have, links to objects of the same type."""
    own = after.get("type", 0)
    for (owner, name), (allows, what) in ONLY_FOR_KINDS.items():
        had = before is not None and before.get(name) is not None
        if owner == kind.name and after.get(name) is not None and not had and not allows(own):
            raise ModelError(
                ErrorCode.UNSUPPORTED_PROPERTY,
                f"{name} of {name_of(kind, after)} is not possible: its type {own} is not that of {what}",
                object_type=kind.number,
                property_name=name,
            )
    for path in SAME_KIND.get(kind.name, ()):
        dbid = scalar_at(after, path)
        if not dbid or (before is not None and scalar_at(before, path) == dbid):
            continue
        target_kind = _target(kind, path)
        target = draft.get(target_kind.number, dbid) or {}
        if target.get("type", 0) != own:
            what = f"{name_of(target_kind, target)} of type {target.get('type', 0)}, but its own type is {own}"
            raise _wrong_reference(kind, after, path, what)


def check_hierarchy(draft: Draft, kind: ObjectType, before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> None:
    """15: an object is not above itself, nor its own backup."""
    for owner, path in HIERARCHIES:
        if owner != kind.name or before is None or scalar_at(before, path) == scalar_at(after, path):
            continue
        step, dbid = scalar_at(after, path), after["DBID"]
        while step and step != dbid and kind.number == TENANT:
            step = scalar_at(draft.get(kind.number, step) or {}, path)
        if step == dbid:
            raise _wrong_reference(kind, after, path, "the object itself, or one that is below it")


def check_container(draft: Draft, kind: ObjectType, before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> None:
    """15: an object in a container is in the container's tenant."""
    assert kind.container is not None
    owner_kind = container_type(kind)
    owner = draft.get(owner_kind.number, scalar_at(after, kind.container)) or {}
    if tenant_of(owner_kind, owner) != tenant_of(kind, after):
        raise _wrong_reference(
            kind,
            after,
            str(kind.tenant_path),
            f"tenant {tenant_of(kind, after)}, but {name_of(owner_kind, owner)} is in {tenant_of(owner_kind, owner)}",
        )


def check_unique(draft: Draft, kind: ObjectType, before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> None:
    """12: no other object has the same values of a unique key."""
    for key in kind.unique_keys:
        values = key_values(kind, key, after)
        if before is not None and values == key_values(kind, key, before):
            continue
        other = draft.find(kind.number, key, values)
        if other is not None and other != after["DBID"]:
            shown = ", ".join(f"{path} {value!r}" for path, value in zip(key, values, strict=True))
            raise ModelError(
                ErrorCode.UNIQUENESS_VIOLATION,
                f"{draft.name((kind.number, other))} has the same key already: {shown}",
                object_type=kind.number,
                property_name=key[-1],
            )


RULES: Final[tuple[Rule, ...]] = (
    check_unchangeable,
    check_mandatory,
    check_state,
    check_references,
    check_kind,
    check_hierarchy,
    check_container,
    check_unique,
)
"""Every rule, in the order in which they are checked."""


@cache
def _rules_of(kind: ObjectType) -> tuple[Rule, ...]:
    """The rules without those that say nothing about this type."""
    silent: dict[Rule, bool] = {
        check_kind: kind.name not in {name for name, _ in ONLY_FOR_KINDS} | SAME_KIND.keys(),
        check_hierarchy: kind.name not in {name for name, _ in HIERARCHIES},
        check_container: kind.container is None,
    }
    return tuple(rule for rule in RULES if not silent.get(rule, False))


@cache
def _target(kind: ObjectType, path: str) -> ObjectType:
    """The type that the link at ``path`` leads to."""
    attributes = kind.attributes
    *outer, last = path.split(".")
    for step in outer:
        attributes = SCHEMA.structures[str(attributes[step].target)].attributes
    return SCHEMA.object_type(attributes[last].target or "")


def _wrong_reference(kind: ObjectType, obj: Mapping[str, Any], path: str, what: str) -> ModelError:
    return ModelError(
        ErrorCode.INCORRECT_REFERENCES,
        f"{path} of {name_of(kind, obj)} refers to {what}",
        object_type=kind.number,
        property_name=path,
    )


@cache
def _held_attributes(kind: ObjectType) -> tuple[tuple[str, Attribute], ...]:
    """Read-only and fixed attributes with their paths, in structures too; list items have keys instead."""

    def walk(attributes: Mapping[str, Attribute], prefix: str) -> Iterator[tuple[str, Attribute]]:
        for attribute in attributes.values():
            path = prefix + attribute.name
            held = attribute.fixed or attribute.read_only or attribute.name in extra
            if held or path in ("DBID", kind.tenant_path):
                yield path, attribute
            if attribute.kind is AttributeKind.STRUCT and attribute.name not in extra:
                yield from walk(SCHEMA.structures[str(attribute.target)].attributes, path + ".")

    extra = EXTRA_FIXED.get(kind.name, frozenset())
    scalar_tenant = is_in_tenants(kind)
    return tuple(
        (path, attribute) for path, attribute in walk(kind.attributes, "") if path != kind.tenant_path or scalar_tenant
    )


class _Required(NamedTuple):
    """One attribute that is mandatory, or a structure with mandatory attributes in it."""

    name: str
    path: str
    mandatory: bool
    inner: tuple[_Required, ...]


def _missing(kind: ObjectType, obj: Mapping[str, Any]) -> Iterator[str]:
    for name in EXTRA_MANDATORY.get(kind.name, ()):
        if not obj.get(name):
            yield name
    yield from _missing_in(_required(kind), obj)


def _missing_in(required: tuple[_Required, ...], obj: Mapping[str, Any]) -> Iterator[str]:
    for name, path, mandatory, inner in required:
        value = obj.get(name)
        if not value and mandatory and not isinstance(value, dict):
            yield path
        elif inner and value is not None:
            for item in (value,) if isinstance(value, dict) else value:
                yield from _missing_in(inner, item)


@cache
def _required(kind: ObjectType) -> tuple[_Required, ...]:
    return _required_in(kind.attributes, "")


def _required_in(attributes: Mapping[str, Attribute], prefix: str) -> tuple[_Required, ...]:
    found = []
    for name, attribute in attributes.items():
        inner: tuple[_Required, ...] = ()
        if attribute.kind in (AttributeKind.STRUCT, AttributeKind.STRUCT_LIST):
            inner = _required_in(SCHEMA.structures[str(attribute.target)].attributes, f"{prefix}{name}.")
        mandatory = attribute.mandatory and not _may_be_zero(attribute)
        if mandatory or inner:
            found.append(_Required(name, prefix + name, mandatory, inner))
    return tuple(found)


def _may_be_zero(attribute: Attribute) -> bool:
    return attribute.kind in _NUMBERS or attribute.target in ZERO_IS_A_VALUE


def _seen_from(draft: Draft, tenant: int) -> set[int]:
    """The tenant, the tenants above it, and Environment, which all tenants share."""
    seen = {ENVIRONMENT}
    while tenant and tenant not in seen:
        seen.add(tenant)
        tenant = scalar_at(draft.get(TENANT, tenant) or {}, "parentTenantDBID")
    return seen
