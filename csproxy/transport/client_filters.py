"""Keyword arguments of a client's reads as the filter of a ReadObjects request."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Any

from csproxy.core.filter_keys import FILTER_KEYS
from csproxy.core.filter_rules import Equal
from csproxy.core.model import ObjectType
from csproxy.errors import ErrorCode, ModelError

__all__ = ["filter_map", "key_filter"]


def filter_map(values: Mapping[str, Any]) -> dict[str, Any]:
    """The filter as it is sent: None left out, members of enumerations as numbers. The server checks the rest."""
    return {
        name: int(value) if isinstance(value, IntEnum) else value for name, value in values.items() if value is not None
    }


def key_filter(kind: ObjectType, key: Mapping[str, Any]) -> dict[str, Any]:
    """A unique key, named by attributes or filter keys, as a filter: ``userName`` becomes ``user_name``.

    Raises `ModelError` for a name that is neither, naming the type's unique keys, and for an empty key.
    """
    keys = FILTER_KEYS[kind.number]
    by_attribute = {
        path.rpartition(".")[2]: name
        for name, each in keys.items()
        if isinstance(each.rule, Equal)
        for path in each.rule.paths
    }
    wanted = {name if name in keys else by_attribute.get(name, ""): value for name, value in key.items()}
    if not wanted or "" in wanted:
        unique = " or ".join(" + ".join(path.rpartition(".")[2] for path in paths) for paths in kind.unique_keys)
        wrong = ", ".join(name for name in key if name not in keys and name not in by_attribute)
        raise ModelError(
            ErrorCode.WRONG_API_PARAMETERS,
            f"{kind.name} cannot be found by {wrong or 'nothing'}: its keys are DBID{' or ' if unique else ''}{unique}",
            object_type=kind.number,
            property_name=wrong,
        )
    return wanted
