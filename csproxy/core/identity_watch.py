"""Whose identities a transaction changes, and how far back a loaded history tells who could read what.

Identities change with access groups (members, state), with the account of an application, with the deletion of such
an account, and with option no-default-access (`csproxy.core.identities`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from csproxy.core.changes import Action, Change
from csproxy.core.folders import FOLDER_TYPE
from csproxy.core.identities import gives_default_access
from csproxy.core.model.enumerations import CfgObjectType
from csproxy.core.records import pair_key, pair_of, reader
from csproxy.core.security_records import ACCOUNT, decode_account, is_record
from csproxy.core.sight import HOLDERS
from csproxy.core.wellknown import CONFSERV

if TYPE_CHECKING:
    from csproxy.core.cache import ConfigurationCache

__all__ = ["IDENTITY_TYPES", "NOBODY_ELSE", "Certain", "IdentityWatch", "certain_from"]

_APPLICATION: Final = int(CfgObjectType.CFGApplication)
_PERSON: Final = int(CfgObjectType.CFGPerson)
_ACCESS_GROUP: Final = int(CfgObjectType.CFGAccessGroup)

_SECURITY: Final = "security"

NOBODY_ELSE: Final[frozenset[int]] = frozenset()
"""Nobody's identities have changed."""

IDENTITY_TYPES: Final = frozenset({_ACCESS_GROUP, _APPLICATION, ACCOUNT})
"""Types on which identities depend."""


class IdentityWatch:
    """Looks at a cache before a transaction is applied, and, asked for `accounts`, after it."""

    def __init__(self, cache: ConfigurationCache, transaction: Sequence[Change]) -> None:
        self._groups = {change.dbid for change in transaction if change.type == _ACCESS_GROUP}
        self._options = any((change.type, change.dbid) == (_APPLICATION, CONFSERV) for change in transaction)
        self._gone = {
            (change.type, change.dbid)
            for change in transaction
            if change.action is Action.DELETED and change.type in (_PERSON, _ACCESS_GROUP)
        }
        self._applications = {pair_key(_APPLICATION, change.dbid) for change in transaction if change.type == ACCOUNT}
        self._before = self._look(cache) if self._groups else {}
        self._gave_default = gives_default_access(cache) if self._options else True

    def accounts(self, cache: ConfigurationCache) -> frozenset[int] | None:
        """The numbers of the accounts, and of applications, whose identities changed; None: anybody's may have."""
        if self._options and gives_default_access(cache) != self._gave_default:
            return None
        found = set(self._applications)
        if self._gone:
            found |= {
                pair_key(_APPLICATION, dbid)
                for dbid, stored in cache.objects(ACCOUNT).items()
                if decode_account(stored) in self._gone
            }
        after = self._look(cache) if self._groups else {}
        for dbid in self._groups:
            former, now = self._before[dbid], after[dbid]
            if former.counts == now.counts:
                changed: Iterable[int] = former.members ^ now.members
            else:
                changed = former.members | now.members
            found |= _with_all_below(cache, changed)
        return frozenset(found)

    def _look(self, cache: ConfigurationCache) -> dict[int, _Group]:
        return {dbid: _group(cache, dbid) for dbid in self._groups}


class _Group(NamedTuple):
    counts: int
    members: frozenset[int]


def _group(cache: ConfigurationCache, dbid: int) -> _Group:
    """Whether an access group is there, and its state, as one number; and its direct members."""
    stored = cache.get(_ACCESS_GROUP, dbid)
    if stored is None:
        return _Group(-1, frozenset())
    source = reader(_ACCESS_GROUP, ("groupInfo.state", "memberIDs(type,DBID)"))
    record = source.decode(stored)
    state, members = source.columns
    return _Group(state.read(record), frozenset(members.read(record)))


def _with_all_below(cache: ConfigurationCache, accounts: Iterable[int]) -> set[int]:
    """Accounts, and everybody whom those of them that are groups hold, directly or through other groups."""
    found = set(accounts)
    waiting = list(found)
    while waiting:
        number, dbid = pair_of(waiting.pop())
        if number == _ACCESS_GROUP:
            new = _group(cache, dbid).members - found
            found |= new
            waiting.extend(new)
    return found


class Certain(NamedTuple):
    """From which transaction of a history on the present state tells who could read an object, and who was who."""

    readers: int
    sight: int


def certain_from(transactions: Sequence[Sequence[Change]]) -> Certain:
    """The places in ``transactions``, oldest first, after the last one that made it uncertain.

    Who could read an object is uncertain before a move, a deletion (nobody says where it stood) and all that makes
    sight uncertain: a change of lists, accounts, access groups, or of section [security] of the Application confserv.
    """
    readers = sight = 0
    for number, transaction in enumerate(transactions, 1):
        for change in transaction:
            if _changes_sight(change):
                readers = sight = number
            elif _moves(change):
                readers = number
    return Certain(readers, sight)


def _changes_sight(change: Change) -> bool:
    if is_record(change.type) or change.type == _ACCESS_GROUP:
        return True
    return change.type == _APPLICATION and change.dbid == CONFSERV and _may_change_default_access(change)


def _may_change_default_access(change: Change) -> bool:
    """Whether an update of the Application confserv touches the section that has no-default-access."""
    if change.delta is None:
        return True
    return any(_SECURITY in part for part in change.delta.get("options", {}).values())


def _moves(change: Change) -> bool:
    if change.action is Action.UPDATED:
        return bool(change.folder) or change.type == FOLDER_TYPE or change.object is not None
    return change.action is Action.DELETED or change.type in HOLDERS
