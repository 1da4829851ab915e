"""Reading and writing plain objects by dotted path."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["name_of", "scalar_at", "set_at"]

from csproxy.core.model.schema import ObjectType


def scalar_at(obj: Mapping[str, Any], path: str, default: Any = 0) -> Any:
    """The value at ``path``, which leads through structures only; ``default`` where anything is absent."""
    step, _, rest = path.partition(".")
    value = obj.get(step)
    if rest:
        return scalar_at(value, rest, default) if isinstance(value, dict) else default
    return default if value is None else value


def set_at(obj: Mapping[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy of ``obj`` with ``value`` at ``path``; the structures on the way are copied or made."""
    step, _, rest = path.partition(".")
    result = dict(obj)
    result[step] = set_at(result.get(step) or {}, rest, value) if rest else value
    return result


def name_of(kind: ObjectType, obj: Mapping[str, Any]) -> str:
    """How an error names an object: ``person 105 'jdoe'``."""
    return f"{kind.singular} {obj.get('DBID', 0)} {str(scalar_at(obj, kind.name_path, ''))!r}"
