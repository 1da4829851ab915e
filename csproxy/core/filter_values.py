"""A filter as a client sends it becomes a checked `Query`.

Every mistake is answered by name: the key, the type, and what would be valid.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any, Final, NamedTuple

from csproxy.core.filter_keys import FILTER_KEYS
from csproxy.core.filter_rules import Containing, FilterKey, NotEnvironment, Option, ValueKind
from csproxy.core.model import SCHEMA, ObjectType
from csproxy.core.security_records import STORED_TYPES
from csproxy.errors import ErrorCode, ModelError

__all__ = ["Condition", "Query", "parse_filter", "value_from_text"]

_FALSE: Final = frozenset({0, 1})
_TRUE: Final = frozenset({2})


class Condition(NamedTuple):
    """A key and its value in the form that its rule compares with.

    That is an int, a str, or, for flags, the set of CfgFlag numbers that match; for `Containing`
    the pair (type number, DBID).
    """

    key: FilterKey
    value: Any


class Query(NamedTuple):
    """A checked filter. ``dbid`` is the one object asked for, None without that key."""

    object_type: ObjectType
    dbid: int | None
    conditions: tuple[Condition, ...]
    want_folders: bool
    want_paths: bool
    ignore_case: bool
    exclude_bytecode: bool
    exclude_longstrings: bool


def parse_filter(type_number: int, filter_values: Mapping[str, Any]) -> Query:
    """Check a filter. Security records have the common keys; whether the asker may read any is not asked here.

    Raises `ModelError`: UNSUPPORTED_OBJECT for an unknown type, WRONG_API_PARAMETERS for an unknown
    key, a value of the wrong kind, or a key without the one it needs.
    """
    object_type = STORED_TYPES.get(type_number) or SCHEMA.object_type(type_number)
    keys = FILTER_KEYS[object_type.number]
    values: dict[str, Any] = {}
    for name, value in filter_values.items():
        key = keys.get(name)
        if key is None:
            raise _unknown_key(object_type, name)
        values[name] = _check(object_type, key, value)
    dbid = values.get("dbid")
    conditions = () if dbid is not None else tuple(_conditions(object_type, values))
    return Query(
        object_type,
        dbid,
        conditions,
        values.get("read_folder_dbid", False),
        values.get("object_path", False),
        values.get("cmp_insensitive", False),
        values.get("exclude_bytecode", False),
        values.get("exclude_longstrings", False),
    )


def value_from_text(type_number: int, key_name: str, text: str) -> int | str | bool:
    """The value of ``key=text`` as a person types it: numbers, names of enumeration members, true or false.

    Raises `ModelError` as `parse_filter` does.
    """
    object_type = SCHEMA.object_type(type_number)
    key = FILTER_KEYS[object_type.number].get(key_name)
    if key is None:
        raise _unknown_key(object_type, key_name)
    if key.kind in (ValueKind.TEXT, ValueKind.NUMERAL):
        return text
    if text.lower() in ("true", "false", "yes", "no"):
        value: int | str | bool = text.lower() in ("true", "yes")
    else:
        value = int(text) if text.isascii() and text.removeprefix("-").isdigit() else text
    _check(object_type, key, value)
    return value


def _conditions(object_type: ObjectType, values: Mapping[str, Any]) -> list[Condition]:
    keys = FILTER_KEYS[object_type.number]
    conditions = []
    for name, value in values.items():
        key = keys[name]
        if isinstance(key.rule, Option):
            continue
        if isinstance(key.rule, Containing):
            if key.rule.partner not in values:
                raise _wrong(object_type, name, f"filter key {name} of {object_type.name} needs {key.rule.partner} too")
            if key.kind is ValueKind.ENUM:
                continue
            value = (values[key.rule.partner], value)
        if key.kind is ValueKind.SWITCH and value is isinstance(key.rule, NotEnvironment):
            continue
        conditions.append(Condition(key, value))
    return conditions


def _check(object_type: ObjectType, key: FilterKey, value: Any) -> Any:
    checked = _CHECKS[key.kind](key, value)
    if checked is None:
        raise _wrong(
            object_type,
            key.name,
            f"filter key {key.name} of {object_type.name} wants {key.wanted}, not {value!r}",
        )
    return checked


def _check_int(_key: FilterKey, value: Any) -> int | None:
    return value if type(value) is int else None


def _check_text(_key: FilterKey, value: Any) -> str | None:
    return value if type(value) is str else None


def _check_numeral(_key: FilterKey, value: Any) -> str | None:
    return str(value) if type(value) in (int, str) else None


def _check_enum(key: FilterKey, value: Any) -> int | None:
    if type(value) is int:
        return value
    return _member(key.enumeration, value) if type(value) is str else None


def _check_flag(_key: FilterKey, value: Any) -> frozenset[int] | None:
    if type(value) is str:
        value = _member("CfgFlag", value)
    if value is True or (type(value) is int and value == 2):
        return _TRUE
    return _FALSE if value is False or (type(value) is int and value in _FALSE) else None


def _check_switch(_key: FilterKey, value: Any) -> bool | None:
    return bool(value) if type(value) in (int, bool) else None


_CHECKS: Final[Mapping[ValueKind, Callable[[FilterKey, Any], Any]]] = {
    ValueKind.INT: _check_int,
    ValueKind.TEXT: _check_text,
    ValueKind.NUMERAL: _check_numeral,
    ValueKind.ENUM: _check_enum,
    ValueKind.FLAG: _check_flag,
    ValueKind.SWITCH: _check_switch,
}


def _member(enumeration: str, name: str) -> int | None:
    """The number of an enumeration member, named with or without CFG, in any case."""
    wanted = name.lower().removeprefix("cfg")
    for member_name, member in SCHEMA.enumerations[enumeration].__members__.items():
        if member_name.lower().removeprefix("cfg") == wanted:
            return int(member)
    return None


def _unknown_key(object_type: ObjectType, name: Any) -> ModelError:
    keys = FILTER_KEYS[object_type.number]
    close = get_close_matches(str(name), keys, n=3)
    hint = f"; did you mean {' or '.join(close)}?" if close else "."
    return _wrong(
        object_type, str(name), f"{object_type.name} has no filter key {name!r}{hint} Valid keys: {', '.join(keys)}"
    )


def _wrong(object_type: ObjectType, name: str, message: str) -> ModelError:
    return ModelError(ErrorCode.WRONG_API_PARAMETERS, message, object_type=object_type.number, property_name=name)
