"""What a filter key can mean: the rules, as data, that `csproxy.core.filter_keys` is written in.

A path is dotted (``agentInfo.skillLevels.skillDBID``); where it passes through a list, the object
has many values there. An absent attribute has no value; asking for 0 or "" asks for absence.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

__all__ = [
    "Absent",
    "Account",
    "Collected",
    "Containing",
    "Equal",
    "FilterKey",
    "InFolder",
    "NotEnvironment",
    "Option",
    "PairEqual",
    "Rule",
    "SameHostAndPort",
    "Section",
    "Source",
    "TenantList",
    "Through",
    "TopFolder",
    "Unreferenced",
    "ValueKind",
]


class ValueKind(Enum):
    """What the value of a filter key may be; the text is what an error message says is wanted."""

    INT = "a whole number"
    TEXT = "text"
    NUMERAL = "a whole number, or text"
    ENUM = "a number or a name of"
    FLAG = "True, False or a CfgFlag number"
    SWITCH = "True, False or a number (0 means False)"


@dataclass(frozen=True, slots=True)
class Equal:
    """The object has the value at one of the paths."""

    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PairEqual:
    """The object links at ``path`` to the object of type ``target`` with the given DBID."""

    path: str
    target: str


@dataclass(frozen=True, slots=True)
class TenantList:
    """The object lists the tenant at ``path``; an empty list stands for the tenant Environment."""

    path: str


@dataclass(frozen=True, slots=True)
class Absent:
    """The object has no value at ``path``."""

    path: str


@dataclass(frozen=True, slots=True)
class Source:
    """A list kept by objects of another type: what those with ``where`` equal to the value have at ``take``."""

    type_name: str
    take: str
    where: str = "DBID"


@dataclass(frozen=True, slots=True)
class Collected:
    """The object's DBID is in one of the sources: it is a member, or is used by the other object."""

    sources: tuple[Source, ...]


@dataclass(frozen=True, slots=True)
class Through:
    """The object refers at ``path`` to an object of type ``type_name`` that has the value at ``where``."""

    path: str
    type_name: str
    where: str


@dataclass(frozen=True, slots=True)
class Unreferenced:
    """No object of type ``type_name`` refers to it at ``path``; only objects with one of ``only`` at ``only_path``."""

    type_name: str
    path: str
    only_path: str = ""
    only: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class InFolder:
    """The object lies immediately in the folder with the given DBID."""


@dataclass(frozen=True, slots=True)
class TopFolder:
    """The folder lies in no other folder: ``parentID`` is absent or names no folder."""


@dataclass(frozen=True, slots=True)
class Containing:
    """The folder holds the object that this key and its ``partner`` name together (DBID and type)."""

    partner: str


@dataclass(frozen=True, slots=True)
class SameHostAndPort:
    """Another application listens on one of this application's ports on the same host."""


@dataclass(frozen=True, slots=True)
class NotEnvironment:
    """Only when the flag is *not* set: every tenant but Environment (DBID 1)."""


@dataclass(frozen=True, slots=True)
class Account:
    """The application's account has the value ``present``: accounts other than SYSTEM are not kept."""

    present: int


@dataclass(frozen=True, slots=True)
class Section:
    """The KV attribute at ``path`` has a section of the given name."""

    path: str


@dataclass(frozen=True, slots=True)
class Option:
    """The key selects nothing: it says what is returned, or how the others are compared."""


Rule = (
    Equal
    | PairEqual
    | TenantList
    | Absent
    | Collected
    | Through
    | Unreferenced
    | InFolder
    | Containing
    | SameHostAndPort
    | TopFolder
    | NotEnvironment
    | Account
    | Section
    | Option
)


@dataclass(frozen=True, slots=True)
class FilterKey:
    """One key: its name, what its value may be, what it means as data and in one sentence.

    ``enumeration`` names the enumeration of an ENUM key.
    """

    name: str
    kind: ValueKind
    rule: Rule
    sentence: str
    enumeration: str = ""

    @property
    def wanted(self) -> str:
        """What a value may be, for messages and the reference."""
        return f"{self.kind.value} {self.enumeration}" if self.enumeration else self.kind.value
