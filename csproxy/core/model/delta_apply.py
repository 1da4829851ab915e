"""Applying a delta to an object; see `csproxy.core.model.delta`, which is what programs import."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from csproxy.core.model.canonical import Entry, Key, PlainMap, Plan, canonical_map, in_order, is_default, plan_of
from csproxy.core.model.schema import AttributeKind, ObjectType
from csproxy.errors import ErrorCode, ModelError

__all__ = ["LINK_PARTS", "LIST_PARTS", "apply_delta"]

LIST_PARTS = ("added", "changed", "deleted")
LINK_PARTS = ("added", "deleted")


def apply_delta(object_type: ObjectType, obj: Mapping[str, Any], delta: Mapping[str, Any]) -> PlainMap:
    """``obj`` (canonical) with ``delta`` applied; neither is changed, untouched values are shared.

    The result is canonical again.

    Raises `ModelError`: LIST_ITEM_NOT_FOUND for changing or deleting what is not there,
    UNIQUENESS_VIOLATION for adding what is there, UNSPECIFIED_MODIFICATION for a part that does not
    exist, WRONG_API_PARAMETERS for a value of another shape; the property name is the attribute's path.
    """
    return _map_apply(plan_of(object_type), obj, delta)


def _map_apply(plan: Plan, obj: Mapping[str, Any], delta: Mapping[str, Any]) -> PlainMap:
    result = dict(obj)
    is_ordered = True
    for name, change in delta.items():
        entry = plan.entries.get(name)
        if entry is None:
            value = None if is_default(change) else change
        elif entry.normalise is None:
            value = _scalar(entry, change) or None
        else:
            value = _APPLY[entry.attribute.kind](entry, result.get(name), change)
        if value is None:
            result.pop(name, None)
        else:
            is_ordered = is_ordered and name in result
            result[name] = value
    return result if is_ordered else in_order(plan, result)


def _scalar(entry: Entry, change: Any) -> int | str:
    wanted = str if entry.default == "" else int
    if not isinstance(change, wanted) or isinstance(change, bool):
        raise _shape_error(entry, "a text" if wanted is str else "a whole number", change)
    return change


def _structure_apply(entry: Entry, old: PlainMap | None, change: Any) -> PlainMap | None:
    assert entry.plan
    if change is None:
        return None
    if not isinstance(change, dict):
        raise _shape_error(entry, "a nested delta or null", change)
    return _map_apply(entry.plan, old or {}, change)


def _links_apply(entry: Entry, old: list[int] | None, change: Any) -> list[int] | None:
    parts = _checked_parts(entry, change, LINK_PARTS)
    result = set(old or ())
    for dbid in _checked_dbids(entry, parts.get("deleted")):
        if dbid not in result:
            raise _not_found(entry, dbid)
        result.remove(dbid)
    for dbid in _checked_dbids(entry, parts.get("added")):
        if dbid in result:
            raise _exists(entry, dbid)
        result.add(dbid)
    return sorted(result) or None


def _checked_dbids(entry: Entry, part: Any) -> list[int]:
    dbids = _checked_list(entry, part)
    for dbid in dbids:
        if not isinstance(dbid, int) or isinstance(dbid, bool):
            raise _shape_error(entry, "lists of DBIDs", dbid)
    return dbids


def _items_apply(entry: Entry, old: list[PlainMap] | None, change: Any) -> list[PlainMap] | None:
    assert entry.key
    parts = _checked_parts(entry, change, LIST_PARTS)
    result = {entry.key(item): item for item in old or ()}
    for key, _ in _checked_items(entry, parts.get("deleted")):
        if result.pop(key, None) is None:
            raise _not_found(entry, key)
    for key, item in _checked_items(entry, parts.get("changed")):
        if key not in result:
            raise _not_found(entry, key)
        result[key] = item
    for key, item in _checked_items(entry, parts.get("added")):
        if key in result:
            raise _exists(entry, key)
        result[key] = item
    try:
        return [result[key] for key in sorted(result)] or None
    except TypeError as error:
        raise _shape_error(entry, "items whose keys can be compared", change) from error


def _checked_items(entry: Entry, part: Any) -> Iterable[tuple[Key, PlainMap]]:
    assert entry.plan
    assert entry.key
    for item in _checked_list(entry, part):
        if not isinstance(item, dict):
            raise _shape_error(entry, "lists of maps", item)
        normal = canonical_map(entry.plan, item)
        key = entry.key(normal)
        if any(isinstance(part, list | dict) for part in key):
            raise _shape_error(entry, "keys of numbers and texts", item)
        yield key, normal


def _options_apply(entry: Entry, old: PlainMap | None, change: Any) -> PlainMap | None:
    parts = _checked_parts(entry, change, LIST_PARTS)
    result: dict[str, PlainMap] = {section: dict(options) for section, options in (old or {}).items()}
    _delete_options(entry, result, _checked_map(entry, parts.get("deleted")))
    for section, options in _checked_map(entry, parts.get("changed")).items():
        if section not in result:
            raise _not_found(entry, section)
        for name, value in _checked_map(entry, options).items():
            if name not in result[section]:
                raise _not_found(entry, f"{section}/{name}")
            result[section][name] = value
    for section, options in _checked_map(entry, parts.get("added")).items():
        if section in result and not options:
            raise _exists(entry, section)
        into = result.setdefault(section, {})
        for name, value in _checked_map(entry, options).items():
            if name in into:
                raise _exists(entry, f"{section}/{name}")
            into[name] = value
    assert entry.normalise
    normal: PlainMap | None = entry.normalise(result)
    return normal


def _delete_options(entry: Entry, result: dict[str, PlainMap], deleted: PlainMap) -> None:
    for section, names in deleted.items():
        if section not in result:
            raise _not_found(entry, section)
        if not _checked_list(entry, names):
            del result[section]
            continue
        for name in names:
            if not isinstance(name, str):
                raise _shape_error(entry, "names of options", name)
            if name not in result[section]:
                raise _not_found(entry, f"{section}/{name}")
            del result[section][name]


_APPLY: Mapping[AttributeKind, Callable[[Entry, Any, Any], Any]] = {
    AttributeKind.STRUCT: _structure_apply,
    AttributeKind.LINK_LIST: _links_apply,
    AttributeKind.STRUCT_LIST: _items_apply,
    AttributeKind.KV: _options_apply,
}


def _checked_parts(entry: Entry, change: Any, valid: tuple[str, ...]) -> PlainMap:
    parts = _checked_map(entry, change)
    for part in parts:
        if part not in valid:
            message = f"a change of {entry.path} has no part {part!r}; its parts are {', '.join(valid)}"
            raise entry.error(ErrorCode.UNSPECIFIED_MODIFICATION, message)
    return parts


def _checked_map(entry: Entry, value: Any) -> PlainMap:
    if value is None or isinstance(value, dict):
        return value or {}
    raise _shape_error(entry, "a map of parts", value)


def _checked_list(entry: Entry, value: Any) -> list[Any]:
    if value is None or isinstance(value, list):
        return value or []
    raise _shape_error(entry, "parts that are lists", value)


def _shape_error(entry: Entry, wanted: str, value: Any) -> ModelError:
    message = f"a change of {entry.path} needs {wanted}, not {type(value).__name__}"
    return entry.error(ErrorCode.WRONG_API_PARAMETERS, message)


def _not_found(entry: Entry, key: Any) -> ModelError:
    return entry.error(ErrorCode.LIST_ITEM_NOT_FOUND, f"{entry.path} has no item {key!r}")


def _exists(entry: Entry, key: Any) -> ModelError:
    return entry.error(ErrorCode.UNIQUENESS_VIOLATION, f"{entry.path} has an item {key!r} already")
