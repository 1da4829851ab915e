"""Enumeration members as the words of a configuration file.

A word is the member's name without its prefix, in lower case: ``CFGEnabled`` is ``enabled``. Where two
members differ in case only (CFGIWDManager, CFGiWDManager) both are written in full case. Read without regard
to case, and with prefix as well.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from difflib import get_close_matches
from functools import cache
from typing import Final

from csproxy.core.model import SCHEMA
from csproxy.errors import ConfigurationError

__all__ = ["number_of", "numbers_of", "word_of"]

_PREFIXES: Final[Mapping[str, str]] = {
    "CfgTransactionType": "CFGTRT",
    "CfgDNRegisterFlag": "CFGDR",
    "CfgFolderClass": "CFGFC",
    "CfgIVRProfileType": "CFGIPT",
    "GctiCallState": "GctiCSt",
}
_PREFIX: Final = "CFG"


@cache
def _words(enumeration: str) -> Mapping[int, str]:
    prefix = _PREFIXES.get(enumeration, _PREFIX)
    stems = {name.removeprefix(prefix): int(member) for name, member in _members(enumeration).items()}
    seen = Counter(stem.lower() for stem in stems)
    words: dict[int, str] = {}
    for stem, number in stems.items():
        words.setdefault(number, stem if seen[stem.lower()] > 1 else stem.lower())
    return words


@cache
def numbers_of(enumeration: str) -> Mapping[str, int]:
    """Numbers by word: in exact case where that matters, and in lower case; with and without prefix."""
    prefix = _PREFIXES.get(enumeration, _PREFIX)
    numbers: dict[str, int] = {}
    for name, member in _members(enumeration).items():
        for word in (name.removeprefix(prefix), name.removeprefix(_PREFIX), name):
            numbers[word] = int(member)
            numbers.setdefault(word.lower(), int(member))
    return numbers


def _members(enumeration: str) -> Mapping[str, int]:
    return {name: int(member) for name, member in SCHEMA.enumerations[enumeration].__members__.items()}


def word_of(enumeration: str, number: int) -> str | int:
    """The word of a member; a number that this release does not know stays a number."""
    return _words(enumeration).get(number, number)


def number_of(enumeration: str, value: object, *, where: str) -> int:
    """The number that a word, or a number, in a file means. Raises `ConfigurationError` with what comes close."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str):
        numbers = numbers_of(enumeration)
        found = numbers.get(value)
        if found is None:
            found = numbers.get(value.lower())
        if found is not None:
            return found
    words = [str(word) for word in _words(enumeration).values()]
    close = get_close_matches(str(value).lower(), words, n=3, cutoff=0.5) or words[:3]
    raise ConfigurationError(f"{where}: {value!r} is no {enumeration}; such as {', '.join(close)} is")
