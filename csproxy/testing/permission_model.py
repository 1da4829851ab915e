"""The rules of permissions once more, plainly: one object and one account at a time, nothing kept, nothing shared.

Reads only data (objects, folders, groups) of a server's cache or of the master's log; who may read what is worked out
here, with none of the servers' code.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

PERSON, TENANT, APPLICATION, SKILL, ACCESS_GROUP, FOLDER = 3, 7, 9, 13, 21, 22
USERS, ADMINISTRATORS, SUPER_ADMINISTRATORS, EVERYONE, SYSTEM = 94, 95, 96, 97, 98
READ, ALONE = 1, 128
Id = tuple[int, int]
Entries = dict[Id, int]

BUILT_IN: Entries = {
    (ACCESS_GROUP, USERS): 9,
    (ACCESS_GROUP, ADMINISTRATORS): 127,
    (ACCESS_GROUP, SUPER_ADMINISTRATORS): 127,
    (ACCESS_GROUP, SYSTEM): 127,
}


class Data(Protocol):
    """The configuration at one moment."""

    def get(self, type_number: int, dbid: int, /) -> bytes | None:
        """The stored bytes of an object; None if it is not there."""

    def stored(self, type_number: int, dbid: int, /) -> Mapping[str, Any] | None:
        """The same, decoded."""

    def dbids(self, type_number: int, /) -> Iterable[int]:
        """All objects of a type."""

    def folder_of(self, type_number: int, dbid: int, /) -> int:
        """The folder of an object, 0 if it is in none."""


class Model:
    """Lists and default access, as they are set; the data that they are about are given to each question."""

    def __init__(self) -> None:
        self.lists: dict[Id, Entries] = {}
        self.default_access = True

    def list_for(self, cache: Data, id: Id) -> Entries:
        """The list that holds for an object."""
        if id in self.lists:
            return self.lists[id]
        at = id
        while True:
            at = _above(cache, at)
            if at == (0, 0):
                return BUILT_IN
            if at in self.lists:
                return {account: mask for account, mask in self.lists[at].items() if not mask & ALONE}

    def may_read(self, cache: Data, account: Id, id: Id) -> bool:
        """Whether an account sees an object."""
        return self._grants_read(cache, id, self.identities(cache, account))

    def _grants_read(self, cache: Data, id: Id, identities: Iterable[Id]) -> bool:
        entries = self.list_for(cache, id)
        return any(entries.get(who, 0) & READ for who in identities)

    def identities(self, cache: Data, account: Id) -> set[Id]:
        """The account and the groups that count for it."""
        groups: dict[Id, Any] = {}
        for dbid in cache.dbids(ACCESS_GROUP):
            groups[ACCESS_GROUP, dbid] = cache.stored(ACCESS_GROUP, dbid) or {}
        members = {
            group: {(member["type"], member["DBID"]) for member in stored.get("memberIDs", [])}
            for group, stored in groups.items()
        }
        found = {account, (ACCESS_GROUP, EVERYONE)}
        if account[0] == PERSON and self.default_access and not any(account in held for held in members.values()):
            found.add((ACCESS_GROUP, USERS))
        while True:
            more = {
                group
                for group, held in members.items()
                if group not in found and held & found and groups[group]["groupInfo"].get("state") != 2
            }
            if not more:
                return found
            found |= more

    def visible(self, cache: Data, account: Id, types: Iterable[int]) -> dict[Id, bytes]:
        """All objects of these types that an account sees."""
        identities = self.identities(cache, account)
        found: dict[Id, bytes] = {}
        for number in types:
            for dbid in list(cache.dbids(number)):
                if self._grants_read(cache, (number, dbid), identities):
                    found[number, dbid] = cache.get(number, dbid) or b""
        return found


def _above(cache: Data, id: Id) -> Id:
    """What an object inherits from; (0, 0) above Environment."""
    if id == (TENANT, 1):
        return 0, 0
    folder = cache.folder_of(*id)
    if folder:
        return FOLDER, folder
    if id[0] == FOLDER:
        owner = (cache.stored(*id) or {}).get("ownerID", {})
        return owner.get("type", TENANT), owner.get("DBID", 1)
    return TENANT, 1
