"""The order of names: code points, or a language's own."""

from __future__ import annotations

import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csproxy.core.collation import CODE_POINTS, collation


def ordered(locale: str, *names: str) -> list[str]:
    return sorted(sorted(names, reverse=True), key=collation(locale).key)


@pytest.mark.parametrize("name", ["UTF-8", "utf8", "C", "POSIX", "C.UTF-8"])
def test_the_default_is_the_order_of_code_points_and_needs_no_library(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "icu", None)
    assert collation(name) is CODE_POINTS
    assert ordered(name, "zoo", "Äpfel", "Zebra", "apfel") == ["Zebra", "apfel", "zoo", "Äpfel"]


@pytest.mark.parametrize(
    ("locale", "expected"),
    [
        ("de_DE.UTF-8", ["Apfel", "äpfel", "Ärger", "ofen", "Öl", "Zebra", "zoo"]),
        ("sv_SE", ["Apfel", "ofen", "Zebra", "zoo", "äpfel", "Ärger", "Öl"]),
        ("de@collation=phonebook", ["äpfel", "Ärger", "Apfel", "Öl", "ofen", "Zebra", "zoo"]),
        ("zh_CN", ["阿明", "李娜", "王伟", "张伟"]),
        ("zh-Hans-CN.utf8", ["阿明", "李娜", "王伟", "张伟"]),
        ("zh@collation=stroke", ["王伟", "张伟", "李娜", "阿明"]),
        ("ar", ["أحمد", "باسم", "محمد", "يوسف"]),
        ("lt", ["ibis", "yla", "jonas"]),
    ],
)
def test_a_locale_is_the_languages_own_order(locale: str, expected: list[str]) -> None:
    assert ordered(locale, *expected) == expected
    assert collation(locale).name == locale


def test_the_same_letters_written_in_two_ways_follow_each_other_always_in_the_same_order() -> None:
    composed, decomposed = unicodedata.normalize("NFC", "é"), unicodedata.normalize("NFD", "é")
    for names in ((composed, decomposed, "f", "e"), (decomposed, composed, "f", "e")):
        assert sorted(names, key=collation("fr_FR").key) == ["e", decomposed, composed, "f"]


@given(st.lists(st.text(max_size=5)), st.sampled_from(["UTF-8", "de_DE", "zh_CN", "ar", "th"]))
def test_different_names_never_have_the_same_place(names: list[str], locale: str) -> None:
    key = collation(locale).key
    assert len({key(name) for name in names}) == len(set(names))
    backwards = list(reversed(names))
    assert sorted(names, key=key) == sorted(backwards, key=key)


@pytest.mark.parametrize(
    ("locale", "reason"),
    [
        ("", "it has not the form of a locale"),
        ("de_DE.ISO-8859-1", "it has not the form of a locale"),
        ("de_DE@euro", "it has not the form of a locale"),
        ("german", "it has not the form of a locale"),
        ("xx_YY", "the language 'xx' is not known"),
        ("tlh", "the language 'tlh' is not known"),
        ("de_XX", "there is no country 'XX'"),
        ("de@collation=stroke", "the language has no 'collation=stroke'"),
    ],
)
def test_what_cannot_be_honoured_is_refused_with_the_reason(locale: str, reason: str) -> None:
    with pytest.raises(ValueError) as caught:
        collation(locale)
    assert str(caught.value) == reason


def test_without_the_library_a_locale_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "icu", None)
    with pytest.raises(ValueError, match=r"the package csproxy\[locale\] is not installed"):
        collation("de_DE")
