"""Texts for people."""

from __future__ import annotations

import pytest

from csproxy.core.locale import locale_items, locale_sets
from csproxy.core.model import SCHEMA
from csproxy.errors import ErrorCode, ModelError


def test_there_is_a_text_for_every_type_and_error() -> None:
    (language,) = locale_sets()
    texts = locale_items(language)
    assert len(texts) == 2 * len(SCHEMA.types) + len(ErrorCode)
    assert all(texts.values())
    assert locale_items(language, ["object.15", "objects.3", "object.17", "error.10"]) == {
        "object.15": "Agent Login",
        "objects.3": "Persons",
        "object.17": "DN Group",
        "error.10": "object not found",
    }


@pytest.mark.parametrize(("language", "items", "field"), [(1, [], "set"), (1033, ["object.3", "x"], "items")])
def test_a_text_that_is_not_there_is_error_35(language: int, items: list[str], field: str) -> None:
    with pytest.raises(ModelError) as caught:
        locale_items(language, items)
    assert (caught.value.code, caught.value.property_name) == (ErrorCode.LOCALE_ITEM_NOT_FOUND, field)
