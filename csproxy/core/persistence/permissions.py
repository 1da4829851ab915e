"""Rows of what is no object: access control lists, accounts of applications, the operational mode.

Functions over a connection; `csproxy.core.persistence.store.Store.read_beside` and `write_beside` call
them in a transaction. They belong to no UEN: a change of them is no change of an object.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

import msgspec
from sqlalchemy import Connection, bindparam, delete, insert, select

from csproxy.core.model.other_enumerations import CfgOperationalMode
from csproxy.core.ownership import ObjectId
from csproxy.core.permissions import Acl, AclEntry
from csproxy.core.persistence import tables

__all__ = ["Security", "read_security", "write_account", "write_acls", "write_mode"]

_MODE: Final = "operational_mode"
_FULL: Final = int(CfgOperationalMode.CFGOperationalFullMode)

_decode: Final = msgspec.msgpack.Decoder(tuple[AclEntry, ...]).decode
_encode: Final = msgspec.msgpack.encode


class Security(NamedTuple):
    """Everything that is stored beside the objects.

    ``accounts`` maps the DBID of an application to its account (type number and DBID of a Person or
    an Access Group); ``mode`` is a number of CfgOperationalMode.
    """

    acls: dict[ObjectId, Acl]
    accounts: dict[int, ObjectId]
    mode: int


def read_security(connection: Connection) -> Security:
    """Read all of it."""
    acls, accounts = tables.acls.c, tables.accounts.c
    mode = connection.execute(select(tables.meta.c.value).where(tables.meta.c.name == _MODE)).scalar()
    return Security(
        acls={
            (row.type, row.dbid): _decode(row.acl)
            for row in connection.execute(select(acls.type, acls.dbid, acls.acl)).all()
        },
        accounts={
            row.application: (row.type, row.dbid)
            for row in connection.execute(select(accounts.application, accounts.type, accounts.dbid)).all()
        },
        mode=_FULL if mode is None else int(mode),
    )


def write_acls(connection: Connection, changed: Mapping[ObjectId, Acl | None]) -> None:
    """Put ACLs in place; None takes an object's own ACL away."""
    table = tables.acls
    this = delete(table).where(table.c.type == bindparam("key_type"), table.c.dbid == bindparam("key_dbid"))
    if changed:
        connection.execute(this, [{"key_type": number, "key_dbid": dbid} for number, dbid in changed])
    rows = [
        {"type": number, "dbid": dbid, "acl": _encode(acl)}
        for (number, dbid), acl in changed.items()
        if acl is not None
    ]
    if rows:
        connection.execute(insert(table), rows)


def write_account(connection: Connection, application: int, account: ObjectId | None) -> None:
    """Put the account of an application in place; None means the default one."""
    table = tables.accounts
    connection.execute(delete(table).where(table.c.application == application))
    if account is not None:
        connection.execute(insert(table), {"application": application, "type": account[0], "dbid": account[1]})


def write_mode(connection: Connection, mode: int) -> None:
    """Put the operational mode in place."""
    table = tables.meta
    connection.execute(delete(table).where(table.c.name == _MODE))
    connection.execute(insert(table), {"name": _MODE, "value": str(mode)})
