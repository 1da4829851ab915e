"""Permissions: access control lists, how objects inherit them, and what an account may do in the end.

- An ACL belongs to an object; an object without one of its own inherits that of the folder it stands
  in, a folder that of its parent, a folder at the top that of its owner (a tenant, switch, IVR,
  enumerator or campaign), and so on up to the tenant Environment, which has `DEFAULT_ACL` unless
  it was given another.
- An entry names a Person or an Access Group and a mask of `Permission`. An entry with NO_PROPAGATION
  holds for the object that has the ACL and is not inherited.
- What an account may do is the union over the person, the groups that hold it, and EVERYONE. What
  is not granted is forbidden.
- Members of Super Administrators may read and change every ACL, so that no object is lost to all.

The lists stand in the cache, as security records (`csproxy.core.security_records`); how they are inherited is worked
out in `csproxy.core.acls`, and who may read what, for all objects at once, in `csproxy.core.sight`.

Source: the published permissions and well-known groups; where the documents are silent (default
ACL, order of containers, the last rule) the decision is ours. Writes are checked in
`csproxy.core.authority`, who belongs to what is said in `csproxy.core.identities`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from csproxy.core.acls import (
    DEFAULT_ACL,
    EffectiveAcl,
    Masks,
    Permission,
    acl_of,
    container_by,
    container_of,
    own_acl,
    upwards,
)
from csproxy.core.cache import ConfigurationCache
from csproxy.core.identities import identities
from csproxy.core.model.enumerations import CfgObjectType
from csproxy.core.model.schema import SCHEMA
from csproxy.core.ownership import ObjectId
from csproxy.core.paths import name_of
from csproxy.core.security_records import (
    ACCOUNT,
    RECORDS,
    Acl,
    AclEntry,
    decode_account,
)
from csproxy.core.wellknown import SYSTEM
from csproxy.errors import ErrorCode, ModelError

__all__ = [
    "DEFAULT_ACL",
    "MAX_ENTRIES",
    "SYSTEM_ACCOUNT_ID",
    "EffectiveAcl",
    "Masks",
    "Permission",
    "account_of_application",
    "acl_of",
    "check_account",
    "checked_acl",
    "container_by",
    "container_of",
    "existing_name",
    "mask_of",
    "own_acl",
    "planned_acls",
]

_PERSON: Final = int(CfgObjectType.CFGPerson)
_ACCESS_GROUP: Final = int(CfgObjectType.CFGAccessGroup)
_ACCOUNT_TYPES: Final = (_PERSON, _ACCESS_GROUP)

SYSTEM_ACCOUNT_ID: Final[ObjectId] = (_ACCESS_GROUP, SYSTEM)
"""The account of an application that was given none: the access group SYSTEM."""

MAX_ENTRIES: Final = 1_000
"""Entries of one ACL: who needs more makes a group."""


_ALL_BITS: Final = int(Permission.FULL | Permission.NO_PROPAGATION)


def mask_of(cache: ConfigurationCache, id: ObjectId, account: ObjectId) -> int:
    """What an account may do with an object, a mask without NO_PROPAGATION."""
    return Masks(cache, identities(cache, account)).of(id)


def planned_acls(
    cache: ConfigurationCache, id: ObjectId, acl: Acl | None, *, recursive: bool
) -> dict[ObjectId, Acl | None]:
    """What an update changes: each object whose own ACL becomes another, None where it inherits again.

    ``acl`` None takes the object's own ACL away. ``recursive`` also takes away those of all objects
    below it, so that they inherit from it. The object itself comes last.
    """
    changed: dict[ObjectId, Acl | None] = {}
    if recursive:
        holders = ((number, dbid) for number in SCHEMA.types for dbid in cache.dbids(RECORDS + number))
        changed |= dict.fromkeys(_below(cache, id, holders))
    if acl != own_acl(cache, id):
        changed[id] = acl
    return changed


def account_of_application(cache: ConfigurationCache, application: int) -> ObjectId:
    """The account of an application; SYSTEM if it has none, or its own is deleted."""
    stored = cache.get(ACCOUNT, application)
    account = SYSTEM_ACCOUNT_ID if stored is None else decode_account(stored)
    return account if cache.get(*account) is not None else SYSTEM_ACCOUNT_ID


def checked_acl(cache: ConfigurationCache, entries: Iterable[AclEntry], *, object_type: int) -> Acl:
    """Entries as an ACL.

    Raises `ModelError`: VALUE_OUT_OF_RANGE (a mask, or too many entries), INCORRECT_REFERENCES (no such
    Person or Access Group), UNIQUENESS_VIOLATION (one account twice).
    """
    acl = tuple(sorted(entries))
    if len(acl) > MAX_ENTRIES:
        raise _wrong(
            ErrorCode.VALUE_OUT_OF_RANGE, f"an ACL has at most {MAX_ENTRIES} entries, not {len(acl)}", object_type
        )
    before: ObjectId | None = None
    for entry in acl:
        account = (entry.type, entry.dbid)
        check_account(cache, account, object_type=object_type, property_name="entries")
        if account == before:
            raise _wrong(
                ErrorCode.UNIQUENESS_VIOLATION, f"{existing_name(cache, account)} has two entries", object_type
            )
        if not 0 <= entry.mask <= _ALL_BITS:
            raise _wrong(
                ErrorCode.VALUE_OUT_OF_RANGE,
                f"mask {entry.mask} of {existing_name(cache, account)}: valid are sums of {_bits()}",
                object_type,
            )
        before = account
    return acl


def check_account(cache: ConfigurationCache, account: ObjectId, *, object_type: int, property_name: str) -> None:
    """Raise `ModelError` INCORRECT_REFERENCES unless the account is a Person or an Access Group that is there."""
    number, dbid = account
    if number not in _ACCOUNT_TYPES or cache.get(number, dbid) is None:
        kind = SCHEMA.types.get(number)
        what = f"{kind.singular if kind else f'an object of type {number}'} {dbid}"
        problem = "does not exist" if number in _ACCOUNT_TYPES else "is neither a person (3) nor an access group (21)"
        raise ModelError(
            ErrorCode.INCORRECT_REFERENCES, f"{what} {problem}", object_type=object_type, property_name=property_name
        )


def existing_name(cache: ConfigurationCache, id: ObjectId) -> str:
    """How an error names an object; raises `ModelError` when its type (32) or the object (10) is not there."""
    kind = SCHEMA.object_type(id[0])
    stored = cache.stored(*id)
    if stored is None:
        raise ModelError(ErrorCode.OBJECT_NOT_FOUND, f"there is no {kind.singular} {id[1]}", object_type=kind.number)
    return name_of(kind, stored)


def _below(cache: ConfigurationCache, root: ObjectId, ids: Iterable[ObjectId]) -> Iterator[ObjectId]:
    """Those of ``ids`` that inherit from ``root``; what is shared of their ways up is walked once."""
    known: dict[ObjectId, bool] = {root: True}
    for id in ids:
        way: list[ObjectId] = []
        for step in upwards(cache, id):
            if step in known:
                break
            way.append(step)
        else:
            step = way[-1]
            known[step] = False
        known |= dict.fromkeys(way, known[step])
        if id != root and known[id]:
            yield id


def _bits() -> str:
    return ", ".join(f"{int(bit)}" for bit in Permission if bit is not Permission.FULL)


def _wrong(code: ErrorCode, message: str, object_type: int) -> ModelError:
    return ModelError(code, message, object_type=object_type, property_name="entries")
