"""What the parts of a generated site share: numbering, folders, and the list of what was made.

`csproxy.testing.sites` decides what a site holds; this module only keeps the books.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from random import Random
from typing import Any, Final, NamedTuple, TypeVar

from csproxy.core.containers import default_folder, held_types
from csproxy.core.model.schema import SCHEMA
from csproxy.core.wellknown import FIRST_FREE_DBID
from csproxy.errors import ConfigurationError

__all__ = ["FALSE", "TENANT", "TRUE", "ObjectNumber", "SiteBooks", "SiteObject"]

_T = TypeVar("_T")

TENANT: Final = 1
"""DBID of the tenant Environment: a generated site has no other."""
FALSE: Final = 1
"""CFGFalse."""
TRUE: Final = 2
"""CFGTrue."""


class ObjectNumber:
    """Numbers of the object types that a site holds (CfgObjectType)."""

    SWITCH: Final = 1
    DN: Final = 2
    PERSON: Final = 3
    PLACE: Final = 4
    AGENT_GROUP: Final = 5
    PLACE_GROUP: Final = 6
    TENANT: Final = 7
    APPLICATION: Final = 9
    HOST: Final = 10
    PHYSICAL_SWITCH: Final = 11
    SCRIPT: Final = 12
    SKILL: Final = 13
    ACTION_CODE: Final = 14
    AGENT_LOGIN: Final = 15
    TRANSACTION: Final = 16
    DN_GROUP: Final = 17
    STAT_DAY: Final = 18
    STAT_TABLE: Final = 19
    APP_PROTOTYPE: Final = 20
    ACCESS_GROUP: Final = 21
    FOLDER: Final = 22
    ENUMERATOR: Final = 35
    ENUMERATOR_VALUE: Final = 36


class SiteObject(NamedTuple):
    """One object: type number, plain form with its DBID, and the DBID of its folder."""

    type: int
    object: dict[str, Any]
    folder: int


class SiteBooks:
    """Numbers objects from the first free DBID of each type, and knows the default folders.

    ``base`` holds the objects that are there already, as (type, object, folder).
    """

    def __init__(self, seed: int, base: Iterable[tuple[int, Mapping[str, Any], int]]) -> None:
        self._random = Random(seed).random
        self._next: dict[int, int] = {}
        self._folders: dict[tuple[int, int, int], int] = {}
        self._made: list[SiteObject] = []
        self.config_server = 0
        for number, obj, _ in base:
            dbid = obj["DBID"]
            self._next[number] = max(self._next.get(number, FIRST_FREE_DBID), dbid + 1)
            if number == ObjectNumber.FOLDER:
                owner = obj.get("ownerID", {})
                key = (owner.get("type", 0), owner.get("DBID", 0), obj.get("type", 0))
                self._folders[key] = min(self._folders.get(key, dbid), dbid)
            elif number == ObjectNumber.APPLICATION and obj.get("type") == 21:
                self.config_server = self.config_server or dbid

    def drain(self) -> Iterator[SiteObject]:
        """What was made since the last call, in order."""
        made, self._made = self._made, []
        return iter(made)

    def add(self, number: int, /, *, folder: int = 0, **attributes: Any) -> int:
        """Make an object and return its DBID; attributes at their default (0, "", empty) are left out.

        ``folder`` 0 means the tenant's default folder of the type.
        """
        return self._make(number, folder or self.default_folder(number), attributes)

    def group(self, number: int, name: str, *, info: Mapping[str, Any] | None = None, **rest: Any) -> int:
        """Make an object whose name and state are in ``groupInfo``; ``info`` adds to it."""
        dbid = self._next.get(number, FIRST_FREE_DBID)  # groupInfo repeats the DBID of its object
        common = {"DBID": dbid, "tenantDBID": TENANT, "name": name, **(info or {}), "state": 1}
        return self.add(number, groupInfo=common, **rest)

    def add_container(self, number: int, dbid: int) -> None:
        """Make the default folders of a new switch or enumerator, as a master does."""
        for kind in held_types(SCHEMA.types[number]):
            folder = default_folder(kind, owner_type=number, owner_dbid=dbid)
            self._folders[(number, dbid, kind.number)] = self._make(ObjectNumber.FOLDER, 0, folder)

    def add_folder(self, name: str, number: int, *, owner: tuple[int, int] = (ObjectNumber.TENANT, TENANT)) -> int:
        """Make a folder for objects of type ``number`` below the default folder of ``owner`` (type, DBID)."""
        parent = self.default_folder(number, owner=owner)
        return self.add(
            ObjectNumber.FOLDER,
            folder=parent,
            name=name,
            type=number,
            ownerID={"DBID": owner[1], "type": owner[0]},
            parentID={"DBID": parent, "type": ObjectNumber.FOLDER},
            state=1,
        )

    def default_folder(self, number: int, *, owner: tuple[int, int] = (ObjectNumber.TENANT, TENANT)) -> int:
        """DBID of the default folder for objects of type ``number``; `ConfigurationError` if ``base`` has none."""
        try:
            return self._folders[(*owner, number)]
        except KeyError:
            raise ConfigurationError(
                f"the base objects of a site hold no folder for objects of type {number} "
                f"owned by object {owner[1]} of type {owner[0]}: pass the well-known objects"
            ) from None

    def _make(self, number: int, folder: int, attributes: Mapping[str, Any]) -> int:
        dbid = self._next.get(number, FIRST_FREE_DBID)
        self._next[number] = dbid + 1
        obj: dict[str, Any] = {"DBID": dbid}
        obj.update((name, value) for name, value in attributes.items() if value)
        self._made.append(SiteObject(number, obj, folder))
        return dbid

    def below(self, limit: int) -> int:
        """A whole number from 0 up to ``limit`` - 1."""
        return int(self._random() * limit)

    def pick(self, choices: Sequence[_T]) -> _T:
        """One of ``choices``."""
        return choices[int(self._random() * len(choices))]
