"""Deltas of objects: compute one, apply one. The format is described in docs/reference/delta.md.

In short: an absent attribute is unchanged, a present one is set (0, "" included). Lists and KVs
have the parts ``added``, ``changed`` and ``deleted``; structures hold nested deltas, null takes the
structure away and an empty map makes it present. Unknown attributes are set as they are, null
takes them away. For every type, ``apply_delta(a, compute_delta(a, b))`` is ``b``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from csproxy.core import codec
from csproxy.core.model.canonical import Entry, PlainMap, Plan, canonical, canonical_map, encode_object, plan_of
from csproxy.core.model.delta_apply import apply_delta
from csproxy.core.model.schema import AttributeKind, ObjectType

__all__ = ["apply_delta", "canonical", "compute_delta", "encode_object"]


def compute_delta(object_type: ObjectType, before: Mapping[str, Any], after: Mapping[str, Any]) -> PlainMap:
    """The delta that makes ``after`` of ``before``, both in plain form; {} if they mean the same.

    Raises `ModelError` as `canonical` does.
    """
    plan = plan_of(object_type)
    return _map_delta(plan, canonical_map(plan, before), canonical_map(plan, after))


def _map_delta(plan: Plan, before: PlainMap, after: PlainMap) -> PlainMap:
    delta: PlainMap = {}
    for name, entry in plan.entries.items():
        old, new = before.get(name), after.get(name)
        if old is None and new is None:
            continue
        if entry.normalise is None:
            if old != new:
                delta[name] = entry.default if new is None else new
        elif entry.attribute.kind is AttributeKind.STRUCT:
            _add_structure_delta(delta, entry, old, new)
        elif change := _COMPUTE[entry.attribute.kind](entry, old, new):
            delta[name] = change
    for name in sorted((before.keys() | after.keys()) - plan.entries.keys()):
        new = after.get(name)
        if not _same(before.get(name), new):
            delta[name] = new
    return delta


def _add_structure_delta(delta: PlainMap, entry: Entry, old: PlainMap | None, new: PlainMap | None) -> None:
    assert entry.plan
    if new is None:
        delta[entry.attribute.name] = None
    elif (nested := _map_delta(entry.plan, old or {}, new)) or old is None:
        delta[entry.attribute.name] = nested


def _same(old: object, new: object) -> bool:
    """Equal also in kind: 1, 1.0 and True differ in bytes."""
    return old == new and codec.encode(old) == codec.encode(new)


def _links_delta(entry: Entry, old: list[int] | None, new: list[int] | None) -> PlainMap:
    before, after = set(old or ()), set(new or ())
    return _parts(added=sorted(after - before), deleted=sorted(before - after))


def _items_delta(entry: Entry, old: list[PlainMap] | None, new: list[PlainMap] | None) -> PlainMap:
    assert entry.key
    before, after = {entry.key(item): item for item in old or ()}, {entry.key(item): item for item in new or ()}
    return _parts(
        added=[item for key, item in after.items() if key not in before],
        changed=[item for key, item in after.items() if key in before and not _same(before[key], item)],
        deleted=[_key_item(entry, item) for key, item in before.items() if key not in after],
    )


def _key_item(entry: Entry, item: PlainMap) -> PlainMap:
    """The part of an item that is its key."""
    return {name: item[name] for name in entry.key_names if name in item}


def _options_delta(entry: Entry, old: PlainMap | None, new: PlainMap | None) -> PlainMap:
    before, after = old or {}, new or {}
    added: PlainMap = {}
    changed: PlainMap = {}
    deleted: dict[str, list[str]] = {section: [] for section in before if section not in after}
    for section, options in after.items():
        former = before.get(section)
        if former is None:
            added[section] = options
            continue
        if fresh := {name: value for name, value in options.items() if name not in former}:
            added[section] = fresh
        if other := {
            name: value for name, value in options.items() if name in former and not _same(former[name], value)
        }:
            changed[section] = other
        if gone := [name for name in former if name not in options]:
            deleted[section] = gone
    return _parts(added=added, changed=changed, deleted=deleted)


def _parts(**parts: Any) -> PlainMap:
    return {name: part for name, part in parts.items() if part}


_COMPUTE: Mapping[AttributeKind, Callable[[Entry, Any, Any], PlainMap]] = {
    AttributeKind.LINK_LIST: _links_delta,
    AttributeKind.STRUCT_LIST: _items_delta,
    AttributeKind.KV: _options_delta,
}
