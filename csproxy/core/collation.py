"""The order in which names are shown to people: option ``locale`` of [csproxy].

UTF-8, the default, is the order of code points. A locale (``de_DE.UTF-8``, ``zh_CN``, ``ar``) is that language's own
order as the Unicode Consortium publishes it (CLDR), by the ICU library: the extra ``csproxy[locale]``. The C library's
`strxfrm` would do without it, but it knows only what the machine has installed and has one locale for the whole
process; the plain Unicode order that packages in pure Python have is no language's own.

Order is all that this is about: names are equal when their code points are. Names that a language takes for the same
(``é`` composed and decomposed) follow each other in the order of code points.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final, NamedTuple

__all__ = ["CODE_POINTS", "VALID_LOCALES", "Collation", "collation"]

VALID_LOCALES: Final = (
    "UTF-8 (order of code points); with the package csproxy[locale] a locale: language, then as wanted script, "
    "country, UTF-8, and a collation of this language, such as de_DE.UTF-8, zh_CN, ar, de@collation=phonebook"
)

_LOCALE: Final = re.compile(
    r"(?P<locale>[A-Za-z]{2,3}([_-][A-Za-z]{4})?([_-](?P<country>[A-Za-z]{2}))?)"
    r"(\.(UTF-?8))?(?P<keyword>@collation=[a-z]+)?",
    re.IGNORECASE,
)
_BY_CODE_POINTS: Final = frozenset({"utf-8", "utf8", "c", "posix", "c.utf-8", "c.utf8"})


class Collation(NamedTuple):
    """``name`` as it was asked for; ``key`` of a text, for sorting texts by."""

    name: str
    key: Callable[[str], Any]


CODE_POINTS: Final = Collation("UTF-8", str)


def collation(name: str) -> Collation:
    """The order that ``name`` stands for; `VALID_LOCALES` says what is valid.

    Raises ValueError with the reason: it has not the form of a locale, ICU does not know it, or is not there.
    """
    if name.lower() in _BY_CODE_POINTS:
        return CODE_POINTS
    found = _LOCALE.fullmatch(name)
    if found is None:
        raise ValueError("it has not the form of a locale")
    try:
        import icu
    except ImportError as e:
        raise ValueError("the package csproxy[locale] is not installed") from e
    keyword = found["keyword"] or ""
    collator = icu.Collator.createInstance(icu.Locale(found["locale"].replace("-", "_") + keyword.lower()))
    # ICU falls back in silence to what it has: a language that it does not know is nothing but the root
    known = collator.getLocale(icu.ULocDataLocaleType.VALID_LOCALE).getName()
    if known in ("", "root"):
        raise ValueError(f"the language {found['locale'][:3].rstrip('_-')!r} is not known")
    if found["country"] and found["country"].upper() not in icu.Locale.getISOCountries():
        raise ValueError(f"there is no country {found['country']!r}")
    if keyword and "@" not in known:
        raise ValueError(f"the language has no {keyword[1:]!r}")
    sort_key = collator.getSortKey
    return Collation(name, lambda text: (sort_key(text), text))
