"""Values of columns as values of attributes, and where they go in a plain object."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from math import isfinite
from typing import Any, Final

from csproxy.core.model.schema import AttributeKind
from csproxy.core.persistence.vendor_mapping import Column

__all__ = ["attribute_value", "comparable", "dbid_of", "has", "put", "text_of", "whole_number"]

_SHOWN: Final = 40


def attribute_value(column: Column, value: Any) -> int | str | None:
    """What ``value`` of a row means for the attribute; None for NULL.

    Raises ValueError with a sentence if it means nothing.
    """
    if value is None:
        return None
    if column.values is not None:
        word = comparable(value)
        if word not in column.values:
            raise ValueError(f"{_shown(value)} is none of the values that the mapping translates")
        return column.values[word]
    kind = column.attribute.kind
    if kind is AttributeKind.TEXT:
        return text_of(value)
    if kind is AttributeKind.TIME and isinstance(value, date | str):
        return _seconds(value)
    return whole_number(value)


def whole_number(value: Any) -> int:
    """A number column as an integer: drivers give int, Decimal or float; text of digits counts, too."""
    if isinstance(value, int):
        return int(value)
    if isinstance(value, Decimal | float) and isfinite(value) and value == value // 1:
        return int(value)
    if isinstance(value, str):
        digits = value.strip()
        if digits.isascii() and digits.removeprefix("-").isdigit():
            return int(digits)
    raise ValueError(f"{_shown(value)} is no whole number")


def dbid_of(value: Any) -> int:
    """A column that refers to an object; 0 where it refers to none, or holds no number."""
    try:
        return max(whole_number(value), 0)
    except ValueError:
        return 0


def comparable(value: Any) -> str:
    """A value as the mapping writes it: a number without decimals, text without the blanks of a CHAR column."""
    if isinstance(value, Decimal | float) and isfinite(value) and value == value // 1:
        return str(int(value))
    return str(int(value)) if isinstance(value, bool) else str(value).rstrip()


def put(obj: dict[str, Any], path: str, value: Any) -> None:
    """Set ``value`` at a dotted path, making the structures on the way."""
    *steps, last = path.split(".")
    for step in steps:
        obj = obj.setdefault(step, {})
    obj[last] = value


def has(obj: Mapping[str, Any], path: str) -> bool:
    """Whether something other than a default is at ``path``, which leads through structures."""
    value: Any = obj
    for step in path.split("."):
        value = value.get(step) if isinstance(value, Mapping) else None
    return value is not None and value != "" and value != 0


def text_of(value: Any) -> str:
    """A text column; numbers count, too. Raises ValueError for anything else (bytes: text in no valid encoding)."""
    if isinstance(value, str):
        return value
    if isinstance(value, int | Decimal | float) and not isinstance(value, bool):
        return comparable(value)
    raise ValueError(f"{_shown(value)} is no text")


def _seconds(value: date | str) -> int:
    """A date or time column, as SQLite's text, too; without a zone it is taken as UTC."""
    if isinstance(value, str):
        if value.strip().removeprefix("-").isdigit():
            return whole_number(value)
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise ValueError(f"{_shown(value)} is neither a number of seconds nor a date") from None
    moment = value if isinstance(value, datetime) else datetime(value.year, value.month, value.day)
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
