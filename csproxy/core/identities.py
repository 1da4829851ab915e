"""Whose permissions add up: an account with the access groups that it belongs to.

An account is a Person or an Access Group. It has the permissions of every enabled group that holds it, directly
or through other groups, and those of EVERYONE.

Default access: a Person whom no access group holds has the permissions of Users, unless option no-default-access of
section [security] is 1. So that the answer is the same at a master, its backup and every proxy, at each UEN, the
option is always read from the Application object `confserv` (DBID 99).

Source: effective permissions are the published union over a person and its groups; that new persons have default
access unless the option says otherwise is published, what it consists of, and nested and disabled groups, are ours.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from csproxy.core import codec
from csproxy.core.model.enumerations import CfgObjectState, CfgObjectType
from csproxy.core.paths import scalar_at
from csproxy.core.wellknown import CONFSERV, EVERYONE, SUPER_ADMINISTRATORS, USERS

if TYPE_CHECKING:
    from csproxy.core.cache import ConfigurationCache
    from csproxy.core.ownership import ObjectId

__all__ = ["gives_default_access", "identities", "is_super_administrator"]

_APPLICATION: Final = int(CfgObjectType.CFGApplication)
_PERSON: Final = int(CfgObjectType.CFGPerson)
_ACCESS_GROUP: Final = int(CfgObjectType.CFGAccessGroup)
_DISABLED: Final = int(CfgObjectState.CFGDisabled)


def identities(cache: ConfigurationCache, account: ObjectId) -> frozenset[ObjectId]:
    """The account itself, the enabled groups that hold it directly or through other groups, and EVERYONE."""
    found = {account, (_ACCESS_GROUP, EVERYONE)}
    waiting = list(found)
    if account[0] == _PERSON and gives_default_access(cache) and not any(_groups_of(cache, account)):
        waiting.append((_ACCESS_GROUP, USERS))
        found.add(waiting[-1])
    while waiting:
        for group in _groups_of(cache, waiting.pop()):
            if group not in found and _is_enabled(cache, group[1]):
                found.add(group)
                waiting.append(group)
    return frozenset(found)


def gives_default_access(cache: ConfigurationCache) -> bool:
    """Whether a Person whom no access group holds has the permissions of Users."""
    return _gives_default_access(cache.get(_APPLICATION, CONFSERV) or b"\x80")


@lru_cache(maxsize=4)  # every log-in asks, and the answer changes with that one object
def _gives_default_access(application: bytes) -> bool:
    options = codec.decode_map(application).get("options", {})
    return str(options.get("security", {}).get("no-default-access", "0")).strip() != "1"


def is_super_administrator(cache: ConfigurationCache, person_dbid: int) -> bool:
    """Whether a Person belongs to the access group Super Administrators."""
    return (_ACCESS_GROUP, SUPER_ADMINISTRATORS) in identities(cache, (_PERSON, person_dbid))


def _groups_of(cache: ConfigurationCache, member: ObjectId) -> Iterator[ObjectId]:
    for number, dbid, _ in cache.referrers(*member, by=_ACCESS_GROUP):
        yield number, dbid


def _is_enabled(cache: ConfigurationCache, group: int) -> bool:
    return bool(scalar_at(cache.stored(_ACCESS_GROUP, group) or {}, "groupInfo.state") != _DISABLED)
