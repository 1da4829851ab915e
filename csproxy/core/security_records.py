"""Security records: access control lists and accounts of applications, kept beside the objects that they belong to.

A record travels like an object: it has a number of its own instead of an object type, the DBID of the object it
belongs to, and stored bytes. So transactions, UENs, loads, digests, copies and the database treat it as any object.
But it is none: no read, filter, subscription or count of a client ever shows one. Proxies ask for them with the
number `RECORDS` (docs/protocol.md, *Security records*).

    1000 + t    the access control list of an object of type t
    1100        the account that an application acts as when it runs without a user

An object without a record inherits its list, an application without one acts as the access group SYSTEM.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from csproxy.core import codec
from csproxy.core.model.base import CfgObject
from csproxy.core.model.schema import SCHEMA, Attribute, AttributeKind, ObjectType

if TYPE_CHECKING:
    from csproxy.core.ownership import ObjectId

__all__ = [
    "ACCOUNT",
    "NOBODY",
    "RECORDS",
    "RECORD_TYPES",
    "STORED_TYPES",
    "Acl",
    "AclEntry",
    "decode_account",
    "decode_acl",
    "encode_account",
    "encode_acl",
    "is_record",
    "list_of",
    "records_of",
]

RECORDS: Final = 1000
"""In a subscription: all security records. Every record's number is above it."""
ACCOUNT: Final = 1100

NOBODY: Final[ObjectId] = (0, 0)


class AclEntry(NamedTuple):
    """What one Person or Access Group may do."""

    type: int
    dbid: int
    mask: int


Acl = tuple[AclEntry, ...]
"""Entries in the order of type and DBID, at most one for each account; empty: nobody may do anything."""


def _record_type(number: int, name: str, singular: str) -> ObjectType:
    return ObjectType(
        number=number,
        name=name,
        singular=singular,
        plural=f"{singular}s",
        folder_name="",
        tenant_path=None,
        name_path="",
        container=None,
        unique_keys=(),
        filter_names=frozenset(),
        attributes=MappingProxyType({"DBID": Attribute("DBID", AttributeKind.INT)}),
        cls=CfgObject,
    )


RECORD_TYPES: Final[Mapping[int, ObjectType]] = MappingProxyType(
    {
        **{
            RECORDS + number: _record_type(RECORDS + number, f"{kind.name}Acl", f"access control list of {kind.plural}")
            for number, kind in SCHEMA.types.items()
        },
        ACCOUNT: _record_type(ACCOUNT, "CfgApplicationAccount", "account of applications"),
    }
)
"""The kinds of records by number. Of their attributes only the DBID is known to the cache."""

STORED_TYPES: Final[Mapping[int, ObjectType]] = MappingProxyType({**SCHEMA.types, **RECORD_TYPES})
"""Everything that a replica holds: the published object types, then the records."""


def is_record(type_number: int) -> bool:
    """Whether the number is that of a security record."""
    return type_number > RECORDS


def list_of(id: ObjectId) -> ObjectId:
    """Where the access control list of an object stands."""
    return RECORDS + id[0], id[1]


def records_of(id: ObjectId) -> tuple[ObjectId, ...]:
    """Where every record of an object would stand."""
    return (list_of(id), (ACCOUNT, id[1])) if id[0] == _APPLICATION else (list_of(id),)


_APPLICATION: Final = 9


class _StoredAcl(msgspec.Struct, gc=False):
    DBID: int
    entries: tuple[AclEntry, ...] = ()


class _StoredAccount(msgspec.Struct, gc=False):
    DBID: int
    account: tuple[int, int] = NOBODY


_decode_acl: Final = msgspec.msgpack.Decoder(_StoredAcl).decode
_decode_account: Final = msgspec.msgpack.Decoder(_StoredAccount).decode


def encode_acl(dbid: int, acl: Acl) -> bytes:
    """The stored form of the list of an object with this DBID."""
    return codec.encode({"DBID": dbid, "entries": acl})


def decode_acl(stored: bytes) -> Acl:
    """The list. One that cannot be read allows nobody anything."""
    try:
        return _decode_acl(stored).entries
    except msgspec.MsgspecError:
        return ()


def encode_account(application: int, account: ObjectId) -> bytes:
    """The stored form of the account of an application: type and DBID of a Person or an Access Group."""
    return codec.encode({"DBID": application, "account": account})


def decode_account(stored: bytes) -> ObjectId:
    """The account; one that cannot be read is nobody."""
    try:
        return _decode_account(stored).account
    except msgspec.MsgspecError:
        return NOBODY
