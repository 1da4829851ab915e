"""Texts for people, by language: names of object types and meanings of error codes.

There is one language, English. The vendor publishes neither the items of its locale nor their
numbers; ours are named by what they speak of:

    object.3     Person            the name of an object type
    objects.3    Persons           the name of its folder
    error.10     object not found  what an error code means
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache
from types import MappingProxyType
from typing import Final

from csproxy.core.model.schema import SCHEMA
from csproxy.errors import ErrorCode, ModelError

__all__ = ["locale_items", "locale_sets"]

_ENGLISH: Final = 1033
"""Language identifier of English (United States)."""


def locale_sets() -> Mapping[int, str]:
    """The languages: identifier → name."""
    return MappingProxyType({_ENGLISH: "English"})


def locale_items(language: int, items: Iterable[str] = ()) -> Mapping[str, str]:
    """Item → text, all of them unless ``items`` names some.

    Raises `ModelError` LOCALE_ITEM_NOT_FOUND for a language or an item that is not there.
    """
    if language != _ENGLISH:
        raise _not_found(f"there is no language {language}: valid is {_ENGLISH} (English)", "set")
    texts = _english()
    wanted = list(items)
    missing = [item for item in wanted if item not in texts]
    if missing:
        raise _not_found(f"there is no locale item {missing[0]!r}: items are named like object.3 and error.10", "items")
    return {item: texts[item] for item in wanted} if wanted else texts


@cache
def _english() -> Mapping[str, str]:
    texts = {}
    for kind in SCHEMA.types.values():
        texts[f"object.{kind.number}"] = _words(kind.name.removeprefix("Cfg"))
        texts[f"objects.{kind.number}"] = kind.folder_name
    for code in ErrorCode:
        texts[f"error.{int(code)}"] = code.name.replace("_", " ").lower()
    return MappingProxyType(texts)


def _words(name: str) -> str:
    """``AgentLogin`` as ``Agent Login``, ``DNGroup`` as ``DN Group``."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", name)


def _not_found(message: str, field: str) -> ModelError:
    return ModelError(ErrorCode.LOCALE_ITEM_NOT_FOUND, message, property_name=field)
